/*
 * A fleet of JT/T 808 terminals as one epoll loop: the other side of the benchmarks.
 *
 * Each connection registers (0x0100), authenticates (0x0102) with the code it is given, and then reports, advancing its
 * clock by one second a report. Every answer is matched by its serial, its message id and its terminal.
 *
 *   closed loop   --window K              K frames of each connection are unanswered at any moment
 *   open loop     --rate R [--window K]   frames leave on a fixed schedule, K at a time, whatever the answers do; latency
 *                                         counts from the scheduled moment, so that a server that stalls cannot hide what
 *                                         it kept waiting (coordinated omission)
 *   hold          --rate CONNECTIONS/30   the open loop goes round the fleet, so each terminal reports every 30 s
 *   hostile       --hostile deaf|flood|garbage   one that never reads, one that never stops, one that makes no sense
 *
 * --mixed is a fleet of three editions and twenty layouts of additional items; a third of its frames needs escapes, and
 * among them are heartbeats, backfills (0x0704), messages in fragments, and 1 % garbage, which gets no answer.
 *
 * Says `ready` when all terminals are through authentication; prints one JSON object at the end, the histogram in it.
 * Ends by itself. Connects from several addresses 127.0.0.x, since one address has ports for 28,000 connections only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 1 << 16, OUTPUT = 1 << 18, MAX_UNREAD = 1 << 18, PER_SOURCE = 5000, OPEN_RING = 256, DAYS = 32 };
enum { RECONNECT_US = 100000 }; /* a hostile terminal that was closed comes back after so long */
enum { BACKFILL = 5, FRAGMENTED = 12, FRAGMENTS = 3 }; /* reports in a 0x0704; in one that goes in fragments; and in how many */
enum { REGISTER = 0x0100, AUTHENTICATE = 0x0102, HEARTBEAT = 0x0002, REPORT = 0x0200, REPORTS = 0x0704 };
enum { REGISTERED = 0x8100, ANSWER = 0x8001 };
enum state { REGISTERING, AUTHENTICATING, REPORTING };
enum edition { E2011, E2013, E2019 };
enum hostility { FRIENDLY, DEAF, FLOOD, GARBAGE };

static const uint64_t SECOND = 1000000000u;

/* What was sent and waits for its answer. */
struct question { uint64_t moment; uint16_t serial, msg_id, reports, is_open; };

struct terminal {
    int fd;
    enum state state;
    enum edition edition;
    uint32_t number;           /* of the terminal: its id and plate come from it */
    uint32_t clock;            /* seconds since the fleet's start, and so the time of its next report */
    uint32_t fragmented_clock; /* the clock when the message that goes in fragments began */
    uint32_t turn;             /* frames so far: what the mix says is next */
    uint32_t unanswered;
    uint16_t serial;           /* next */
    uint8_t wants_room;        /* epoll tells when it may send */
    uint32_t input_length, output_length;
    uint8_t *input, *output;   /* begin of a frame; what the server did not take yet */
    struct question *questions; /* by the low bits of the serial */
};

static struct options {
    int port, connections, window, first, is_mixed, is_echo, skips_registration, spins, server_pid;
    double seconds, warmup, rate;
    enum hostility hostile;
    struct in_addr host;
} options = {.port = 7611, .connections = 1000, .window = 1, .first = 1, .seconds = 10, .warmup = 2};

static struct counts {
    uint64_t sent, answered, reports_sent, reports_answered, missing, wrong, refused, duplicate, other, overrun, closed,
        garbage, escaped, bytes;
} total;
static uint64_t in_window, reports_in_window; /* answers that count for the rate */

static struct terminal *fleet;
static int poller, ring, is_closed_loop, is_answering_back; /* in the closed loop, once all are ready */
static uint64_t ready, begin, end; /* terminals that may report; the window that is measured */

/* --- time and histogram ------------------------------------------------------------------------------------------- */

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* Log-linear in the manner of HDR: 2 ** 10 steps in each power of two, so three digits are true. */
enum { STEP_BITS = 10, BUCKETS = (64 - STEP_BITS) << STEP_BITS };
static uint64_t histogram[BUCKETS], slowest;

static void record(uint64_t ns) {
    uint64_t power = ns >> STEP_BITS ? (uint64_t)(63 - __builtin_clzll(ns) - STEP_BITS) : 0;
    histogram[(power << STEP_BITS) + (ns >> power)]++;
    if (ns > slowest) slowest = ns;
}

static uint64_t value_of(uint64_t bucket) { /* the least value that falls into it */
    uint64_t power = bucket >> (STEP_BITS + 1) ? (bucket >> STEP_BITS) - 1 : 0;
    return (bucket - (power << STEP_BITS)) << power;
}

static double cpu_seconds(int pid) { /* user and system time that the kernel accounts to a process; 0 is this one */
    clockid_t clock;
    struct timespec t = {0};
    if (clock_getcpuclockid(pid, &clock) == 0) clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- frames --------------------------------------------------------------------------------------------------------- */

static uint8_t dates[DAYS][3]; /* BCD, from the day on which the fleet's clocks start */
static uint32_t first_second;  /* of that day */

static uint8_t bcd(unsigned value) { return (uint8_t)((value / 10 % 10) << 4 | value % 10); }

/* The fleet's clocks start a day ago: they run faster than time and should not overtake it. GMT+8 (8.12). */
static void set_clocks(void) {
    time_t start = time(NULL) - 86400 + 8 * 3600;
    first_second = (uint32_t)(start % 86400);
    for (int i = 0; i < DAYS; i++) {
        time_t day = start + i * 86400;
        struct tm *t = gmtime(&day);
        dates[i][0] = bcd((unsigned)t->tm_year); dates[i][1] = bcd((unsigned)t->tm_mon + 1); dates[i][2] = bcd((unsigned)t->tm_mday);
    }
}

static uint8_t *put16(uint8_t *p, unsigned value) { p[0] = (uint8_t)(value >> 8); p[1] = (uint8_t)value; return p + 2; }
static uint8_t *put32(uint8_t *p, unsigned value) { return put16(put16(p, value >> 16), value & 0xffff); }
static unsigned get16(const uint8_t *p) { return (unsigned)p[0] << 8 | p[1]; }

static uint8_t *put_id(uint8_t *p, const struct terminal *t) { /* 013900000001: 12 digits, 20 in 2019 */
    int size = t->edition == E2019 ? 10 : 6;
    unsigned number = t->number;
    memset(p, 0, (size_t)size);
    for (int i = size - 1; i > size - 5; i--, number /= 100) p[i] = bcd(number % 100);
    p[size - 6] = 0x01; p[size - 5] = 0x39;
    return p + size;
}

/* The header's 12, 16, 17 or 21 bytes. `total` is 0 where the message goes in one frame. */
static uint8_t *put_header(uint8_t *p, const struct terminal *t, unsigned msg_id, size_t body, unsigned total, unsigned index) {
    p = put16(p, msg_id);
    p = put16(p, (unsigned)body | (total ? 1u << 13 : 0) | (t->edition == E2019 ? 1u << 14 : 0));
    if (t->edition == E2019) *p++ = 1;
    p = put16(put_id(p, t), t->serial);
    return total ? put16(put16(p, total), index) : p;
}

static size_t put_wire(uint8_t *out, const uint8_t *plain, size_t length) { /* checksum, escapes and flags */
    uint8_t *p = out, check = 0;
    for (size_t i = 0; i < length; i++) check ^= plain[i];
    *p++ = 0x7e;
    for (size_t i = 0; i <= length; i++) {
        uint8_t byte = i < length ? plain[i] : check;
        if ((uint8_t)(byte - 0x7d) > 1) { *p++ = byte; continue; }
        *p++ = 0x7d; *p++ = byte - 0x7c;
    }
    *p++ = 0x7e;
    total.escaped += (size_t)(p - out) > length + 3;
    return (size_t)(p - out);
}

static const struct { uint8_t id, length; } ITEMS[] = {
    {0x01, 4}, {0x02, 2}, {0x03, 2}, {0x04, 2}, {0x25, 4}, {0x2a, 2}, {0x30, 1}, {0x31, 1}, {0xe1, 9}, {0xf0, 24}};
static const uint16_t LAYOUTS[20] = { /* bits of ITEMS: two to seven of them */
    0x003, 0x0c5, 0x0c1, 0x1c5, 0x0f7, 0x2c5, 0x017, 0x091, 0x345, 0x0d5,
    0x105, 0x2d1, 0x0e7, 0x0c4, 0x1d7, 0x064, 0x265, 0x0cd, 0x303, 0x1f5};
static const uint16_t UNIFORM = 0x0d5; /* items 01 03 25 30 31: a frame of 65 bytes */

static uint32_t mixed_up(uint32_t a, uint32_t b) { /* a hash: the same report looks the same whenever it is built */
    uint32_t h = a * 0x9e3779b1u ^ (b + 0x7f4a7c15u) * 0x85ebca77u;
    h ^= h >> 15; h *= 0x2c1b3c6du;
    return h ^ h >> 13;
}

static uint8_t *put_report(uint8_t *p, const struct terminal *t, uint32_t clock) { /* body of 0x0200, 2013 8.12 */
    uint32_t chance = mixed_up(t->number, clock), second = first_second + clock, of_day = second % 86400;
    int layout = options.is_mixed ? LAYOUTS[t->number % 20] : UNIFORM, is_speeding = (clock + t->number * 7) % 600 < 20;
    p = put32(p, is_speeding ? 2 : 0);
    p = put32(p, 3); /* ignition on, positioned */
    p = put32(p, 40100000 + (clock * 37 + t->number * 11) % 90000);
    p = put32(p, 123400000 + (clock * 53 + t->number * 13) % 90000);
    p = put16(p, 40);
    p = put16(p, is_speeding ? 1100 : 512 + clock % 256);
    p = put16(p, clock % 360);
    memcpy(p, dates[second / 86400 % DAYS], 3);
    p[3] = bcd(of_day / 3600); p[4] = bcd(of_day / 60 % 60); p[5] = bcd(of_day % 60);
    p += 6;
    uint8_t *items = p;
    for (size_t i = 0; i < sizeof ITEMS / sizeof *ITEMS; i++) {
        if (!(layout >> i & 1)) continue;
        *p++ = ITEMS[i].id; *p++ = ITEMS[i].length;
        for (int left = ITEMS[i].length; left--;) *p++ = left > 1 ? 0 : (uint8_t)((chance >> 8 * left & 0x3f) + 1);
    }
    if (options.is_mixed && chance % 100 < 28) items[2] = 0x7e - chance % 2; /* with ids, serials, checksums: a third */
    return p;
}

static uint8_t *put_reports(uint8_t *p, const struct terminal *t, uint32_t clock, unsigned count) { /* body of 0x0704 */
    p = put16(p, count);
    *p++ = 1; /* from a blind zone */
    for (unsigned i = 0; i < count; i++) {
        uint8_t *after = put_report(p + 2, t, clock + i);
        put16(p, (unsigned)(after - p - 2));
        p = after;
    }
    return p;
}

static uint8_t *put_registration(uint8_t *p, const struct terminal *t) { /* body of 0x0100 */
    static const int maker[] = {5, 5, 11}, model[] = {8, 20, 30}, serial[] = {7, 7, 30};
    char plate[16];
    p = put16(put16(p, 21), 100);
    memset(p, 0, 71);
    memcpy(p, "BENCH", 5); p += maker[t->edition];
    memcpy(p, "NW-1", 4); p += model[t->edition];
    memcpy(p, "0000001", 7); p += serial[t->edition];
    *p++ = 2;
    p = put16(p, 0xc1c9); /* 辽 in GBK */
    return p + (memcpy(p, plate, (size_t)snprintf(plate, sizeof plate, "A%06u", t->number % 1000000)), 7);
}

/* --- sending --------------------------------------------------------------------------------------------------------- */

static uint8_t out[OUTPUT]; /* what is being written to one terminal's link */
static size_t out_length;

static void watch(struct terminal *t, int wants_room) {
    int is_deaf = options.hostile == DEAF && t->state == REPORTING;
    if (t->wants_room == wants_room && !is_deaf) return;
    struct epoll_event e = {.events = (is_deaf ? 0 : EPOLLIN) | (wants_room ? EPOLLOUT : 0), .data.ptr = t};
    epoll_ctl(poller, EPOLL_CTL_MOD, t->fd, &e);
    t->wants_room = (uint8_t)wants_room;
}

static void keep(uint8_t **kept, uint32_t *length, const uint8_t *from, size_t count) {
    *kept = realloc(*kept, *length + count);
    memcpy(*kept + *length, from, count);
    *length += (uint32_t)count;
}

static void send_out(struct terminal *t) { /* what does not go now is kept, and goes when there is room */
    size_t gone = 0;
    while (!t->output_length && gone < out_length) {
        ssize_t n = send(t->fd, out + gone, out_length - gone, MSG_NOSIGNAL);
        if (n < 0) break;
        gone += (size_t)n;
    }
    if (gone < out_length) { keep(&t->output, &t->output_length, out + gone, out_length - gone); watch(t, 1); }
    total.bytes += out_length;
    out_length = 0;
}

static void send_kept(struct terminal *t) {
    ssize_t n = send(t->fd, t->output, t->output_length, MSG_NOSIGNAL);
    if (n < 0) return;
    memmove(t->output, t->output + n, t->output_length -= (uint32_t)n);
    if (!t->output_length) { free(t->output); t->output = NULL; watch(t, 0); }
}

/* One frame with the next serial, to be answered, `reports` of which then count as stored. */
static void ask(struct terminal *t, unsigned msg_id, const uint8_t *plain, const uint8_t *plain_end, unsigned reports, uint64_t moment) {
    struct question *q = &t->questions[t->serial & (ring - 1)];
    if (q->is_open) { total.missing++; t->unanswered--; } /* the ring went round: its answer never came */
    *q = (struct question){moment, t->serial++, (uint16_t)msg_id, (uint16_t)reports, 1};
    out_length += put_wire(out + out_length, plain, (size_t)(plain_end - plain));
    t->unanswered++; total.sent++; total.reports_sent += reports;
}

static void ask_body(struct terminal *t, unsigned msg_id, const uint8_t *body, size_t length, unsigned reports, uint64_t moment) {
    uint8_t plain[1100], *p = put_header(plain, t, msg_id, length, 0, 0);
    memcpy(p, body, length);
    ask(t, msg_id, plain, p + length, reports, moment);
}

static void send_garbage(struct terminal *t) { /* no frame: bytes between frames, or a report with a wrong checksum */
    uint8_t plain[128], *p = plain;
    if (t->turn & 1) {
        memset(out + out_length, 0xa5, 20);
        out[out_length + 20] = 0x7e; /* a flag, so that it is over */
        out_length += 21;
    } else {
        p = put_report(put_header(p, t, REPORT, 50, 0, 0), t, t->clock);
        out_length += put_wire(out + out_length, plain, (size_t)(p - plain));
        out[out_length - 2] = out[out_length - 2] == 0x11 ? 0x22 : 0x11;
    }
    total.garbage++;
}

static void send_fragment(struct terminal *t, unsigned index, uint64_t moment) {
    uint8_t body[1200], plain[600];
    if (index == 1) { t->fragmented_clock = t->clock; t->clock += FRAGMENTED; }
    size_t length = (size_t)(put_reports(body, t, t->fragmented_clock, FRAGMENTED) - body);
    size_t from = length * (index - 1) / FRAGMENTS, to = length * index / FRAGMENTS;
    uint8_t *p = put_header(plain, t, REPORTS, to - from, FRAGMENTS, index);
    memcpy(p, body + from, to - from);
    ask(t, REPORTS, plain, p + (to - from), index == FRAGMENTS ? FRAGMENTED : 0, moment);
}

static void speak(struct terminal *t, uint64_t moment) { /* the next frame, as the mix says */
    uint8_t body[600];
    uint32_t turn = options.is_mixed ? t->turn++ + t->number * 7 : 0, of_120 = turn % 120;
    if (options.is_mixed && turn % 100 == 99) send_garbage(t);
    if (options.is_mixed && of_120 % 10 == 3) ask_body(t, HEARTBEAT, body, 0, 0, moment);
    else if (of_120 >= 17 && of_120 < 17 + FRAGMENTS && (of_120 == 17 || t->fragmented_clock)) {
        send_fragment(t, of_120 - 16, moment);
        if (of_120 == 16 + FRAGMENTS) t->fragmented_clock = 0;
    } else if (of_120 % 40 == 5) {
        ask_body(t, REPORTS, body, (size_t)(put_reports(body, t, t->clock, BACKFILL) - body), BACKFILL, moment);
        t->clock += BACKFILL;
    } else {
        ask_body(t, REPORT, body, (size_t)(put_report(body, t, t->clock) - body), 1, moment);
        t->clock++;
    }
}

static void register_terminal(struct terminal *t) {
    uint8_t body[128];
    ask_body(t, REGISTER, body, (size_t)(put_registration(body, t) - body), 0, now_ns());
    t->state = REGISTERING;
}

static void authenticate(struct terminal *t, const uint8_t *code, size_t length) {
    uint8_t body[300] = {0}, *p = body;
    if (t->edition == E2019) *p++ = (uint8_t)length;
    memcpy(p, code, length); p += length;
    if (t->edition == E2019) { memcpy(p, "860000000000000", 15); memcpy(p + 15, "1.0", 3); p += 35; }
    ask_body(t, AUTHENTICATE, body, (size_t)(p - body), 0, now_ns());
    t->state = AUTHENTICATING;
}

static void start_reporting(struct terminal *t) {
    t->state = REPORTING;
    ready++;
}

/* --- receiving ------------------------------------------------------------------------------------------------------- */

static void take_answer(struct terminal *t, unsigned serial, unsigned msg_id) {
    struct question *q = &t->questions[serial & (ring - 1)];
    if (q->serial != serial || q->msg_id != msg_id) { total.wrong++; return; }
    if (!q->is_open) { total.duplicate++; return; }
    uint64_t now = now_ns(), counts_at = is_closed_loop ? now : q->moment;
    q->is_open = 0;
    t->unanswered--;
    total.answered++; total.reports_answered += q->reports;
    if (counts_at < begin || counts_at >= end) return;
    record(now - q->moment);
    in_window++; reports_in_window += q->reports;
}

static void receive_frame(struct terminal *t, uint8_t *p, size_t length) { /* between its flags, still escaped */
    size_t n = 0;
    uint8_t check = 0;
    for (size_t i = 0; i < length; i++) {
        p[n] = p[i] == 0x7d && i + 1 < length ? (i++, (uint8_t)(p[i] + 0x7c)) : p[i];
        check ^= p[n++];
    }
    size_t header = n > 2 && p[2] & 0x40 ? 17 : 12;
    if (n < header + 1 || check) { total.wrong += !options.is_echo; return; } /* the echo gives garbage back as well */
    unsigned msg_id = get16(p);
    uint8_t *body = p + header;
    size_t size = n - header - 1;
    if (options.is_echo) { take_answer(t, get16(body - 2), msg_id); return; }
    if (msg_id == REGISTERED && t->state == REGISTERING && size >= 3) {
        t->unanswered--; t->questions[get16(body) & (ring - 1)].is_open = 0;
        if (body[2]) { total.refused++; return; }
        authenticate(t, body + 3, size - 3);
    } else if (msg_id == ANSWER && size == 5) {
        if (body[4]) { total.refused++; return; }
        if (t->state == REPORTING) { take_answer(t, get16(body), get16(body + 2)); return; }
        if (get16(body + 2) != AUTHENTICATE) return; /* some answer 0x0100 by 0x8001 as well */
        t->unanswered--; t->questions[get16(body) & (ring - 1)].is_open = 0;
        start_reporting(t);
    } else total.other++; /* a command, or a request for lost fragments */
}

static void lose(struct terminal *t) {
    total.closed++;
    close(t->fd);
    t->fd = -1;
    out_length = 0;
}

static void receive(struct terminal *t) {
    static uint8_t in[2 * CHUNK];
    memcpy(in, t->input, t->input_length);
    ssize_t n = recv(t->fd, in + t->input_length, CHUNK, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { lose(t); return; }
    uint8_t *start = in, *stop = in + t->input_length + n, *flag;
    uint32_t before = t->unanswered;
    while (start < stop) {
        if (*start != 0x7e) { /* only an echo gives garbage back */
            total.wrong += !options.is_echo;
            if (!(start = memchr(start, 0x7e, (size_t)(stop - start)))) start = stop;
            continue;
        }
        if (!(flag = memchr(start + 1, 0x7e, (size_t)(stop - start - 1)))) break;
        if (flag > start + 1) { receive_frame(t, start + 1, (size_t)(flag - start - 1)); start = flag + 1; }
        else start = flag; /* two flags: the second begins the frame */
    }
    if (t->input_length) { free(t->input); t->input = NULL; t->input_length = 0; }
    if (start < stop) keep(&t->input, &t->input_length, start, (size_t)(stop - start));
    if (is_answering_back && before > t->unanswered && now_ns() < end) {
        uint64_t now = now_ns();
        while (t->unanswered < (uint32_t)options.window) speak(t, now);
    }
    if (out_length) send_out(t);
}

static void serve(int timeout_ms) {
    struct epoll_event events[1024];
    int n = epoll_wait(poller, events, 1024, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct terminal *t = events[i].data.ptr;
        if (t->fd >= 0 && events[i].events & EPOLLOUT) send_kept(t);
        if (t->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(t);
    }
}

/* --- the fleet and its schedules --------------------------------------------------------------------------------------- */

static void open_connection(struct terminal *t) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr = options.host};
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002u + t->number / PER_SOURCE)};
    int one = 1, is_local = (ntohl(options.host.s_addr) >> 24) == 127;
    t->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(t->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (t->fd < 0 || (is_local && bind(t->fd, (struct sockaddr *)&source, sizeof source)) ||
        connect(t->fd, (const struct sockaddr *)&server, sizeof server)) {
        fprintf(stderr, "connection of terminal %u: %s\n", t->number, strerror(errno));
        exit(1);
    }
    fcntl(t->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = t};
    epoll_ctl(poller, EPOLL_CTL_ADD, t->fd, &e);
    t->wants_room = 0; t->input_length = t->output_length = 0;
    if (options.is_echo || options.skips_registration) start_reporting(t); else register_terminal(t);
    send_out(t);
}

static void connect_fleet(void) {
    static const enum edition EDITIONS[] = {E2013, E2019, E2011};
    fleet = calloc((size_t)options.connections, sizeof *fleet);
    for (int i = 0; i < options.connections; i++) {
        struct terminal *t = &fleet[i];
        t->number = (uint32_t)(options.first + i);
        t->edition = options.is_mixed ? EDITIONS[t->number % 3] : E2013;
        t->questions = calloc((size_t)ring, sizeof *t->questions);
        open_connection(t);
        if (i % 64 == 0) serve(0);
    }
    uint64_t limit = now_ns() + 60 * SECOND;
    while (ready < (uint64_t)options.connections && now_ns() < limit) serve(10);
    if (ready == (uint64_t)options.connections) {
        memset(&total, 0, sizeof total); /* what was said until here does not count */
        return;
    }
    fprintf(stderr, "only %" PRIu64 " of %d terminals got through registration and authentication\n", ready, options.connections);
    exit(1);
}

static void run_closed_loop(uint64_t start) {
    is_answering_back = 1;
    for (int i = 0; i < options.connections; i++) {
        for (int k = 0; k < options.window; k++) speak(&fleet[i], now_ns());
        send_out(&fleet[i]);
    }
    while (now_ns() < start) serve(10); /* warm */
}

static void run_open_loop(void) {
    static double due; /* goes on where the warm-up ended */
    static int next;
    double step = (double)SECOND * options.window / options.rate;
    if (due == 0) due = (double)now_ns();
    for (uint64_t now; (now = now_ns()) < end;) {
        for (int burst = 0; due <= (double)now && due < (double)end && burst < 4096; burst++, due += step) {
            struct terminal *t = &fleet[next];
            next = (next + 1) % options.connections;
            if (t->fd < 0 || t->unanswered + (uint32_t)options.window > OPEN_RING || t->output_length > MAX_UNREAD) {
                total.overrun += (uint64_t)options.window; /* offered, but there is nobody to say it */
                continue;
            }
            for (int i = 0; i < options.window; i++) speak(t, (uint64_t)due);
            send_out(t);
        }
        serve(options.spins || due <= (double)now_ns() ? 0 : 1);
    }
}

/* Let what is under way be answered. What has no answer then waited at least until now. */
static void wait_for_answers(void) {
    uint64_t unanswered = 1, limit = now_ns() + 10 * SECOND;
    while (unanswered && now_ns() < limit) {
        serve(10);
        unanswered = 0;
        for (int i = 0; i < options.connections; i++) unanswered += fleet[i].fd >= 0 ? fleet[i].unanswered : 0;
    }
    for (int i = 0; i < options.connections; i++)
        for (int k = 0; k < ring; k++) {
            struct question *q = &fleet[i].questions[k];
            if (!q->is_open) continue;
            total.missing++;
            if (q->moment >= begin && q->moment < end) record(now_ns() - q->moment);
        }
}

/* Bad neighbours: they are let in as any terminal, connect again when they are closed, and count nothing. */
static void run_hostile(void) {
    struct terminal *t = fleet;
    static uint8_t waste[CHUNK];
    for (size_t i = 0; i < sizeof waste; i++) waste[i] = (uint8_t)mixed_up((uint32_t)i, 1);
    while (now_ns() < end) {
        if (t->fd < 0) { usleep(RECONNECT_US); open_connection(t); }
        if (t->state != REPORTING) { serve(1); continue; }
        if (!t->output_length) {
            if (options.hostile == GARBAGE) { memcpy(out, waste, CHUNK); out_length = CHUNK; }
            else while (out_length < CHUNK) { t->questions[t->serial & (ring - 1)].is_open = 0; t->unanswered = 0; speak(t, 0); }
            send_out(t);
        }
        struct epoll_event e;
        if (epoll_wait(poller, &e, 1, t->output_length ? 10 : 0) < 1) continue;
        if (e.events & (EPOLLHUP | EPOLLERR)) lose(t);
        else if (e.events & EPOLLOUT && t->output_length) send_kept(t);
        else if (e.events & EPOLLIN && recv(t->fd, out, CHUNK, 0) <= 0) lose(t);
    }
}

/* --- program ----------------------------------------------------------------------------------------------------------- */

static void print_results(double cpu, double server_cpu) {
    printf("{\"connections\": %d, \"window\": %d, \"seconds\": %.3f, \"in_window\": %" PRIu64 ", \"reports_in_window\": %" PRIu64,
           options.connections, options.window, (double)(end - begin) / 1e9, in_window, reports_in_window);
    printf(", \"cpu_s\": %.3f, \"server_cpu_s\": %.3f", cpu, server_cpu);
#define COUNT(name) printf(", \"" #name "\": %" PRIu64, total.name)
    COUNT(sent); COUNT(answered); COUNT(reports_sent); COUNT(reports_answered); COUNT(missing); COUNT(wrong); COUNT(refused);
    COUNT(duplicate); COUNT(other); COUNT(overrun); COUNT(closed); COUNT(garbage); COUNT(escaped); COUNT(bytes);
    printf(", \"max_ns\": %" PRIu64 ", \"histogram\": [", slowest);
    const char *comma = "";
    for (uint64_t i = 0; i < BUCKETS; i++)
        if (histogram[i]) { printf("%s[%" PRIu64 ", %" PRIu64 "]", comma, value_of(i), histogram[i]); comma = ", "; }
    printf("]}\n");
}

static enum hostility hostility_of(const char *word) {
    const char *words[] = {"friendly", "deaf", "flood", "garbage"};
    for (int i = 0; i < 4; i++) if (!strcmp(word, words[i])) return (enum hostility)i;
    fprintf(stderr, "--hostile %s: allowed are deaf, flood and garbage\n", word);
    exit(2);
}

static double number_of(const char *name, const char *text) {
    char *rest;
    double value = strtod(text, &rest);
    if (*rest || value < 0) { fprintf(stderr, "%s %s: must be a number\n", name, text); exit(2); }
    return value;
}

static void read_options(int count, char **words) {
    const struct { const char *name; int *flag; } flags[] = {
        {"--echo", &options.is_echo}, {"--mixed", &options.is_mixed}, {"--spin", &options.spins},
        {"--no-registration", &options.skips_registration}};
    const struct { const char *name; int *whole; double *real; } numbers[] = {
        {"--port", &options.port, 0}, {"--connections", &options.connections, 0}, {"--window", &options.window, 0},
        {"--first", &options.first, 0}, {"--server-pid", &options.server_pid, 0}, {"--seconds", 0, &options.seconds},
        {"--warmup", 0, &options.warmup}, {"--rate", 0, &options.rate}};
    options.host.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 1; i < count; i++) {
        const char *name = words[i];
        int is_known = 0;
        for (size_t k = 0; k < sizeof flags / sizeof *flags; k++)
            if (!strcmp(name, flags[k].name)) *flags[k].flag = is_known = 1;
        if (is_known) continue;
        const char *text = ++i < count ? words[i] : "";
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
            if (strcmp(name, numbers[k].name)) continue;
            if (numbers[k].whole) *numbers[k].whole = (int)number_of(name, text); else *numbers[k].real = number_of(name, text);
            is_known = 1;
        }
        if (!strcmp(name, "--host")) is_known = inet_aton(text, &options.host);
        if (!strcmp(name, "--hostile")) { options.hostile = hostility_of(text); is_known = 1; }
        if (!is_known) { fprintf(stderr, "%s %s: there is no such option\n", name, text); exit(2); }
    }
    if (options.window < 1 || options.window > OPEN_RING / 2 || options.connections < 1) { fprintf(stderr, "--window or --connections is out of range\n"); exit(2); }
}

int main(int count, char **words) {
    read_options(count, words);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files); files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files);
    is_closed_loop = options.rate == 0;
    for (ring = is_closed_loop ? 4 * options.window : OPEN_RING; ring & (ring - 1); ring++) {}
    end = UINT64_MAX;
    begin = UINT64_MAX - 1;
    set_clocks();
    poller = epoll_create1(0);
    connect_fleet();
    printf("ready\n");
    fflush(stdout);
    uint64_t start = now_ns() + (uint64_t)(options.warmup * 1e9), stop = start + (uint64_t)(options.seconds * 1e9);
    if (options.hostile) { end = stop; run_hostile(); print_results(cpu_seconds(0), 0); return 0; }
    double cpu, server_cpu;
    if (is_closed_loop) {
        run_closed_loop(start);
        begin = start; end = stop;
        cpu = cpu_seconds(0); server_cpu = cpu_seconds(options.server_pid);
        while (now_ns() < end) serve(10);
    } else {
        end = start; run_open_loop(); /* warm */
        begin = start; end = stop;
        cpu = cpu_seconds(0); server_cpu = cpu_seconds(options.server_pid);
        run_open_loop();
    }
    cpu = cpu_seconds(0) - cpu;
    server_cpu = options.server_pid ? cpu_seconds(options.server_pid) - server_cpu : 0;
    wait_for_answers();
    print_results(cpu, server_cpu);
    return 0;
}
