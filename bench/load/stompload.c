/* stompload: one publisher and one subscriber over STOMP 1.2, made as pairload is (one thread, pre-encoded batches, frames
 * split in place), so that its own CPU stays small; its figures have the names of amqpload's.
 *
 * Every SEND has the headers that a library sends: destination, content-length, and persistent if asked. --receipts N: a
 * receipt is asked for with every Nth SEND, and stands for all before it; --confirm W: so many are without one at most.
 * --ackevery K: the subscriber acks with ack:client, one ACK for K messages; 0: ack:auto. Where messages go is
 * --destination (default /queue/ and --queue); what is left of it is the business of whoever starts this. It always stops
 * by itself: warm-up, window, then at most 20 s for what is still on its way.
 *
 * Exit: 0; 1 messages are missing; 2 the broker refused, closed or died; 64 usage. */
#define PROGRAM "stompload"
#include "load.h"

enum { READ_BYTES = 1 << 18, BATCH_BYTES = 1 << 16, STAMP_BYTES = 8, GRACE_S = 20, DIGITS = 12 };

static struct {
    const char *queue, *destination;
    int port, size, persistent, confirm, receipts, prefetch, ackevery, pid;
    double secs, warmup;
} o = { .queue = "stompload", .port = 61613, .size = 100, .prefetch = 1000, .ackevery = 50, .secs = 5, .warmup = 1 };

/* ---- connections ---- */
typedef struct { int fd; u8 *r; size_t rn; buf w; size_t w_at; u64 unacked; } conn;

static void text(buf *b, const char *format, ...) {
    char line[1024]; va_list a; va_start(a, format); int n = vsnprintf(line, sizeof line, format, a); va_end(a);
    put(b, line, (size_t)n);
}
static void send_all(conn *c, buf *b) {
    for (size_t at = 0; at < b->n;) {
        ssize_t k = send(c->fd, b->p + at, b->n - at, MSG_NOSIGNAL);
        if (k <= 0) die(2, "write: %s", strerror(errno));
        at += (size_t)k;
    }
    b->n = 0;
}
static void expect(conn *c, const char *command) {       /* the next frame, which has no body, and nothing behind it */
    u8 *end;
    while (!(end = memchr(c->r, 0, c->rn))) {
        ssize_t k = recv(c->fd, c->r + c->rn, READ_BYTES - c->rn, 0);
        if (k <= 0) die(2, k ? "no answer: %s" : "the broker closed the connection", strerror(errno));
        c->rn += (size_t)k;
    }
    u8 *p = c->r; while (*p == '\n' || *p == '\r') p++;
    if (strncmp((char *)p, command, strlen(command))) die(2, "expected %s, got: %s", command, (char *)p);
    c->rn -= (size_t)(end + 1 - c->r); memmove(c->r, end + 1, c->rn);
}
static void open_connection(conn *c) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval patience = { 30, 0 }; int one = 1; buf b = { 0 };
    *c = (conn){ .fd = socket(AF_INET, SOCK_STREAM, 0), .r = malloc(READ_BYTES) };
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) die(2, "connect to port %d: %s", o.port, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    text(&b, "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\nheart-beat:0,0\n\n"); put(&b, "", 1);
    send_all(c, &b); expect(c, "CONNECTED"); free(b.p);
}
static void subscribe(conn *c) {
    buf b = { 0 };
    text(&b, "SUBSCRIBE\nid:0\ndestination:%s\nack:%s\nprefetch-count:%d\nreceipt:subscribed\n\n", o.destination, o.ackevery ? "client" : "auto", o.prefetch);
    put(&b, "", 1); send_all(c, &b); expect(c, "RECEIPT"); free(b.p);
}

/* ---- publishing: a group is as many messages as one receipt stands for, a batch as many groups as one write takes ---- */
static u64 published, confirmed, delivered;
static size_t plain_bytes, group_bytes, stamp_at, receipt_at; static int group, batch;

static void make_batch(conn *c) {
    buf plain = { 0 }, last = { 0 }; u8 *body = malloc((size_t)o.size);
    for (int i = 0; i < o.size; i++) body[i] = (u8)('a' + i % 26);
    text(&plain, "SEND\ndestination:%s\n%scontent-length:%d\n\n", o.destination, o.persistent ? "persistent:true\n" : "", o.size);
    stamp_at = plain.n; put(&plain, body, (size_t)o.size); put(&plain, "", 1);
    plain_bytes = plain.n; group = o.receipts ? o.receipts : 1;
    if (o.receipts) {
        text(&last, "SEND\nreceipt:"); receipt_at = last.n; text(&last, "%0*d", DIGITS, 0);
        put(&last, plain.p + 4, plain.n - 4);            /* from the end of the line SEND on */
    } else put(&last, plain.p, plain.n);
    group_bytes = plain_bytes * (size_t)(group - 1) + last.n;
    batch = (int)(BATCH_BYTES / group_bytes); if (batch < 1) batch = 1;
    for (int i = 0; i < batch; i++) { for (int k = 1; k < group; k++) put(&c->w, plain.p, plain.n); put(&c->w, last.p, last.n); }
    c->w_at = c->w.n = 0; free(plain.p); free(last.p); free(body);
}
static int flush(conn *c) {
    while (c->w_at < c->w.n) {
        ssize_t k = send(c->fd, c->w.p + c->w_at, c->w.n - c->w_at, MSG_NOSIGNAL);
        if (k < 0) { if (errno == EAGAIN) return 0; die(2, "write: %s", strerror(errno)); }
        c->w_at += (size_t)k;
    }
    c->w_at = c->w.n = 0;
    return 1;
}
static int room(void) { return !o.confirm || published - confirmed + (u64)group <= (u64)o.confirm; }
static void publish(conn *c) {
    for (int round = 0; round < 4 && flush(c); round++) {
        u64 now = now_ns(); int n = 0;
        for (; n < batch && room(); n++) {
            u8 *p = c->w.p + (size_t)n * group_bytes, *last = p + plain_bytes * (size_t)(group - 1);
            for (int k = 1; k < group; k++, p += plain_bytes) memcpy(p + stamp_at, &now, STAMP_BYTES);
            published += (u64)group;
            memcpy(last + stamp_at + (o.receipts ? receipt_at + DIGITS - 4 : 0), &now, STAMP_BYTES);
            if (o.receipts) { u64 v = published; for (int i = DIGITS - 1; i >= 0; i--, v /= 10) last[receipt_at + (size_t)i] = (u8)('0' + v % 10); }
        }
        if (n == 0) return;
        c->w.n = (size_t)n * group_bytes;
    }
}

/* ---- receiving ---- */
static int measuring;
static const u8 *value_of(const u8 *head, const u8 *end, const char *name, size_t n) {    /* name: with its line feed and colon */
    const u8 *at = memmem(head, (size_t)(end - head), name, n);
    return at ? at + n : NULL;
}
#define VALUE(head, end, name) value_of(head, end, "\n" name ":", sizeof name + 1)

static void on_message(conn *c, const u8 *head, const u8 *end, const u8 *body, size_t n, u64 now) {
    u64 sent; if (n != (size_t)o.size) die(2, "a body of %zu bytes", n);
    memcpy(&sent, body, STAMP_BYTES); delivered++;
    if (measuring) latency(now > sent ? (now - sent) / 1000 : 0);
    if (!o.ackevery || ++c->unacked < (u64)o.ackevery) return;
    const u8 *id = VALUE(head, end, "ack"); if (!id) die(2, "a message without ack");
    text(&c->w, "ACK\nid:%.*s\n\n", (int)((u8 *)memchr(id, '\n', (size_t)(end - id)) - id), (const char *)id); put(&c->w, "", 1);
    c->unacked = 0;
}
static const u8 *length_of(const u8 *p, const u8 *end) {  /* content-length: looked for first where it was in the frame before */
    static const char name[] = "\ncontent-length:"; static size_t at;
    if (at && p + at < end && !memcmp(p + at - (sizeof name - 1), name, sizeof name - 1)) return p + at;
    const u8 *value = value_of(p, end, name, sizeof name - 1);
    at = value ? (size_t)(value - p) : 0;
    return value;
}
/* One frame at p. Returns how many bytes it has; 0 if it is not whole. */
static size_t on_frame(conn *c, const u8 *p, size_t have, u64 now) {
    if (*p == '\n') return 1;
    const u8 *end = memmem(p, have, "\n\n", 2); if (!end) return 0;
    const u8 *body = end + 2, *value = length_of(p, end + 1), *stop; size_t n;
    if (value) { n = strtoul((const char *)value, NULL, 10); if ((size_t)(p + have - body) < n + 1) return 0; stop = body + n; }
    else { if (!(stop = memchr(body, 0, (size_t)(p + have - body)))) return 0; n = (size_t)(stop - body); }
    if (*stop) die(2, "a frame without its NUL");
    if (!memcmp(p, "MESSAGE\n", 8)) on_message(c, p, end + 1, body, n, now);
    else if (!memcmp(p, "RECEIPT\n", 8)) {
        u64 upto = strtoul((const char *)VALUE(p, end + 1, "receipt-id"), NULL, 10);
        if (upto < confirmed) die(2, "receipt %lu after %lu", (unsigned long)upto, (unsigned long)confirmed);
        confirmed = upto;
    } else die(2, "the broker said: %.*s", (int)(stop - p), (const char *)p);
    return (size_t)(stop + 1 - p);
}
static void on_readable(conn *c) {
    ssize_t k = recv(c->fd, c->r + c->rn, READ_BYTES - c->rn, 0);
    if (k == 0) die(2, "the broker closed the connection");
    if (k < 0) { if (errno == EAGAIN) return; die(2, "read: %s", strerror(errno)); }
    c->rn += (size_t)k; u64 now = now_ns(); size_t at = 0, n;
    while (at < c->rn && (n = on_frame(c, c->r + at, c->rn - at, now))) at += n;
    if (at == 0 && c->rn == READ_BYTES) die(2, "a frame of more than %d bytes", READ_BYTES);
    memmove(c->r, c->r + at, c->rn - at); c->rn -= at;
}

static void options(int argc, char **argv) {
    enum { QUEUE = 1, DESTINATION, PORT, SIZE, PERSISTENT, CONFIRM, RECEIPTS, PREFETCH, ACKEVERY, PID, SECS, WARMUP };
    static const struct option all[] = { {"queue",1,0,QUEUE}, {"destination",1,0,DESTINATION}, {"port",1,0,PORT}, {"size",1,0,SIZE}, {"persistent",0,0,PERSISTENT},
        {"confirm",1,0,CONFIRM}, {"receipts",1,0,RECEIPTS}, {"prefetch",1,0,PREFETCH}, {"ackevery",1,0,ACKEVERY}, {"broker-pid",1,0,PID},
        {"secs",1,0,SECS}, {"warmup",1,0,WARMUP}, {0,0,0,0} };
    static char queue[512]; int k, i;
    while ((k = getopt_long(argc, argv, "", all, &i)) != -1) {
        if (k == '?') exit(64);
        const char *name = all[i].name;
        switch (k) {
        case QUEUE: o.queue = optarg; break; case DESTINATION: o.destination = optarg; break; case PERSISTENT: o.persistent = 1; break;
        case PORT: o.port = number(name, optarg, 1, 65535); break; case SIZE: o.size = number(name, optarg, STAMP_BYTES, READ_BYTES / 2); break;
        case CONFIRM: o.confirm = number(name, optarg, 0, 1000000); break; case RECEIPTS: o.receipts = number(name, optarg, 0, 1000000); break;
        case PREFETCH: o.prefetch = number(name, optarg, 0, 65535); break; case ACKEVERY: o.ackevery = number(name, optarg, 0, 65535); break;
        case PID: o.pid = number(name, optarg, 1, 1 << 30); break; case SECS: o.secs = atof(optarg); break; case WARMUP: o.warmup = atof(optarg); break;
        }
    }
    if (optind < argc) die(64, "what is '%s'?", argv[optind]);
    if (o.confirm && (!o.receipts || o.receipts > o.confirm)) die(64, "--confirm %d needs receipts, for at most so many messages", o.confirm);
    snprintf(queue, sizeof queue, "/queue/%s", o.queue); if (!o.destination) o.destination = queue;
}

typedef struct { u64 t, published, confirmed, delivered; double own, broker; } snap;
static snap take(void) { return (snap){ now_ns(), published, confirmed, delivered, own_s(), o.pid ? cpu_s(o.pid) : 0 }; }
static int all_came(void) { return delivered >= published && (!o.receipts || confirmed >= published); }

int main(int argc, char **argv) {
    options(argc, argv);
    conn in, out; open_connection(&in); subscribe(&in); open_connection(&out); make_batch(&out);
    fcntl(out.fd, F_SETFL, O_NONBLOCK); fcntl(in.fd, F_SETFL, O_NONBLOCK);

    u64 start = now_ns(), opens = start + (u64)(o.warmup * 1e9), ends = opens + (u64)(o.secs * 1e9), grace = ends + GRACE_S * 1000000000ull;
    int publishing = 1; snap a = take(), z = a;
    for (;;) {
        u64 now = now_ns();
        if (publishing && !measuring && now >= opens) { measuring = 1; a = take(); }
        if (publishing && now >= ends) { z = take(); measuring = publishing = 0; }
        if (!publishing && out.w_at >= out.w.n && (all_came() || now >= grace)) break;
        if (publishing) publish(&out); else flush(&out);
        struct pollfd p[2] = { { out.fd, (short)(POLLIN | (out.w_at < out.w.n || (publishing && room()) ? POLLOUT : 0)), 0 },
                               { in.fd, (short)(POLLIN | (in.w.n ? POLLOUT : 0)), 0 } };
        poll(p, 2, 20);
        if (p[0].revents & (POLLIN | POLLHUP | POLLERR)) on_readable(&out);
        if (p[1].revents & (POLLIN | POLLHUP | POLLERR)) on_readable(&in);
        flush(&in);
    }
    double s = (double)(z.t - a.t) / 1e9, d = (double)(z.delivered - a.delivered); u64 lost = delivered < published ? published - delivered : 0;
    printf("{\"secs\":%.3f,\"published\":%lu,\"delivered\":%lu,\"pub_rate\":%.0f,\"confirm_rate\":%.0f,\"deliver_rate\":%.0f,\"lat_p50_ms\":%.3f,\"lat_p99_ms\":%.3f,"
           "\"own_cpu_s\":%.2f,\"broker_cpu_s\":%.2f,\"broker_us_per_msg\":%.2f,\"message_bytes\":%lu,\"lost\":%lu}\n",
           s, (unsigned long)published, (unsigned long)delivered, (double)(z.published - a.published) / s, (double)(z.confirmed - a.confirmed) / s, d / s,
           quantile_ms(.5), quantile_ms(.99), z.own - a.own, z.broker - a.broker, d > 0 ? (z.broker - a.broker) * 1e6 / d : 0, (unsigned long)plain_bytes, (unsigned long)lost);
    return lost ? 1 : 0;
}
