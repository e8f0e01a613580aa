/*
 * A fleet of JT/T 808 terminals as one epoll loop: the other side of the benchmarks.
 *
 * Each connection registers (0x0100), authenticates (0x0102) and then reports (0x0200), advancing its clock by one
 * second a report. Closed loop: WINDOW reports stay unanswered on each connection. Open loop (--rate): reports leave
 * on a fixed schedule whatever the answers do, and latency counts from the scheduled moment, so that a server that
 * stalls cannot hide the reports it kept waiting (coordinated omission). Every answer is matched by its serial.
 *
 * Only loopback addresses are accepted, connections spread over 127.0.0.x source addresses, and the run ends by itself.
 * Prints one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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

enum { INPUT = 1 << 13, OUTPUT = 1 << 15, PER_SOURCE = 5000, MAX_FRAME = 2200 };
enum state { CONNECTING, REGISTERING, AUTHENTICATING, REPORTING };

struct terminal {
    int fd;
    enum state state;
    uint8_t id[6];
    uint16_t serial, report;   /* next serial; reports sent, which is also the terminal's clock */
    uint32_t unanswered;
    uint32_t input_length, output_start, output_length;
    uint8_t *input, *output;
    uint64_t *sent;            /* moment of each serial still open, 0 when answered */
};

/* Latency histogram in the manner of HDR: 2 ** 7 linear steps in each power of two, so 0.8 % wide. */
enum { SUB = 7, BUCKETS = (64 - SUB) << SUB };
static uint64_t histogram[BUCKETS], samples;

static int connections = 1000, window = 1, port = 7611, echo = 0, first_id = 1, ring = 64;
static double seconds = 10, warmup = 2, rate = 0;
static struct terminal *fleet;
static int poller;
static uint64_t answered, sent_total, wrong, closed, counting, ready, sent_counted;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void record(uint64_t ns) {
    int top = ns < (1u << SUB) ? 0 : 63 - __builtin_clzll(ns) - SUB + 1;
    uint64_t bucket = top ? ((uint64_t)top << SUB) + (ns >> (top - 1)) - (1u << SUB) : ns;
    if (bucket < BUCKETS) histogram[bucket]++;
    samples++;
}

static double percentile_us(double share) {
    uint64_t want = (uint64_t)(share * (double)samples), seen = 0;
    for (uint64_t i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > want) {
            uint64_t top = i >> SUB, low = i & ((1u << SUB) - 1);
            uint64_t ns = top ? ((1u << SUB) + low) << (top - 1) : low;
            return (double)ns / 1000;
        }
    }
    return 0;
}

static uint8_t bcd(unsigned value) { return (uint8_t)((value / 10) << 4 | value % 10); }

static size_t put_frame(uint8_t *out, const uint8_t *plain, size_t length) {
    uint8_t *p = out, check = 0;
    *p++ = 0x7e;
    for (size_t i = 0; i <= length; i++) {
        uint8_t byte = i < length ? plain[i] : check;
        check ^= i < length ? plain[i] : 0;
        if (byte == 0x7e) { *p++ = 0x7d; *p++ = 0x02; }
        else if (byte == 0x7d) { *p++ = 0x7d; *p++ = 0x01; }
        else *p++ = byte;
    }
    *p++ = 0x7e;
    return (size_t)(p - out);
}

static size_t put_header(uint8_t *p, struct terminal *t, uint16_t msg_id, size_t body) {
    p[0] = (uint8_t)(msg_id >> 8); p[1] = (uint8_t)msg_id;
    p[2] = (uint8_t)(body >> 8); p[3] = (uint8_t)body;
    memcpy(p + 4, t->id, 6);
    p[10] = (uint8_t)(t->serial >> 8); p[11] = (uint8_t)t->serial;
    t->serial++;
    return 12;
}

static void watch(struct terminal *t, int writable) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = t};
    epoll_ctl(poller, EPOLL_CTL_MOD, t->fd, &e);
}

static void flush(struct terminal *t) {
    while (t->output_length) {
        ssize_t n = send(t->fd, t->output + t->output_start, t->output_length, MSG_NOSIGNAL);
        if (n < 0) { if (errno == EAGAIN) watch(t, 1); return; }
        t->output_start += (uint32_t)n; t->output_length -= (uint32_t)n;
    }
    t->output_start = 0;
}

static void append(struct terminal *t, const uint8_t *plain, size_t length) {
    if (t->output_start + t->output_length + 2 * length + 4 > OUTPUT) { /* a peer that does not read */
        memmove(t->output, t->output + t->output_start, t->output_length);
        t->output_start = 0;
        if (t->output_length + 2 * length + 4 > OUTPUT) { wrong++; return; }
    }
    t->output_length += (uint32_t)put_frame(t->output + t->output_start + t->output_length, plain, length);
}

static void register_terminal(struct terminal *t) { /* JT/T 808-2013 8.5 */
    uint8_t p[12 + 37 + 9] = {0};
    size_t n = put_header(p, t, 0x0100, 37 + 9);
    p[n + 1] = 21; memcpy(p + n + 4, "BENCH", 5); memcpy(p + n + 9, "NW-1", 4); memcpy(p + n + 29, "0000001", 7);
    p[n + 36] = 2;
    static const uint8_t liao[2] = {0xc1, 0xc9}; /* 辽 in GBK */
    memcpy(p + n + 37, liao, 2);
    p[n + 39] = 'A';
    for (int i = 0; i < 6; i++) p[n + 40 + i] = (uint8_t)('0' + (i < 3 ? t->id[3 + i] >> 4 : t->id[i] & 15));
    append(t, p, n + 46);
    t->state = REGISTERING;
}

static void authenticate(struct terminal *t, const uint8_t *code, size_t length) {
    uint8_t p[12 + 256];
    size_t n = put_header(p, t, 0x0102, length);
    memcpy(p + n, code, length);
    append(t, p, n + length);
    t->state = AUTHENTICATING;
}

static void report(struct terminal *t, uint64_t moment) { /* 65 bytes: header 12, core 28, items 01 03 30 31 25, checksum */
    uint8_t p[80];
    t->sent[t->serial & (ring - 1)] = moment;
    size_t n = put_header(p, t, 0x0200, 50);
    uint8_t *b = p + n;
    unsigned second = t->report++, minute = second / 60, hour = minute / 60;
    uint32_t lat = 41800000 + (second * 37) % 90000, lon = 123400000 + (second * 53) % 90000;
    memset(b, 0, 50);
    b[7] = 3;
    for (int i = 0; i < 4; i++) { b[8 + i] = (uint8_t)(lat >> (24 - 8 * i)); b[12 + i] = (uint8_t)(lon >> (24 - 8 * i)); }
    b[17] = 40; b[18] = 2; b[19] = (uint8_t)second; b[21] = 90;
    b[22] = bcd(26); b[23] = bcd(11); b[24] = bcd(1 + hour / 24 % 28);
    b[25] = bcd(hour % 24); b[26] = bcd(minute % 60); b[27] = bcd(second % 60);
    b[28] = 0x01; b[29] = 4; b[32] = (uint8_t)(second >> 8); b[33] = (uint8_t)second;
    b[34] = 0x03; b[35] = 2; b[37] = (uint8_t)second;
    b[38] = 0x30; b[39] = 1; b[40] = 28;
    b[41] = 0x31; b[42] = 1; b[43] = 11;
    b[44] = 0x25; b[45] = 4; b[49] = 1;
    append(t, p, n + 50);
    t->unanswered++; sent_total++; sent_counted += counting;
}

static void begin_reporting(struct terminal *t) {
    t->state = REPORTING;
    ready++;
    if (rate == 0) { uint64_t now = now_ns(); for (int i = 0; i < window; i++) report(t, now); }
}

static int take_answer(struct terminal *t, uint16_t serial) {
    uint64_t *moment = &t->sent[serial & (ring - 1)], now;
    if (!*moment) { wrong++; return 0; }
    now = now_ns();
    if (counting) { record(now - *moment); answered++; }
    *moment = 0;
    t->unanswered--;
    return 1;
}

static int receive_frame(struct terminal *t, uint8_t *p, size_t length) { /* without flags, still escaped */
    size_t n = 0;
    for (size_t i = 0; i < length; i++)
        p[n++] = p[i] == 0x7d && i + 1 < length ? (i++, p[i] == 0x02 ? 0x7e : 0x7d) : p[i];
    if (n < 13) { wrong++; return 0; }
    unsigned msg_id = (unsigned)p[0] << 8 | p[1];
    if (echo) return take_answer(t, (uint16_t)(p[10] << 8 | p[11]));
    if (msg_id == 0x8100 && t->state == REGISTERING) {
        if (n < 16 || p[14] != 0) { wrong++; return 0; }
        authenticate(t, p + 15, n - 16);
    } else if (msg_id == 0x8001 && t->state == AUTHENTICATING) {
        if (p[16] != 0) { wrong++; return 0; }
        begin_reporting(t);
    } else if (msg_id == 0x8001 && t->state == REPORTING) {
        if (p[16] != 0) wrong++;
        return take_answer(t, (uint16_t)(p[12] << 8 | p[13]));
    }
    return 0;
}

static void receive(struct terminal *t) {
    ssize_t n = recv(t->fd, t->input + t->input_length, INPUT - t->input_length, 0);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN) return;
        closed++; close(t->fd); t->fd = -1; t->output_length = 0;
        return;
    }
    t->input_length += (uint32_t)n;
    uint8_t *start = t->input, *end = t->input + t->input_length, *flag;
    int answers = 0;
    while (start < end) {
        if (*start != 0x7e) { wrong++; start++; continue; }
        flag = memchr(start + 1, 0x7e, (size_t)(end - start - 1));
        if (!flag) break;
        answers += receive_frame(t, start + 1, (size_t)(flag - start - 1));
        start = flag + 1;
    }
    t->input_length = (uint32_t)(end - start);
    memmove(t->input, start, t->input_length);
    if (rate == 0 && answers) { uint64_t now = now_ns(); while (answers--) report(t, now); }
    flush(t);
}

static void open_connection(int index, const struct sockaddr_in *server) {
    struct terminal *t = &fleet[index];
    t->input = malloc(INPUT); t->output = malloc(OUTPUT); t->sent = calloc((size_t)ring, sizeof *t->sent);
    unsigned number = (unsigned)(first_id + index);
    t->id[0] = 0x01; t->id[1] = 0x39;
    for (int i = 5; i > 1; i--) { t->id[i] = bcd(number % 100); number /= 100; }
    t->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002u + (unsigned)(index / PER_SOURCE))};
    int one = 1;
    setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(t->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(t->fd, (struct sockaddr *)&source, sizeof source) || connect(t->fd, (const struct sockaddr *)server, sizeof *server)) {
        fprintf(stderr, "connection %d: %s\n", index, strerror(errno));
        exit(1);
    }
    fcntl(t->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = t};
    epoll_ctl(poller, EPOLL_CTL_ADD, t->fd, &e);
    if (echo) begin_reporting(t); else register_terminal(t);
    flush(t);
}

static void serve(int timeout_ms) {
    struct epoll_event events[1024];
    int n = epoll_wait(poller, events, 1024, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct terminal *t = events[i].data.ptr;
        if (t->fd < 0) continue;
        if (events[i].events & EPOLLOUT) { watch(t, 0); flush(t); }
        if (t->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(t);
    }
}

static double option(const char *text) { char *end; double v = strtod(text, &end); if (*end) { fprintf(stderr, "%s is no number\n", text); exit(2); } return v; }

int main(int count, char **words) {
    for (int i = 1; i < count; i++) {
        const char *name = words[i];
        if (!strcmp(name, "--echo")) { echo = 1; continue; }
        if (i + 1 == count) { fprintf(stderr, "%s needs a value\n", name); return 2; }
        double value = option(words[++i]);
        if (!strcmp(name, "--port")) port = (int)value;
        else if (!strcmp(name, "--connections")) connections = (int)value;
        else if (!strcmp(name, "--window")) window = (int)value;
        else if (!strcmp(name, "--seconds")) seconds = value;
        else if (!strcmp(name, "--warmup")) warmup = value;
        else if (!strcmp(name, "--rate")) rate = value;
        else if (!strcmp(name, "--first-id")) first_id = (int)value;
        else { fprintf(stderr, "unknown option %s\n", name); return 2; }
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files); files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files);
    if (rate == 0) { ring = 64; while (ring < 2 * window) ring *= 2; }
    else { ring = 1024; }
    fleet = calloc((size_t)connections, sizeof *fleet);
    poller = epoll_create1(0);
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < connections; i++) { open_connection(i, &server); if (i % 64 == 0) serve(0); }
    uint64_t started = now_ns(), limit = started + 60000000000ull;
    while (ready < (uint64_t)connections && now_ns() < limit) serve(10);
    if (ready < (uint64_t)connections) { fprintf(stderr, "only %lu of %d terminals got through registration\n", ready, connections); return 1; }

    uint64_t begin = now_ns() + (uint64_t)(warmup * 1e9), end = begin + (uint64_t)(seconds * 1e9), now, schedule = now_ns();
    double step = rate > 0 ? 1e9 / rate : 0, due = (double)schedule;
    int next = 0;
    while ((now = now_ns()) < end) {
        counting = now >= begin;
        if (rate > 0) {
            for (int burst = 0; due <= (double)now && burst < 4096; burst++, due += step) {
                struct terminal *t = &fleet[next];
                next = (next + 1) % connections;
                if (t->fd < 0) continue;
                if (t->unanswered >= (uint32_t)ring) { wrong++; continue; }
                report(t, (uint64_t)due); flush(t);
            }
            serve((double)now + 1e6 < due ? 1 : 0);
        } else serve(10);
    }
    uint64_t measured = end - begin, late = 0;
    counting = 0;
    uint64_t grace = now_ns() + 5000000000ull; /* let open reports be answered: they count as sent, not as measured */
    rate = 1; /* closed loop stops refilling */
    for (;;) {
        late = 0;
        for (int i = 0; i < connections; i++) late += fleet[i].unanswered;
        if (!late || now_ns() > grace) break;
        serve(10);
    }
    printf("{\"connections\": %d, \"window\": %d, \"seconds\": %.3f, \"sent\": %lu, \"answered\": %lu, \"rate\": %.0f, "
           "\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"unanswered\": %lu, \"wrong\": %lu, \"closed\": %lu}\n",
           connections, window, (double)measured / 1e9, sent_total, answered, (double)answered / ((double)measured / 1e9),
           percentile_us(.5), percentile_us(.9), percentile_us(.99), percentile_us(.999), late, wrong, closed);
    return 0;
}
