/* pairload: one publisher and one consumer over AMQP 0-9-1, for what amqpload cannot vary.
 *
 * It is made as amqpload is (one thread, pre-encoded batches, frames scanned in place), so that its own CPU stays
 * small, and its figures have amqpload's names. What it adds: a Celery task's properties and headers, a channel number
 * and a frame-max for each side, many routing keys through an exchange; queue arguments (--arg NAME=VALUE), and what a
 * message may ask of a queue: --expiration MS or distinct ones, --priorities N, --groups N (keys in x-group-id),
 * --delay MS (x-deliver-after), --message-id. --dlx reject: the consumer rejects everything, and what counts is delivered
 * out of a second queue, where dead letters go; --dlx drop: so does what the first queue drops (--arg x-max-length=N).
 * --fill: nobody consumes; --count N: so many messages instead of a window; --delete: no queue is left. Other topology is
 * declared by whoever starts it. It always stops by itself: warm-up, window, then at most 20 s for what is still on its way.
 *
 * Exit: 0; 1 messages are missing; 2 the broker refused, closed or died; 64 usage. */
#define PROGRAM "pairload"
#include "load.h"

enum { READ_BYTES = 1 << 18, BATCH_BYTES = 1 << 16, STAMP_BYTES = 8, GRACE_S = 20, KEY_BYTES = 12, ARGS = 8, PATCHES = 4, DISTINCT = 1000000 };
enum { NO_DLX, REJECTED, DROPPED };
enum { METHOD = 1, HEADER = 2, BODY = 3, FRAME_END = 0xCE };

static struct {
    const char *queue, *exchange;
    int port, size, durable, persistent, confirm, prefetch, ackevery, celery, keys, pid;
    int pub_channel, cons_channel, pub_frame_max, cons_frame_max;
    int priorities, groups, delay, message_id, dlx, fill, delete, max_length, args_n, count;
    const char *expiration, *args[ARGS];
    double secs, warmup;
} o = { .queue = "pairload", .exchange = "", .port = 5672, .size = 100, .prefetch = 1000, .ackevery = 50, .pub_channel = 1,
        .cons_channel = 1, .pub_frame_max = 131072, .cons_frame_max = 131072, .secs = 5, .warmup = 1 };

/* ---- encoding ---- */
static void p8(buf *b, unsigned v) { u8 x = (u8)v; put(b, &x, 1); }
static void p16(buf *b, unsigned v) { p8(b, v >> 8); p8(b, v); }
static void p32(buf *b, u32 v) { v = htonl(v); put(b, &v, 4); }
static void p64(buf *b, u64 v) { p32(b, (u32)(v >> 32)); p32(b, (u32)v); }
static void short_string(buf *b, const char *s) { p8(b, (unsigned)strlen(s)); put(b, s, strlen(s)); }
static void long_string(buf *b, const void *s, size_t n) { p32(b, (u32)n); put(b, s, n); }
static u32 g32(const u8 *p) { u32 v; memcpy(&v, p, 4); return ntohl(v); }
static unsigned g16(const u8 *p) { return (unsigned)p[0] << 8 | p[1]; }
static u64 g64(const u8 *p) { return (u64)g32(p) << 32 | g32(p + 4); }
static size_t frame(buf *b, int type, int channel) { p8(b, (unsigned)type); p16(b, (unsigned)channel); p32(b, 0); return b->n; }
static size_t method(buf *b, int channel, int class, int id) {
    size_t at = frame(b, METHOD, channel); p16(b, (unsigned)class); p16(b, (unsigned)id); return at;
}
static void end_frame(buf *b, size_t at) { u32 n = htonl((u32)(b->n - at)); memcpy(b->p + at - 4, &n, 4); p8(b, FRAME_END); }

/* ---- a Celery task's properties (task protocol 2), 20 headers as kombu writes them ---- */
static void field_text(buf *b, const char *name, const char *text) { short_string(b, name); p8(b, 'S'); long_string(b, text, strlen(text)); }
static void field_void(buf *b, const char *name) { short_string(b, name); p8(b, 'V'); }
static void celery_properties(buf *b, int persistent) {
    const char *id = "5c6bf4b2-1f0e-4d8a-9a53-0d3f5b6d1c9e";
    static const char *const voids[] = { "shadow", "eta", "expires", "group", "group_index", "parent_id", "stamped_headers" };
    buf h = { 0 };
    field_text(&h, "lang", "py"); field_text(&h, "task", "tasks.images.resize"); field_text(&h, "id", id);
    for (size_t i = 0; i < sizeof voids / sizeof *voids; i++) field_void(&h, voids[i]);
    short_string(&h, "retries"); p8(&h, 'I'); p32(&h, 0);
    short_string(&h, "timelimit"); p8(&h, 'A'); p32(&h, 2); p8(&h, 'V'); p8(&h, 'V');
    field_text(&h, "root_id", id); field_text(&h, "argsrepr", "(1234, 'in/photo.jpeg')"); field_text(&h, "kwargsrepr", "{'width': 640}");
    field_text(&h, "origin", "gen4711@worker-host"); short_string(&h, "ignore_result"); p8(&h, 't'); p8(&h, 0);
    short_string(&h, "replaced_task_nesting"); p8(&h, 'I'); p32(&h, 0);
    short_string(&h, "stamps"); p8(&h, 'F'); p32(&h, 0);
    p16(b, 0xFE00);   /* content-type, encoding, headers, delivery-mode, priority, correlation-id, reply-to */
    short_string(b, "application/json"); short_string(b, "utf-8"); long_string(b, h.p, h.n);
    p8(b, persistent ? 2 : 1); p8(b, 0); short_string(b, id); short_string(b, "9b1c0f0a-73a5-3c43-8d0e-6c1f4e8f9d11");
    free(h.p);
}

/* ---- what a message asks: bytes that differ from message to message are patched in place, from a table of them ---- */
typedef struct { size_t at, width; const u8 *table; u64 n, next; } patch;
static patch patches[PATCHES]; static int patches_n; static size_t message_id_at;
static u8 *patched(size_t at, size_t width, int n) {      /* the table, with room for a 0 at its end */
    u8 *table = malloc(width * (size_t)n + 1);
    patches[patches_n++] = (patch){ .at = at, .width = width, .table = table, .n = (u64)n };
    return table;
}
static void asking_properties(buf *b) {
    buf h = { 0 }; unsigned flags = 0; size_t group_at = 0, group_width = 0;
    if (o.groups) { field_text(&h, "x-group-id", "customer-000000"); group_width = 6; group_at = h.n - group_width; }
    if (o.delay) { short_string(&h, "x-deliver-after"); p8(&h, 'I'); p32(&h, (u32)o.delay); }
    flags |= h.n ? 0x2000 : 0; flags |= o.persistent ? 0x1000 : 0; flags |= o.priorities ? 0x0800 : 0;
    flags |= o.expiration ? 0x0100 : 0; flags |= o.message_id ? 0x0080 : 0;
    p16(b, flags);
    if (h.n) {
        if (o.groups) { char *t = (char *)patched(b->n + 4 + group_at, group_width, o.groups); for (int i = 0; i < o.groups; i++) sprintf(t + i * 6, "%06d", i); }
        long_string(b, h.p, h.n);
    }
    if (o.persistent) p8(b, 2);
    if (o.priorities) { u8 *t = patched(b->n, 1, o.priorities); for (int i = 0; i < o.priorities; i++) t[i] = (u8)i; p8(b, 0); }
    if (o.expiration && !strcmp(o.expiration, "distinct")) {     /* eleven days, and up to a quarter of an hour */
        char *t = (char *)patched(b->n + 1, 10, DISTINCT); for (int i = 0; i < DISTINCT; i++) sprintf(t + i * 10, "%010d", 1000000000 + i);
        short_string(b, "1000000000");
    } else if (o.expiration) short_string(b, o.expiration);
    if (o.message_id) { short_string(b, "0000000000000000"); message_id_at = b->n - 16; }
    free(h.p);
}
static void patch_message(u8 *m, u64 number) {
    for (patch *p = patches; p < patches + patches_n; p++) {
        memcpy(m + p->at, p->table + p->next * p->width, p->width);
        if (++p->next == p->n) p->next = 0;
    }
    if (message_id_at) for (int i = 15; i >= 0; i--, number >>= 4) m[message_id_at + (size_t)i] = (u8)"0123456789abcdef"[number & 15];
}

/* ---- connections ---- */
typedef struct {
    int fd, channel, rejects, counts; u32 frame_max;
    u8 *r; size_t rn;
    buf w; size_t w_at;
    u64 tag, unacked, body_left, stamp_got; u8 stamp[STAMP_BYTES];
} conn;

static void send_all(conn *c, buf *b) {
    for (size_t at = 0; at < b->n;) {
        ssize_t k = send(c->fd, b->p + at, b->n - at, MSG_NOSIGNAL);
        if (k <= 0) die(2, "write: %s", strerror(errno));
        at += (size_t)k;
    }
    b->n = 0;
}
static void receive_all(conn *c, u8 *p, size_t n) {
    while (n) {
        ssize_t k = recv(c->fd, p, n, 0);
        if (k <= 0) die(2, k ? "no answer: %s" : "the broker closed the connection", strerror(errno));
        p += k; n -= (size_t)k;
    }
}
static void closed(const u8 *p) { die(2, "the broker closed: %u %.*s", g16(p + 4), (int)p[6], (const char *)p + 7); }
static u8 *expect(conn *c, unsigned class, unsigned id) {
    static u8 p[1 << 18]; u8 head[7];
    for (;;) {
        receive_all(c, head, 7);
        u32 n = g32(head + 3); if (n + 1 > sizeof p) die(2, "a frame of %u bytes during set-up", n);
        receive_all(c, p, n + 1);
        if (head[0] != METHOD) continue;
        if ((g16(p) == 10 && g16(p + 2) == 50) || (g16(p) == 20 && g16(p + 2) == 40)) closed(p);
        if (g16(p) != class || g16(p + 2) != id) die(2, "expected method %u.%u, got %u.%u", class, id, g16(p), g16(p + 2));
        return p;
    }
}
static void open_connection(conn *c, int channel, int frame_max) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval patience = { 30, 0 }; int one = 1; buf b = { 0 }; size_t at;
    *c = (conn){ .fd = socket(AF_INET, SOCK_STREAM, 0), .channel = channel, .r = malloc(READ_BYTES) };
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) die(2, "connect to port %d: %s", o.port, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    put(&b, "AMQP\0\0\x09\x01", 8); send_all(c, &b); expect(c, 10, 10);
    at = method(&b, 0, 10, 11); p32(&b, 0); short_string(&b, "PLAIN"); long_string(&b, "\0guest\0guest", 12); short_string(&b, "en_US"); end_frame(&b, at);
    send_all(c, &b); u8 *p = expect(c, 10, 30); unsigned channels = g16(p + 4); u32 offered = g32(p + 6);
    c->frame_max = offered && offered < (u32)frame_max ? offered : (u32)frame_max;
    if (channels && channel > (int)channels) die(2, "the broker allows channels up to %u", channels);
    at = method(&b, 0, 10, 31); p16(&b, channels ? channels : 2047); p32(&b, c->frame_max); p16(&b, 0); end_frame(&b, at);
    at = method(&b, 0, 10, 40); short_string(&b, "/"); short_string(&b, ""); p8(&b, 0); end_frame(&b, at);
    send_all(c, &b); expect(c, 10, 41);
    at = method(&b, channel, 20, 10); short_string(&b, ""); end_frame(&b, at); send_all(c, &b); expect(c, 20, 11);
    free(b.p);
}

/* ---- publishing ---- */
static u64 published, confirmed, delivered;
static size_t message_bytes, stamp_at; static int batch;

static void make_batch(conn *c) {
    char key[256]; buf b = { 0 }; size_t at;
    snprintf(key, sizeof key, "%s", o.keys ? "b000.k000000" : o.queue);
    at = method(&b, c->channel, 60, 40); p16(&b, 0); short_string(&b, o.exchange); short_string(&b, key);
    if (o.keys) { char *t = (char *)patched(b.n - KEY_BYTES, KEY_BYTES, o.keys); for (int i = 0; i < o.keys; i++) snprintf(t + (size_t)i * KEY_BYTES, KEY_BYTES + 1, "b%03d.k%06d", i % 1000, i % 1000000); }
    p8(&b, 0); end_frame(&b, at);
    at = frame(&b, HEADER, c->channel); p16(&b, 60); p16(&b, 0); p64(&b, (u64)o.size);
    if (o.celery) celery_properties(&b, o.persistent); else asking_properties(&b);
    end_frame(&b, at);
    u8 *body = malloc((size_t)o.size); for (int i = 0; i < o.size; i++) body[i] = (u8)('a' + i % 26);
    for (size_t left = (size_t)o.size; left;) {
        size_t n = left < c->frame_max - 8 ? left : c->frame_max - 8;
        at = frame(&b, BODY, c->channel); if (left == (size_t)o.size) stamp_at = b.n; put(&b, body, n); end_frame(&b, at); left -= n;
    }
    free(body); message_bytes = b.n; batch = (int)(BATCH_BYTES / b.n); if (batch < 1) batch = 1;
    for (int i = 0; i < batch; i++) put(&c->w, b.p, b.n);
    free(b.p); c->w_at = c->w.n = 0;
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
static void publish(conn *c) {
    for (int round = 0; round < 4 && flush(c); round++) {
        u64 n = (u64)batch, now = now_ns();
        if (o.confirm && n > (u64)o.confirm - (published - confirmed)) n = (u64)o.confirm - (published - confirmed);
        if (o.count && n > (u64)o.count - published) n = (u64)o.count - published;
        if (n == 0) return;
        for (u64 i = 0; i < n; i++) {
            u8 *m = c->w.p + i * message_bytes; memcpy(m + stamp_at, &now, STAMP_BYTES);
            patch_message(m, published + i);
        }
        published += n; c->w.n = n * message_bytes;
    }
}

/* ---- receiving ---- */
static int measuring; static u64 confirmed_low;
static void settle(conn *c) {                            /* ack or nack all so far; a nack is without requeue */
    buf *b = &c->w; size_t at = method(b, c->channel, 60, c->rejects ? 120 : 80); p64(b, c->tag); p8(b, 1); end_frame(b, at); c->unacked = 0;
}
static void message_done(conn *c, u64 now) {
    u64 sent; memcpy(&sent, c->stamp, STAMP_BYTES);
    if (c->counts) { delivered++; if (measuring) latency(now > sent ? (now - sent) / 1000 : 0); }
    if (o.ackevery && ++c->unacked >= (u64)o.ackevery) settle(c);
}
static void on_frame(conn *c, const u8 *p, u64 now) {
    u32 n = g32(p + 3); const u8 *b = p + 7;
    if (b[n] != FRAME_END) die(2, "a frame without its end octet");
    if (p[0] != 8 && g16(b) != 10 && g16(p + 1) != (unsigned)c->channel) die(2, "a frame on channel %u", g16(p + 1));
    if (n + 8 > c->frame_max) die(2, "a frame of %u bytes with a frame-max of %u", n + 8, c->frame_max);
    if (p[0] == METHOD) {
        unsigned id = g16(b) << 8 | g16(b + 2);
        if (id == (60 << 8 | 60)) c->tag = g64(b + 5 + b[4]);
        else if (id == (60 << 8 | 80)) {             /* single acks may come in any order: count them */
            u64 upto = g64(b + 4);
            if (b[12] & 1) { confirmed = upto; confirmed_low = upto; } else if (upto == confirmed_low + 1) { confirmed++; confirmed_low++; } else confirmed++;
        } else if (id == (60 << 8 | 120)) die(2, "the broker refused a message");
        else if (id == (10 << 8 | 50) || id == (20 << 8 | 40)) closed(b);
        else if (g16(b) != 10) die(2, "unexpected method %u.%u", g16(b), g16(b + 2));
    } else if (p[0] == HEADER) { c->body_left = g64(b + 4); c->stamp_got = 0; }
    else if (p[0] == BODY) {
        if (n > c->body_left) die(2, "a body frame out of place");
        if (c->stamp_got < STAMP_BYTES) {
            size_t k = n < STAMP_BYTES - c->stamp_got ? n : STAMP_BYTES - c->stamp_got;
            memcpy(c->stamp + c->stamp_got, b, k); c->stamp_got += k;
        }
        if ((c->body_left -= n) == 0) message_done(c, now);
    }
}
static void on_readable(conn *c) {
    ssize_t k = recv(c->fd, c->r + c->rn, READ_BYTES - c->rn, 0);
    if (k == 0) die(2, "the broker closed the connection");
    if (k < 0) { if (errno == EAGAIN) return; die(2, "read: %s", strerror(errno)); }
    c->rn += (size_t)k; u64 now = now_ns(); size_t at = 0;
    while (c->rn - at >= 8) { u32 n = g32(c->r + at + 3); if (c->rn - at < n + 8) break; on_frame(c, c->r + at, now); at += n + 8; }
    memmove(c->r, c->r + at, c->rn - at); c->rn -= at;
}

static const char *dead_queue(void) {
    static char name[256]; snprintf(name, sizeof name, "%s.dead", o.queue); return name;
}
static void queue_arguments(buf *b) {
    buf t = { 0 };
    for (int i = 0; i < o.args_n; i++) {
        char name[256], *end; const char *value = strchr(o.args[i], '=') + 1; long v = strtol(value, &end, 10);
        snprintf(name, sizeof name, "%.*s", (int)(value - o.args[i] - 1), o.args[i]);
        if (*value && !*end) { short_string(&t, name); p8(&t, 'I'); p32(&t, (u32)v); } else field_text(&t, name, value);
    }
    if (o.dlx) { field_text(&t, "x-dead-letter-exchange", ""); field_text(&t, "x-dead-letter-routing-key", dead_queue()); }
    long_string(b, t.p ? t.p : (u8 *)"", t.n); free(t.p);
}
static void declare(conn *c, const char *queue, int with_arguments) {
    buf b = { 0 }; size_t at = method(&b, c->channel, 50, 10);
    p16(&b, 0); short_string(&b, queue); p8(&b, o.durable ? 2 : 0);
    if (with_arguments) queue_arguments(&b); else p32(&b, 0);
    end_frame(&b, at); send_all(c, &b); expect(c, 50, 11); free(b.p);
}
static void delete_queue(conn *c, const char *queue) {   /* deliveries may be on their way still: no answer is asked for */
    buf b = { 0 }; size_t at = method(&b, c->channel, 50, 40); p16(&b, 0); short_string(&b, queue); p8(&b, 4); end_frame(&b, at); send_all(c, &b); free(b.p);
}
static void close_connection(conn *c) {
    buf b = { 0 }; size_t at = method(&b, 0, 10, 50); p16(&b, 200); short_string(&b, ""); p32(&b, 0); end_frame(&b, at); send_all(c, &b);
    static const u8 done[12] = { METHOD, 0, 0, 0, 0, 0, 4, 0, 10, 0, 51, FRAME_END };   /* the last that comes: all before is done */
    ssize_t k; size_t n = 0; u8 *r = c->r;
    while ((k = recv(c->fd, r + n, READ_BYTES - n, 0)) > 0) {
        n += (size_t)k; size_t keep = n < sizeof done ? n : sizeof done; memmove(r, r + n - keep, keep); n = keep;
        if (n == sizeof done && !memcmp(r, done, n)) break;
    }
    free(b.p);
}
static void consume(conn *c, const char *queue) {
    buf b = { 0 }; size_t at = method(&b, c->channel, 60, 10);
    p32(&b, 0); p16(&b, (unsigned)o.prefetch); p8(&b, 0); end_frame(&b, at); send_all(c, &b); expect(c, 60, 11);
    at = method(&b, c->channel, 60, 20); p16(&b, 0); short_string(&b, queue); short_string(&b, ""); p8(&b, o.ackevery ? 0 : 2); p32(&b, 0); end_frame(&b, at);
    send_all(c, &b); expect(c, 60, 21); free(b.p);
}
static void options(int argc, char **argv) {
    enum { QUEUE = 1, EXCHANGE, PORT, SIZE, DURABLE, PERSISTENT, CONFIRM, PREFETCH, ACKEVERY, CELERY, KEYS, PID, PUB_CHANNEL, CONS_CHANNEL, PUB_MAX, CONS_MAX, SECS, WARMUP,
        EXPIRATION, PRIORITIES, GROUPS, DELAY, MESSAGE_ID, ARG, DLX, FILL, DELETE, COUNT };
    static const struct option all[] = { {"queue",1,0,QUEUE}, {"exchange",1,0,EXCHANGE}, {"port",1,0,PORT}, {"size",1,0,SIZE}, {"durable",0,0,DURABLE},
        {"persistent",0,0,PERSISTENT}, {"confirm",1,0,CONFIRM}, {"prefetch",1,0,PREFETCH}, {"ackevery",1,0,ACKEVERY}, {"celery",0,0,CELERY}, {"keys",1,0,KEYS},
        {"broker-pid",1,0,PID}, {"pub-channel",1,0,PUB_CHANNEL}, {"cons-channel",1,0,CONS_CHANNEL}, {"pub-frame-max",1,0,PUB_MAX},
        {"cons-frame-max",1,0,CONS_MAX}, {"secs",1,0,SECS}, {"warmup",1,0,WARMUP},
        {"expiration",1,0,EXPIRATION}, {"priorities",1,0,PRIORITIES}, {"groups",1,0,GROUPS}, {"delay",1,0,DELAY}, {"message-id",0,0,MESSAGE_ID},
        {"arg",1,0,ARG}, {"dlx",1,0,DLX}, {"fill",0,0,FILL}, {"delete",0,0,DELETE}, {"count",1,0,COUNT}, {0,0,0,0} };
    int k, i;
    while ((k = getopt_long(argc, argv, "", all, &i)) != -1) {
        if (k == '?') exit(64);
        const char *name = all[i].name;
        switch (k) {
        case QUEUE: o.queue = optarg; break; case EXCHANGE: o.exchange = optarg; break;
        case DURABLE: o.durable = 1; break; case PERSISTENT: o.persistent = 1; break; case CELERY: o.celery = 1; break;
        case PORT: o.port = number(name, optarg, 1, 65535); break; case SIZE: o.size = number(name, optarg, STAMP_BYTES, 1 << 27); break;
        case CONFIRM: o.confirm = number(name, optarg, 0, 1000000); break; case PREFETCH: o.prefetch = number(name, optarg, 0, 65535); break;
        case ACKEVERY: o.ackevery = number(name, optarg, 0, 65535); break; case KEYS: o.keys = number(name, optarg, 0, 1000000); break;
        case PID: o.pid = number(name, optarg, 1, 1 << 30); break;
        case PUB_CHANNEL: o.pub_channel = number(name, optarg, 1, 65535); break; case CONS_CHANNEL: o.cons_channel = number(name, optarg, 1, 65535); break;
        case PUB_MAX: o.pub_frame_max = number(name, optarg, 4096, READ_BYTES); break; case CONS_MAX: o.cons_frame_max = number(name, optarg, 4096, READ_BYTES); break;
        case SECS: o.secs = atof(optarg); break; case WARMUP: o.warmup = atof(optarg); break;
        case EXPIRATION: if (strcmp(optarg, "distinct")) number(name, optarg, 0, 1 << 30); o.expiration = optarg; break;
        case PRIORITIES: o.priorities = number(name, optarg, 1, 255); break; case GROUPS: o.groups = number(name, optarg, 1, 1000000); break;
        case DELAY: o.delay = number(name, optarg, 1, 1 << 30); break; case MESSAGE_ID: o.message_id = 1; break;
        case FILL: o.fill = 1; break; case DELETE: o.delete = 1; break; case COUNT: o.count = number(name, optarg, 1, 1 << 30); break;
        case DLX:
            if (strcmp(optarg, "reject") && strcmp(optarg, "drop")) die(64, "--dlx %s: reject or drop is wanted", optarg);
            o.dlx = *optarg == 'r' ? REJECTED : DROPPED; break;
        case ARG:
            if (o.args_n == ARGS || !strchr(optarg, '=')) die(64, "--arg %s: up to %d of NAME=VALUE are wanted", optarg, ARGS);
            if (!strncmp(optarg, "x-max-length=", 13)) o.max_length = number(name, optarg + 13, 0, 1 << 30);
            o.args[o.args_n++] = optarg; break;
        }
    }
    if (o.celery && (o.expiration || o.priorities || o.groups || o.delay || o.message_id)) die(64, "--celery has its own properties");
    if (optind < argc) die(64, "what is '%s'?", argv[optind]);
}

typedef struct { u64 t, published, confirmed, delivered; double own, broker; } snap;
static snap take(void) { return (snap){ now_ns(), published, confirmed, delivered, own_s(), o.pid ? cpu_s(o.pid) : 0 }; }

/* Who consumes, and what counts as delivered. Returns how many connections that takes. */
static int open_consumers(conn *in) {
    int n = 0;
    open_connection(&in[n], o.cons_channel, o.cons_frame_max); if (o.dlx) declare(&in[n], dead_queue(), 0);
    declare(&in[n], o.queue, 1);
    if (o.fill) return 0;
    if (o.dlx != DROPPED) { consume(&in[n], o.queue); in[n].rejects = o.dlx; in[n].counts = !o.dlx; n++; }
    if (o.dlx) { if (n) open_connection(&in[n], o.cons_channel, o.cons_frame_max); consume(&in[n], dead_queue()); in[n].counts = 1; n++; }
    return n;
}
static u64 missing(void) {                               /* what nobody consumes is where it belongs */
    u64 kept = o.fill ? published : o.dlx == DROPPED ? (u64)o.max_length : 0;
    return delivered + kept < published ? published - delivered - kept : 0;
}
static int all_came(void) { return missing() == 0 && (!o.confirm || confirmed >= published); }

int main(int argc, char **argv) {
    options(argc, argv);
    conn in[2], out; buf b = { 0 }; int n = open_consumers(in);
    open_connection(&out, o.pub_channel, o.pub_frame_max);
    if (o.confirm) { size_t at = method(&b, out.channel, 85, 10); p8(&b, 0); end_frame(&b, at); send_all(&out, &b); expect(&out, 85, 11); }
    make_batch(&out);
    fcntl(out.fd, F_SETFL, O_NONBLOCK); for (int i = 0; i < n; i++) fcntl(in[i].fd, F_SETFL, O_NONBLOCK);

    u64 start = now_ns(), opens = start + (u64)(o.warmup * 1e9), ends = opens + (u64)(o.secs * 1e9), grace = ends + GRACE_S * 1000000000ull;
    int publishing = 1; snap a = take(), z = a; measuring = o.count != 0;
    for (;;) {
        u64 now = now_ns();
        if (publishing && !measuring && now >= opens) { measuring = 1; a = take(); }
        if (publishing && !o.count && now >= ends) { z = take(); measuring = publishing = 0; }
        if (publishing && o.count && published == (u64)o.count && all_came()) { z = take(); measuring = publishing = 0; }
        if (!publishing && out.w_at >= out.w.n && (all_came() || now >= grace)) break;
        if (publishing) publish(&out); else flush(&out);
        int room = (!o.confirm || published - confirmed < (u64)o.confirm) && (!o.count || published < (u64)o.count);
        struct pollfd p[3] = { { out.fd, (short)(POLLIN | (out.w_at < out.w.n || (publishing && room) ? POLLOUT : 0)), 0 } };
        for (int i = 0; i < n; i++) p[i + 1] = (struct pollfd){ in[i].fd, (short)(POLLIN | (in[i].w.n ? POLLOUT : 0)), 0 };
        poll(p, (nfds_t)n + 1, 20);
        if (p[0].revents & (POLLIN | POLLHUP | POLLERR)) on_readable(&out);
        for (int i = 0; i < n; i++) {
            if (p[i + 1].revents & (POLLIN | POLLHUP | POLLERR)) on_readable(&in[i]);
            if (!publishing && in[i].rejects && in[i].unacked) settle(&in[i]);     /* the rest: it is missed elsewhere */
            flush(&in[i]);
        }
    }
    if (o.delete) {
        fcntl(out.fd, F_SETFL, 0); delete_queue(&out, o.queue); if (o.dlx) delete_queue(&out, dead_queue());
        close_connection(&out);
    }
    double s = (double)(z.t - a.t) / 1e9, d = (double)(z.delivered - a.delivered);
    u64 lost = missing();
    double each = (double)(o.fill ? z.published - a.published : z.delivered - a.delivered);
    printf("{\"secs\":%.3f,\"published\":%lu,\"delivered\":%lu,\"pub_rate\":%.0f,\"confirm_rate\":%.0f,\"deliver_rate\":%.0f,\"lat_p50_ms\":%.3f,\"lat_p99_ms\":%.3f,"
           "\"own_cpu_s\":%.2f,\"broker_cpu_s\":%.2f,\"broker_us_per_msg\":%.2f,\"message_bytes\":%lu,\"lost\":%lu}\n",
           s, (unsigned long)published, (unsigned long)delivered, (double)(z.published - a.published) / s, (double)(z.confirmed - a.confirmed) / s, d / s,
           quantile_ms(.5), quantile_ms(.99), z.own - a.own, z.broker - a.broker, each > 0 ? (z.broker - a.broker) * 1e6 / each : 0, (unsigned long)message_bytes, (unsigned long)lost);
    return lost ? 1 : 0;
}
