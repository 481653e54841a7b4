/*
 * The feeder's hand: sends prepared bytes over a connection that was opened and introduced before, each at its
 * planned time, late or not. Nothing waits for an answer, so a server that stalls cannot slow the schedule down.
 *
 *     pacer FD PLAN ws|raw
 *
 * PLAN (little-endian): u32 templates; of each u32 size, u32 patches, the bytes, and of each patch u32 offset and
 * u32 kind; u32 sends; of each u64 nanoseconds after the start and u32 template. A patch is eight bytes, big-endian:
 * kind 0 the number of the send (from 1), kind 1 a time in ms that grows by 1 with each send, kind 2 the planned
 * time in us. On standard input: the wall clock in us at which the schedule starts. Prints JSON when all is sent.
 */
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "histogram.h"

struct template {
    uint8_t *bytes;
    const uint8_t *patches;
    uint32_t size, patch_count;
};

static int peer;
static int is_websocket;
static struct buffer heard;
static struct histogram lateness, sending;

static void send_all(const uint8_t *bytes, size_t size)
{
    while (size) {
        ssize_t count = send(peer, bytes, size, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            die("the server closed the feeder's connection: %s", strerror(errno));
        bytes += count;
        size -= (size_t)count;
    }
}

/* Answer pings; all else is of no interest. */
static void listen_to_peer(void)
{
    uint8_t bytes[65536];
    ssize_t count;
    while ((count = recv(peer, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        if (!is_websocket) {
            if (memmem(bytes, (size_t)count, "PING\r\n", 6))
                send_all((const uint8_t *)"PONG\r\n", 6);
            continue;
        }
        append(&heard, bytes, (size_t)count);
        size_t place = 0, header;
        uint64_t size;
        while ((header = frame_header(heard.bytes + place, heard.size - place, &size)) &&
               heard.size - place >= header + size) {
            const uint8_t *payload = heard.bytes + place + header;
            uint8_t answer[160];
            int opcode = heard.bytes[place] & 0x0F;
            if (opcode == PING)
                send_all(answer, masked_frame(answer, PONG, payload, size));
            if (opcode == CLOSE)
                die("the server dismissed the feeder: %.*s", size > 2 ? (int)size - 2 : 0, payload + 2);
            place += header + size;
        }
        memmove(heard.bytes, heard.bytes + place, heard.size -= place);
    }
    if (count == 0)
        die("the server closed the feeder's connection");
}

static void wait_until(int64_t due_ns)
{
    struct timespec due = {due_ns / 1000000000, due_ns % 1000000000};
    while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &due, NULL) == EINTR)
        ;
}

static void patch(struct template *template, uint64_t number, int64_t start_us, int64_t due_us)
{
    const uint8_t *place = template->patches;
    for (uint32_t n = 0; n < template->patch_count; n++) {
        uint8_t *target = template->bytes + take_u32(&place);
        uint32_t kind = take_u32(&place);
        uint64_t value = kind == 0 ? number : kind == 1 ? (uint64_t)start_us / 1000 + number : (uint64_t)due_us;
        for (int shift = 56; shift >= 0; shift -= 8)
            *target++ = (uint8_t)(value >> shift);
    }
}

int main(int count, char **arguments)
{
    if (count != 4)
        die("usage: pacer FD PLAN ws|raw");
    peer = atoi(arguments[1]);
    is_websocket = !strcmp(arguments[3], "ws");
    size_t size;
    const uint8_t *place = read_whole(arguments[2], &size);
    uint32_t template_count = take_u32(&place);
    struct template *templates = need(calloc(template_count, sizeof *templates));
    for (uint32_t n = 0; n < template_count; n++) {
        templates[n].size = take_u32(&place);
        templates[n].patch_count = take_u32(&place);
        templates[n].bytes = (uint8_t *)place;
        templates[n].patches = place + templates[n].size;
        place = templates[n].patches + 8 * (size_t)templates[n].patch_count;
    }
    uint32_t sends = take_u32(&place);
    prctl(PR_SET_TIMERSLACK, 1000);

    long long start_us;
    if (scanf("%lld", &start_us) != 1)
        return 0;
    for (uint64_t number = 1; number <= sends; number++) {
        int64_t due_ns = start_us * 1000 + (int64_t)take_u64(&place);
        struct template *template = &templates[take_u32(&place)];
        patch(template, number, start_us, due_ns / 1000);
        wait_until(due_ns);
        int64_t now_ns = wall_ns();
        send_all(template->bytes, template->size);
        note(&lateness, now_ns - due_ns, 1);
        note(&sending, wall_ns() - now_ns, 1);
        listen_to_peer();
    }
    printf("{\"sends\": %u, \"lateness_ns\": ", sends);
    print_histogram(stdout, &lateness);
    fputs(", \"sending_ns\": ", stdout);
    print_histogram(stdout, &sending);
    puts("}");
    fflush(stdout);
    /* The connection stays open, and its pings answered, until this program is ended. */
    struct pollfd ends[2] = {{peer, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    while (poll(ends, 2, -1) >= 0 && !ends[1].revents)
        listen_to_peer();
    return 0;
}
