/* What the load generators share: time, latencies, buffers, what a process cost, numbers among the options.
 * Each defines PROGRAM, its name, before it includes this. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

static void die(int code, const char *format, ...) {
    va_list a; va_start(a, format); fputs(PROGRAM ": ", stderr); vfprintf(stderr, format, a); fputc('\n', stderr); va_end(a);
    exit(code);
}
static u64 now_ns(void) {
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}

/* ---- latency: 64 steps an octave, in microseconds ---- */
static u64 steps[64 * 40], steps_n;
static void latency(u64 us) {
    int at = (int)us;
    if (us >= 64) { int e = 57 - __builtin_clzll(us); at = (e + 1) * 64 + (int)((us >> e) & 63); }
    steps[at]++; steps_n++;
}
static double quantile_ms(double q) {
    u64 want = (u64)(q * (double)steps_n), seen = 0;
    for (int i = 0; i < 64 * 40; i++)
        if ((seen += steps[i]) > want) return (double)(i < 64 ? (u64)i : (64ull + (u64)(i & 63)) << (i / 64 - 1)) / 1e3;
    return 0;
}

/* ---- buffers ---- */
typedef struct { u8 *p; size_t n, cap; } buf;
static void put(buf *b, const void *p, size_t n) {
    if (b->n + n > b->cap) { b->cap = (b->n + n) * 2; b->p = realloc(b->p, b->cap); }
    memcpy(b->p + b->n, p, n); b->n += n;
}

/* ---- the broker's own cost ---- */
static double cpu_s(int pid) {
    char path[64], line[1024]; double total = 0; unsigned long user, system; int child;
    snprintf(path, sizeof path, "/proc/%d/stat", pid); FILE *f = fopen(path, "r"); if (!f) return 0;
    if (fgets(line, sizeof line, f) && sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
        total = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    fclose(f); snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    if ((f = fopen(path, "r"))) { while (fscanf(f, "%d", &child) == 1) total += cpu_s(child); fclose(f); }
    return total;
}
static double own_s(void) {
    struct rusage r; getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static int number(const char *name, const char *s, long low, long high) {
    char *end; long v = strtol(s, &end, 10);
    if (*end || end == s || v < low || v > high) die(64, "--%s %s: a number from %ld to %ld is wanted", name, s, low, high);
    return (int)v;
}
