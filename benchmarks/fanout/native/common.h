/* What the three programs share: clocks, files read whole, sockets, and a growing buffer. */
#ifndef ARGUS_COMMON_H
#define ARGUS_COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *need(void *memory)
{
    if (memory == NULL)
        die("out of memory");
    return memory;
}

/* The wall clock, since planned times are compared between processes. */
static int64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint8_t *read_whole(const char *path, size_t *size)
{
    struct stat found;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &found) < 0)
        die("%s: %s", path, strerror(errno));
    uint8_t *bytes = need(malloc((size_t)found.st_size + 1));
    for (*size = 0; *size < (size_t)found.st_size;) {
        ssize_t count = read(file, bytes + *size, (size_t)found.st_size - *size);
        if (count <= 0)
            die("%s: cannot be read", path);
        *size += (size_t)count;
    }
    close(file);
    return bytes;
}

/* The plans are little-endian, as the machines that run this are. */
static uint32_t take_u32(const uint8_t **place)
{
    uint32_t value;
    memcpy(&value, *place, sizeof value);
    *place += sizeof value;
    return value;
}

static uint64_t take_u64(const uint8_t **place)
{
    uint64_t value;
    memcpy(&value, *place, sizeof value);
    *place += sizeof value;
    return value;
}

struct buffer {
    uint8_t *bytes;
    size_t size, room;
};

static void append(struct buffer *buffer, const void *bytes, size_t size)
{
    if (buffer->size + size > buffer->room) {
        while (buffer->room < buffer->size + size)
            buffer->room = buffer->room ? 2 * buffer->room : 256;
        buffer->bytes = need(realloc(buffer->bytes, buffer->room));
    }
    memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
}

/* A WebSocket frame's header (RFC 6455, section 5.2): its length; 0: not all of it is here. Servers do not mask. */
static size_t frame_header(const uint8_t *bytes, size_t here, uint64_t *size)
{
    if (here < 2)
        return 0;
    *size = bytes[1] & 0x7F;
    size_t width = *size == 126 ? 2 : *size == 127 ? 8 : 0;
    if (here < 2 + width)
        return 0;
    if (width)
        *size = 0;
    for (size_t n = 0; n < width; n++)
        *size = *size << 8 | bytes[2 + n];
    return 2 + width;
}

static size_t put_header(uint8_t *bytes, int opcode, size_t size)
{
    bytes[0] = (uint8_t)(0x80 | opcode);
    if (size < 126) {
        bytes[1] = (uint8_t)size;
        return 2;
    }
    size_t width = size < 65536 ? 2 : 8;
    bytes[1] = width == 2 ? 126 : 127;
    for (size_t n = 0; n < width; n++)
        bytes[2 + n] = (uint8_t)(size >> 8 * (width - 1 - n));
    return 2 + width;
}

/* A short client's frame, masked as it must be, with zeros. Returns its length; the payload is below 126 bytes. */
static size_t masked_frame(uint8_t *frame, int opcode, const void *payload, size_t size)
{
    frame[0] = (uint8_t)(0x80 | opcode);
    frame[1] = (uint8_t)(0x80 | size);
    memset(frame + 2, 0, 4);
    memcpy(frame + 6, payload, size);
    return 6 + size;
}

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

#endif
