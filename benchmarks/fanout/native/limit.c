/*
 * The limit: what fan-out over WebSocket costs at least. One thread, frames made once, no history, no back-pressure.
 *
 *     limit each|gathered
 *
 * each: one send() for every row and client. gathered: what one turn of the loop has for a client goes out in one
 * send(). Prints the ports for clients and for the feeder. A client's first message names its topics, one a line, '*'
 * for all. The feeder sends u32 length (of what follows, little-endian), u8 length of the topic, topic, row.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common.h"

enum { INGEST_BYTES = 1 << 20, SLOTS = 1 << 18, EVENTS = 256 };

struct client {
    int socket;
    int is_feeder, is_open, is_waiting, is_touched;
    struct buffer in, out;
};

struct topic {
    char name[32];
    struct client **clients;
    size_t count, room;
};

static struct topic topics[SLOTS], everything;
static struct client **touched;
static size_t touched_count, touched_room;
static int is_gathered, epoll;

static struct topic *topic_named(const char *name, size_t size)
{
    uint32_t hash = 2166136261u;
    for (size_t n = 0; n < size; n++)
        hash = (hash ^ (uint8_t)name[n]) * 16777619u;
    for (;; hash++) {
        struct topic *topic = &topics[hash % SLOTS];
        if (!topic->name[0])
            memcpy(topic->name, name, size);
        if (!strncmp(topic->name, name, size) && !topic->name[size])
            return topic;
    }
}

static void subscribe(struct topic *topic, struct client *client)
{
    if (topic->count == topic->room) {
        topic->room = topic->room ? 2 * topic->room : 4;
        topic->clients = need(realloc(topic->clients, topic->room * sizeof *topic->clients));
    }
    topic->clients[topic->count++] = client;
}

static void watch(struct client *client, int is_waiting)
{
    struct epoll_event event = {EPOLLIN | (is_waiting ? EPOLLOUT : 0u), {.ptr = client}};
    epoll_ctl(epoll, EPOLL_CTL_MOD, client->socket, &event);
    client->is_waiting = is_waiting;
}

static size_t write_some(struct client *client, const uint8_t *bytes, size_t size)
{
    ssize_t count = send(client->socket, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    return count < 0 ? 0 : (size_t)count;
}

static void put(struct client *client, const uint8_t *bytes, size_t size)
{
    size_t gone = is_gathered || client->out.size ? 0 : write_some(client, bytes, size);
    if (gone == size)
        return;
    append(&client->out, bytes + gone, size - gone);
    if (!is_gathered)
        watch(client, 1);
    else if (!client->is_touched) {
        client->is_touched = 1;
        if (touched_count == touched_room) {
            touched_room = touched_room ? 2 * touched_room : 64;
            touched = need(realloc(touched, touched_room * sizeof *touched));
        }
        touched[touched_count++] = client;
    }
}

static void flush(struct client *client)
{
    size_t gone = write_some(client, client->out.bytes, client->out.size);
    memmove(client->out.bytes, client->out.bytes + gone, client->out.size -= gone);
    if ((client->out.size > 0) != client->is_waiting)
        watch(client, client->out.size > 0);
}

static void publish(const uint8_t *message, size_t size)
{
    static uint8_t frame[1 << 16];
    struct topic *topic = topic_named((const char *)message + 1, message[0]);
    size_t row_size = size - 1 - message[0];
    size_t header = put_header(frame, BINARY, row_size);
    memcpy(frame + header, message + 1 + message[0], row_size);
    for (size_t n = 0; n < topic->count; n++)
        put(topic->clients[n], frame, header + row_size);
    for (size_t n = 0; n < everything.count; n++)
        put(everything.clients[n], frame, header + row_size);
}

static void take_rows(struct client *feeder)
{
    size_t place = 0;
    while (feeder->in.size - place >= 4) {
        const uint8_t *start = feeder->in.bytes + place;
        uint32_t size = take_u32(&start);
        if (feeder->in.size - place - 4 < size)
            break;
        publish(start, size);
        place += 4 + size;
    }
    memmove(feeder->in.bytes, feeder->in.bytes + place, feeder->in.size -= place);
    for (size_t n = 0; n < touched_count; n++) {
        touched[n]->is_touched = 0;
        flush(touched[n]);
    }
    touched_count = 0;
}

static void take_request(struct client *client)
{
    if (!client->is_open) {
        if (!memmem(client->in.bytes, client->in.size, "\r\n\r\n", 4))
            return;
        /* Sec-WebSocket-Accept is left out: the reader does not look at it. */
        const char *answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        write_some(client, (const uint8_t *)answer, strlen(answer));
        client->is_open = 1;
        client->in.size = 0;
        return;
    }
    uint64_t size;
    size_t header = frame_header(client->in.bytes, client->in.size, &size);
    if (!header || client->in.size < header + 4 + size)
        return;
    if ((client->in.bytes[0] & 0x0F) == BINARY) {
        /* Masked with zeros, as the reader does. */
        const char *name = (const char *)client->in.bytes + header + 4, *end = name + size;
        while (name < end) {
            const char *next = memchr(name, '\n', (size_t)(end - name));
            size_t length = (size_t)((next ? next : end) - name);
            subscribe(length == 1 && *name == '*' ? &everything : topic_named(name, length), client);
            name += length + 1;
        }
        write_some(client, (const uint8_t *)"\x81\x02ok", 4);
    }
    memmove(client->in.bytes, client->in.bytes + header + 4 + size, client->in.size -= header + 4 + size);
}

static int listening(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(server, (struct sockaddr *)&address, size) || listen(server, 1024) ||
        getsockname(server, (struct sockaddr *)&address, &size))
        die("cannot listen: %s", strerror(errno));
    *port = ntohs(address.sin_port);
    return server;
}

static void add(int socket, void *what)
{
    struct epoll_event event = {EPOLLIN, {.ptr = what}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event);
}

static void welcome(int server, int is_feeder)
{
    struct client *client = need(calloc(1, sizeof *client));
    int yes = 1;
    client->socket = accept(server, NULL, NULL);
    client->is_feeder = is_feeder;
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    add(client->socket, client);
}

int main(int count, char **arguments)
{
    static uint8_t bytes[INGEST_BYTES];
    int ports[2];
    if (count != 2)
        die("usage: limit each|gathered");
    is_gathered = !strcmp(arguments[1], "gathered");
    epoll = epoll_create1(0);
    struct client doors[2] = {{.socket = listening(&ports[0])}, {.socket = listening(&ports[1])}};
    add(doors[0].socket, &doors[0]);
    add(doors[1].socket, &doors[1]);
    printf("%d %d\n", ports[0], ports[1]);
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int n = 0; n < ready; n++) {
            struct client *client = events[n].data.ptr;
            if (client == &doors[0] || client == &doors[1]) {
                welcome(client->socket, client == &doors[1]);
                continue;
            }
            if (events[n].events & EPOLLOUT)
                flush(client);
            if (!(events[n].events & EPOLLIN))
                continue;
            ssize_t size = recv(client->socket, bytes, sizeof bytes, 0);
            if (size <= 0) {
                epoll_ctl(epoll, EPOLL_CTL_DEL, client->socket, NULL);
                continue;
            }
            append(&client->in, bytes, (size_t)size);
            if (client->is_feeder)
                take_rows(client);
            else
                take_request(client);
        }
    }
}
