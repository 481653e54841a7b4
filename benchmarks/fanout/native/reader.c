/*
 * Thousands of clients in one thread: connects, subscribes, counts every row, and notes how long each was on its way.
 *
 *     reader PORT PLAN hub|row|nats|socketio TAIL CONNECTS_PER_S [batches]
 *
 * PLAN (little-endian): u32 clients; of each u8 group, u8 flags (1: never reads once it is ready; 2: ready when the
 * connection is open), u32 size and bytes of the HTTP request, u32 size and bytes of what subscribes. TAIL: bytes of a
 * row behind its `recv`, the same for all, so that rows need not be taken apart. Prints a line of JSON when every
 * client is ready. Then it reads `FROM_US TO_US ROWS UNTIL_US`: rows planned in this time count, until so many came
 * or the time is over; what it found is a second line of JSON. With `batches` it has the last receipt of each planned time, too.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "histogram.h"

enum { BUFFER_BYTES = 1 << 20, EVENTS = 512, GROUPS = 4, MOST_CONNECTING = 200 };
enum { NEVER_READS = 1, READY_WHEN_OPEN = 2 };
enum phase { CONNECTING, OPENING, SUBSCRIBING, READY, CLOSED };

struct client {
    int socket;
    enum phase phase;
    uint8_t group, flags;
    const uint8_t *request, *hello;
    uint32_t request_size, hello_size;
    int64_t begun_ns;
    struct buffer rest, stream;
};

struct batch {
    int64_t planned_us, last_ns;
    uint64_t rows;
};

struct group {
    struct histogram delays;
    uint64_t clients, frames, bytes, reads;
};

static void (*take_payload)(struct client *, int, const uint8_t *, size_t, int64_t);
static int epoll, port, wants_batches;
static size_t tail;
static uint32_t client_count, connecting, ready, closed, closed_never_read;
static int64_t from_us = INT64_MAX, to_us = INT64_MAX, until_us = INT64_MAX, last_ns;
static uint64_t expected = UINT64_MAX, rows, other_rows;
static struct group groups[GROUPS];
static struct histogram opening;
static struct batch *batches;
static size_t batch_count, batch_room;

static void send_all(struct client *client, const void *bytes, size_t size)
{
    const uint8_t *place = bytes;
    while (size) {
        ssize_t count = send(client->socket, place, size, MSG_NOSIGNAL);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            usleep(200);
            continue;
        }
        if (count < 0)
            die("a client was closed while it sent: %s", strerror(errno));
        place += count;
        size -= (size_t)count;
    }
}

static void send_frame(struct client *client, int opcode, const void *payload, size_t size)
{
    uint8_t frame[160];
    send_all(client, frame, masked_frame(frame, opcode, payload, size));
}

static void become_ready(struct client *client)
{
    if (client->phase == READY)
        return;
    client->phase = READY;
    ready++;
    connecting--;
    note(&opening, wall_ns() - client->begun_ns, 1);
    if (client->flags & NEVER_READS)
        epoll_ctl(epoll, EPOLL_CTL_DEL, client->socket, NULL);
}

/* Rows */

static void note_batch(int64_t planned_us, int64_t now_ns)
{
    size_t place = batch_count;
    while (place > 0 && batches[place - 1].planned_us != planned_us)
        place--;
    if (!place) {
        if (batch_count == batch_room) {
            batch_room = batch_room ? 2 * batch_room : 64;
            batches = need(realloc(batches, batch_room * sizeof *batches));
        }
        place = ++batch_count;
        batches[place - 1] = (struct batch){planned_us, 0, 0};
    }
    batches[place - 1].last_ns = now_ns;
    batches[place - 1].rows++;
}

static size_t uint_size(uint8_t first)
{
    return first < 0x80 ? 1 : first == 0xCC ? 2 : first == 0xCD ? 3 : first == 0xCE ? 5 : first == 0xCF ? 9 : 0;
}

/* One row: an array of a code, a number, two times and the tail. Returns what is behind it. */
static const uint8_t *take_row(struct client *client, const uint8_t *place, const uint8_t *end, int64_t now_ns)
{
    place += *place == 0xDC ? 3 : 1;
    place += 1 + (*place & 0x1F);
    place += uint_size(*place);
    place += uint_size(*place);
    if (place + 9 + tail > end || *place != 0xCF)
        die("a row is not what was planned");
    uint64_t planned_us = 0;
    for (int n = 1; n < 9; n++)
        planned_us = planned_us << 8 | place[n];
    if ((int64_t)planned_us >= from_us && (int64_t)planned_us < to_us) {
        note(&groups[client->group].delays, now_ns - (int64_t)planned_us * 1000, 1);
        if (wants_batches)
            note_batch((int64_t)planned_us, now_ns);
        last_ns = now_ns;
        rows++;
    } else
        other_rows++;
    return place + 9 + tail;
}

static void count_frame(struct client *client, size_t size, uint64_t before)
{
    if (rows == before)
        return;
    groups[client->group].frames++;
    groups[client->group].bytes += size;
}

/* The dialects */

static void take_hub(struct client *client, int opcode, const uint8_t *payload, size_t size, int64_t now_ns)
{
    (void)opcode;
    if (payload[0] >> 4 != 9) { /* a map: a control message, the type first */
        size_t look = size < 40 ? size : 40;
        if (memmem(payload, look, "subscribed", 10))
            become_ready(client);
        else if (memmem(payload, look, "error", 5))
            die("the hub refused: %.*s", (int)size, payload);
        return;
    }
    const uint8_t *end = payload + size, *place = payload + 2 + (payload[1] & 0x1F) + 1;
    uint64_t before = rows;
    place += *place == 0xDC ? 3 : 1;
    while (place < end)
        place = take_row(client, place, end, now_ns);
    count_frame(client, size, before);
}

static void take_plain(struct client *client, int opcode, const uint8_t *payload, size_t size, int64_t now_ns)
{
    if (opcode == TEXT && size == 2 && !memcmp(payload, "ok", 2)) {
        become_ready(client);
        return;
    }
    uint64_t before = rows;
    take_row(client, payload, payload + size, now_ns);
    count_frame(client, size, before);
}

static void take_socketio(struct client *client, int opcode, const uint8_t *payload, size_t size, int64_t now_ns)
{
    if (opcode == BINARY)
        take_plain(client, opcode, payload, size, now_ns);
    else if (size >= 1 && payload[0] == '0') /* Engine.IO is open: ask for the namespace */
        send_frame(client, TEXT, "40", 2);
    else if (size >= 1 && payload[0] == '2')
        send_frame(client, TEXT, "3", 1);
    else if (size >= 2 && !memcmp(payload, "40", 2))
        send_all(client, client->hello, client->hello_size);
    else if (size >= 2 && !memcmp(payload, "43", 2)) /* the subscription is acknowledged */
        become_ready(client);
    else if (size >= 2 && !memcmp(payload, "44", 2))
        die("Socket.IO refused: %.*s", (int)size, payload);
}

static void take_nats(struct client *client, int opcode, const uint8_t *payload, size_t size, int64_t now_ns)
{
    (void)opcode;
    struct buffer *stream = &client->stream;
    append(stream, payload, size);
    const uint8_t *place = stream->bytes, *end = place + stream->size, *line_end;
    uint64_t before = rows;
    while (place < end && (line_end = memchr(place, '\n', (size_t)(end - place)))) {
        if (!memcmp(place, "MSG ", 4)) {
            const uint8_t *number = line_end - 1;
            size_t length = 0, scale = 1;
            while (*--number != ' ') {
                length += scale * (size_t)(*number - '0');
                scale *= 10;
            }
            if ((size_t)(end - line_end) < 1 + length + 2)
                break;
            take_row(client, line_end + 1, line_end + 1 + length, now_ns);
            place = line_end + 1 + length + 2;
            continue;
        }
        if (!memcmp(place, "PONG", 4))
            become_ready(client);
        else if (!memcmp(place, "PING", 4))
            send_frame(client, BINARY, "PONG\r\n", 6);
        else if (!memcmp(place, "-ERR", 4))
            die("NATS refused: %.*s", (int)(line_end - place), place);
        place = line_end + 1;
    }
    memmove(stream->bytes, place, stream->size = (size_t)(end - place));
    count_frame(client, size, before);
}

/* Connections */

static void close_client(struct client *client)
{
    if (client->phase < READY)
        die("a client was closed %.1f s after it connected, before its %s was answered; %u of %u were ready",
            (double)(wall_ns() - client->begun_ns) / 1e9, client->phase < SUBSCRIBING ? "handshake" : "subscription",
            ready, client_count);
    client->phase = CLOSED;
    *(client->flags & NEVER_READS ? &closed_never_read : &closed) += 1;
    close(client->socket);
}

/* Takes whole frames; returns how many bytes they were. */
static size_t take_frames(struct client *client, const uint8_t *bytes, size_t here, int64_t now_ns)
{
    size_t place = 0, header;
    uint64_t size;
    while ((header = frame_header(bytes + place, here - place, &size)) && here - place >= header + size) {
        const uint8_t *payload = bytes + place + header;
        int opcode = bytes[place] & 0x0F;
        if (opcode == PING)
            send_frame(client, PONG, payload, size);
        else if (opcode == CLOSE) {
            close_client(client);
            return here;
        } else if (opcode != PONG && size)
            take_payload(client, opcode, payload, size, now_ns);
        place += header + size;
    }
    return place;
}

static void take_answer(struct client *client)
{
    const uint8_t *end = memmem(client->rest.bytes, client->rest.size, "\r\n\r\n", 4);
    if (!end)
        return;
    if (!memmem(client->rest.bytes, 16, " 101 ", 5))
        die("the handshake was refused: %.*s", (int)client->rest.size, client->rest.bytes);
    client->phase = SUBSCRIBING;
    if (take_payload != take_socketio)
        send_all(client, client->hello, client->hello_size);
    if (client->flags & READY_WHEN_OPEN)
        become_ready(client);
    size_t head = (size_t)(end + 4 - client->rest.bytes);
    size_t gone = head + take_frames(client, client->rest.bytes + head, client->rest.size - head, wall_ns());
    memmove(client->rest.bytes, client->rest.bytes + gone, client->rest.size -= gone);
}

static void receive(struct client *client)
{
    static uint8_t bytes[BUFFER_BYTES];
    ssize_t count = recv(client->socket, bytes, sizeof bytes, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        close_client(client);
        return;
    }
    int64_t now_ns = wall_ns();
    uint64_t before = rows;
    if (client->phase == OPENING) {
        append(&client->rest, bytes, (size_t)count);
        take_answer(client);
    } else if (client->rest.size) {
        append(&client->rest, bytes, (size_t)count);
        size_t gone = take_frames(client, client->rest.bytes, client->rest.size, now_ns);
        memmove(client->rest.bytes, client->rest.bytes + gone, client->rest.size -= gone);
    } else {
        size_t gone = take_frames(client, bytes, (size_t)count, now_ns);
        append(&client->rest, bytes + gone, (size_t)count - gone);
    }
    groups[client->group].reads += rows > before;
    if (!client->rest.size && client->rest.room > BUFFER_BYTES) {
        free(client->rest.bytes);
        client->rest = (struct buffer){NULL, 0, 0};
    }
}

static void begin(struct client *client, int64_t planned_ns)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    client->begun_ns = planned_ns;
    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->socket < 0)
        die("no more sockets: %s (raise ulimit -n)", strerror(errno));
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(client->socket, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        die("cannot connect: %s", strerror(errno));
    struct epoll_event event = {EPOLLIN | EPOLLOUT, {.ptr = client}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->socket, &event))
        die("epoll: %s", strerror(errno));
    connecting++;
}

static void look(int wait_ms)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, wait_ms);
    for (int n = 0; n < count; n++) {
        struct client *client = events[n].data.ptr;
        if (!client) {
            long long from, to, most, until;
            if (scanf("%lld %lld %lld %lld", &from, &to, &most, &until) != 4)
                exit(0);
            from_us = from;
            to_us = to;
            until_us = until;
            expected = (uint64_t)most;
            continue;
        }
        if (client->phase == CONNECTING) {
            struct epoll_event event = {EPOLLIN, {.ptr = client}};
            epoll_ctl(epoll, EPOLL_CTL_MOD, client->socket, &event);
            send_all(client, client->request, client->request_size);
            client->phase = OPENING;
        } else
            receive(client);
    }
}

static struct client *read_plan(const char *path)
{
    size_t size;
    const uint8_t *place = read_whole(path, &size);
    client_count = take_u32(&place);
    struct client *clients = need(calloc(client_count, sizeof *clients));
    for (uint32_t n = 0; n < client_count; n++) {
        struct client *client = &clients[n];
        client->group = *place++;
        client->flags = *place++;
        client->request_size = take_u32(&place);
        client->request = place;
        place += client->request_size;
        client->hello_size = take_u32(&place);
        client->hello = place;
        place += client->hello_size;
        groups[client->group].clients++;
    }
    return clients;
}

static void connect_all(struct client *clients, double per_s)
{
    int64_t begun_ns = wall_ns();
    uint32_t started = 0;
    while (ready < client_count) {
        double due = per_s > 0 ? (double)(wall_ns() - begun_ns) / 1e9 * per_s : client_count;
        while (started < client_count && started < due && (per_s > 0 || connecting < MOST_CONNECTING)) {
            int64_t planned_ns = per_s > 0 ? begun_ns + (int64_t)(started / per_s * 1e9) : wall_ns();
            begin(&clients[started++], planned_ns);
        }
        look(1);
    }
    printf("{\"ready\": %u, \"seconds\": %.6f, \"opening_ns\": ", ready, (double)(wall_ns() - begun_ns) / 1e9);
    print_histogram(stdout, &opening);
    puts("}");
    fflush(stdout);
}

static void report(void)
{
    printf("{\"rows\": %" PRIu64 ", \"other_rows\": %" PRIu64 ", \"last_us\": %" PRId64
           ", \"closed\": %u, \"closed_never_read\": %u, \"groups\": [",
           rows, other_rows, last_ns / 1000, closed, closed_never_read);
    for (int n = 0; n < GROUPS; n++) {
        struct group *group = &groups[n];
        printf("%s{\"clients\": %" PRIu64 ", \"frames\": %" PRIu64 ", \"reads\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"delays_ns\": ",
               n ? ", " : "", group->clients, group->frames, group->reads, group->bytes);
        print_histogram(stdout, &group->delays);
        putchar('}');
    }
    fputs("], \"batches\": [", stdout);
    for (size_t n = 0; n < batch_count; n++)
        printf("%s{\"planned_us\": %" PRId64 ", \"rows\": %" PRIu64 ", \"last_ns\": %" PRId64 "}", n ? ", " : "",
               batches[n].planned_us, batches[n].rows, batches[n].last_ns - batches[n].planned_us * 1000);
    puts("]}");
    fflush(stdout);
}

int main(int count, char **arguments)
{
    if (count < 6)
        die("usage: reader PORT PLAN hub|row|nats|socketio TAIL CONNECTS_PER_S [batches]");
    port = atoi(arguments[1]);
    struct client *clients = read_plan(arguments[2]);
    const char *dialect = arguments[3];
    take_payload = !strcmp(dialect, "hub")    ? take_hub
                   : !strcmp(dialect, "nats") ? take_nats
                   : !strcmp(dialect, "row")  ? take_plain
                                              : take_socketio;
    tail = (size_t)atol(arguments[4]);
    wants_batches = count > 6;
    epoll = epoll_create1(0);
    connect_all(clients, atof(arguments[5]));

    struct epoll_event event = {EPOLLIN, {.ptr = NULL}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    setvbuf(stdin, NULL, _IONBF, 0);
    while (rows < expected && wall_ns() / 1000 < until_us)
        look(50);
    report();
    while (1) /* read on, so that nobody is slowed down by the end, until standard input ends */
        look(-1);
}
