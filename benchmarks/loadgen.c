/*
 * loadgen: load for a TCP echo server, with every byte that comes back verified.
 *
 *     cc -O3 -march=native -pthread -o loadgen loadgen.c
 *     loadgen rtt --port 9000 --sessions 100 --threads 2 --size 512 --duration 3 --warmup 1
 *
 * Modes:
 *     rtt    one message of --size bytes at a time on each of --sessions sessions
 *     churn  --sessions at once: connect, one exchange, close, and again
 *     bulk   --sessions streams that send and read as fast as they can
 *     hold   open --sessions, print "ready", keep them idle until stdin closes
 *     burst  open --sessions, one message on all at once, then close all at once
 *
 * The result is one JSON object on stdout; an error is one line on stderr and exit code 1.
 * Nothing runs for longer than --limit seconds.
 *
 * How it works. Each session has a stream: an endless sequence of bytes that follows from the
 * session's number and the position in it, so that a byte swapped, replayed, lost or taken from
 * another session shows. An exchange moves the session's goal: it sends up to there, and is
 * finished when everything up to there has come back. A worker thread owns its sessions and one
 * epoll, and works in stages; a stage is over when no exchange is unfinished. All threads pass
 * from stage to stage together, through a barrier at which the main thread takes the time.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CHUNK = 256 * 1024, /* bytes in one send or receive at most; with 64 KiB it is the bulk limit */
    BATCH = 256,       /* events taken from epoll at once */
    OPENING = 128,     /* sessions a worker opens at once: all of them fit a backlog of 1,024 */
    MAX_THREADS = 64,
};
#define SECOND 1000000000ull
#define ENDLESS UINT64_MAX

/* ---------------------------------------------------------------- time and errors */

static uint64_t read_clock(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) < 0) return 0; /* a watched process that is gone */
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t now(void) { return read_clock(CLOCK_MONOTONIC); }

static void sleep_until(uint64_t moment) {
    struct timespec t = {.tv_sec = moment / SECOND, .tv_nsec = moment % SECOND};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) continue;
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
    static atomic_flag dying = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&dying)) pause(); /* another thread has the last word */
    va_list arguments;
    va_start(arguments, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    _exit(1);
}

static void on_alarm(int number) {
    static const char line[] = "loadgen: not finished within --limit seconds\n";
    (void)number;
    if (write(2, line, sizeof line - 1)) _exit(1);
    _exit(1);
}

/* ---------------------------------------------------------------- histogram */

/* Log-linear: values below 256 are exact, above them 128 cells to each power of two, so that a
   quantile is at most 0.8 % too high. */
enum { EXACT_BITS = 8, STEPS = 1 << (EXACT_BITS - 1), CELLS = (64 - EXACT_BITS + 2) * STEPS };

struct histogram {
    uint64_t count, max, cells[CELLS];
};

static void record(struct histogram *h, uint64_t value) {
    int bits = value ? 64 - __builtin_clzll(value) : 0;
    int shift = bits > EXACT_BITS ? bits - EXACT_BITS : 0;
    h->cells[shift * STEPS + (value >> shift)]++;
    h->count++;
    if (value > h->max) h->max = value;
}

static void add_histogram(struct histogram *sum, const struct histogram *h) {
    for (int i = 0; i < CELLS; i++) sum->cells[i] += h->cells[i];
    sum->count += h->count;
    if (h->max > sum->max) sum->max = h->max;
}

static uint64_t highest_in_cell(int cell) {
    int shift = cell < 2 * STEPS ? 0 : cell / STEPS - 1;
    return (((uint64_t)(cell - shift * STEPS) + 1) << shift) - 1;
}

static uint64_t quantile(const struct histogram *h, double q) {
    uint64_t wanted = (uint64_t)(q * (double)h->count), seen = 0;
    for (int i = 0; i < CELLS; i++) {
        seen += h->cells[i];
        if (seen > wanted) return highest_in_cell(i) < h->max ? highest_in_cell(i) : h->max;
    }
    return h->max;
}

/* ---------------------------------------------------------------- what is asked for */

struct mode;

static struct {
    const struct mode *mode;
    struct sockaddr_in server;
    double port, sessions, threads, size, duration, warmup, limit, server_pid, sources, silent;
} ask = {.sessions = 1, .threads = 1, .size = 512, .duration = 1, .limit = 60, .sources = 64};

/* ---------------------------------------------------------------- workers and sessions */

struct session {
    int fd;
    bool wants_room;         /* epoll watches for room to send, too */
    bool closing;            /* all was echoed and we have shut down our side */
    uint64_t number;         /* unique in this run */
    uint64_t seed;           /* of its stream */
    uint64_t sent, received; /* positions in its stream */
    uint64_t goal;           /* where the exchange ends; ENDLESS until time is up */
    uint64_t since;          /* when the exchange began */
};

struct worker {
    pthread_t thread;
    int index, epoll, size; /* size: how many sessions are this worker's */
    int opened;             /* of them */
    int unfinished;         /* exchanges (or ends) that this stage still waits for */
    uint64_t numbered;      /* sessions that got a number */
    void (*finished)(struct worker *, struct session *, uint64_t moment);
    struct session *sessions;
    uint64_t bytes; /* that came back within the window */
    struct histogram times;
    uint64_t out[CHUNK / 8 + 2];
    unsigned char in[CHUNK];
};

static pthread_barrier_t barrier;
static uint64_t window_start, window_end; /* what is measured; written before a barrier */

static uint64_t pass_barrier(void) {
    pthread_barrier_wait(&barrier);
    return now();
}

static bool in_window(uint64_t moment) { return moment >= window_start && moment < window_end; }

/* A stretch of the session's stream, in the worker's buffer until the next call. */
static const void *stretch(struct worker *w, const struct session *s, uint64_t at, size_t length) {
    uint64_t first = at / 8, count = (at % 8 + length + 7) / 8;
    for (uint64_t i = 0; i < count; i++) w->out[i] = s->seed + (first + i) * 0x9E3779B97F4A7C15ull;
    return (const unsigned char *)w->out + at % 8;
}

static uint64_t seed_of(uint64_t number) { /* splitmix64's finisher */
    uint64_t z = number + 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

static void watch(struct worker *w, struct session *s, int operation) {
    struct epoll_event event = {.events = EPOLLIN | (s->wants_room ? EPOLLOUT : 0)};
    event.data.ptr = s;
    if (epoll_ctl(w->epoll, operation, s->fd, &event) < 0) die("epoll_ctl: %m");
}

static void finish_endless(struct worker *w, struct session *s) {
    uint64_t moment = now();
    if (moment < window_end) return;
    s->goal = s->sent;
    if (s->received == s->goal) w->finished(w, s, moment);
}

static void push(struct worker *w, struct session *s) {
    if (s->goal == ENDLESS) finish_endless(w, s);
    uint64_t left = s->goal - s->sent;
    size_t length = left < CHUNK ? left : CHUNK;
    ssize_t n = length ? send(s->fd, stretch(w, s, s->sent, length), length, MSG_NOSIGNAL) : 0;
    if (n < 0 && errno != EAGAIN) die("session %lu: can't send: %m", s->number);
    if (n > 0) s->sent += (uint64_t)n;
    bool wants_room = s->sent < s->goal;
    if (wants_room == s->wants_room) return;
    s->wants_room = wants_room;
    watch(w, s, EPOLL_CTL_MOD);
}

static void begin(struct worker *w, struct session *s, uint64_t bytes, uint64_t moment) {
    s->goal = bytes == ENDLESS ? ENDLESS : s->sent + bytes;
    s->since = moment;
    push(w, s);
}

static void verify(struct worker *w, struct session *s, size_t length) {
    if (s->received + length > s->sent)
        die("session %lu: more came back than the %lu bytes sent", s->number, s->sent);
    const unsigned char *expected = stretch(w, s, s->received, length);
    if (memcmp(w->in, expected, length) == 0) return;
    size_t i = 0;
    while (w->in[i] == expected[i]) i++;
    die("session %lu: byte %lu of its stream came back changed", s->number, s->received + i);
}

static void at_end_of_stream(struct worker *w, struct session *s) {
    if (!s->closing)
        die("session %lu: closed by the server, %lu of %lu bytes were back", s->number, s->received,
            s->sent);
    w->finished(w, s, now());
}

static void pull(struct worker *w, struct session *s) {
    ssize_t n = recv(s->fd, w->in, CHUNK, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) die("session %lu: can't receive: %m", s->number);
    if (n == 0) {
        at_end_of_stream(w, s);
        return;
    }
    verify(w, s, (size_t)n);
    s->received += (uint64_t)n;
    uint64_t moment = now();
    if (in_window(moment)) w->bytes += (uint64_t)n;
    if (s->received == s->goal) w->finished(w, s, moment);
}

static void work_until_finished(struct worker *w) {
    struct epoll_event events[BATCH];
    while (w->unfinished > 0) {
        int count = epoll_wait(w->epoll, events, BATCH, -1); /* on_alarm bounds it */
        if (count < 0 && errno != EINTR) die("epoll_wait: %m");
        for (int i = 0; i < count; i++) {
            if (events[i].events & EPOLLOUT) push(w, events[i].data.ptr);
            if (events[i].events & ~EPOLLOUT) pull(w, events[i].data.ptr);
        }
    }
}

/* ---------------------------------------------------------------- opening and closing */

/* One source address has 28,232 ports, and each closed session holds one for a minute. So the
   sources spread over 127.0.0.0/8; the port is chosen at the connect, by the whole four-tuple. */
static void bind_source(int fd, uint64_t number) {
    static const int on = 1;
    uint32_t host = (uint32_t)(number % (uint64_t)ask.sources);
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(127u << 24 | 10u << 16 | (host / 250) << 8 | (host % 250 + 1));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&source, sizeof source) < 0) die("bind: %m");
}

static void await_connected(const struct session *s) {
    struct pollfd wait = {.fd = s->fd, .events = POLLOUT};
    int error = 0;
    socklen_t length = sizeof error;
    if (poll(&wait, 1, -1) < 0) die("poll: %m");
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) die("session %lu: can't connect: %s", s->number, strerror(error));
}

static void open_session(struct worker *w, struct session *s) {
    static const int on = 1;
    uint64_t number = (uint64_t)w->index + (uint64_t)ask.threads * w->numbered++;
    *s = (struct session){.number = number, .seed = seed_of(number)};
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0) die("session %lu: no socket: %m", number);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (ntohl(ask.server.sin_addr.s_addr) >> 24 == 127) bind_source(s->fd, number);
    if (connect(s->fd, (struct sockaddr *)&ask.server, sizeof ask.server) < 0 && errno != EINPROGRESS)
        die("session %lu: can't connect: %m", number);
    watch(w, s, EPOLL_CTL_ADD);
}

/* The first exchange waits for the connection, as a send in progress of it gives EAGAIN. */
static void open_next(struct worker *w) {
    struct session *s = &w->sessions[w->opened++];
    uint64_t moment = now();
    open_session(w, s);
    if (ask.silent) await_connected(s);
    else begin(w, s, (uint64_t)ask.size, moment);
}

static void opened(struct worker *w, struct session *s, uint64_t moment) {
    (void)s, (void)moment;
    if (w->opened < w->size) open_next(w);
    else w->unfinished--;
}

static void open_all(struct worker *w) {
    int at_once = w->size < OPENING ? w->size : OPENING;
    w->finished = opened;
    w->unfinished = ask.silent ? 0 : at_once;
    while (w->opened < (ask.silent ? w->size : at_once)) open_next(w);
    work_until_finished(w);
}

static void closed(struct worker *w, struct session *s, uint64_t moment) {
    (void)moment;
    close(s->fd);
    w->unfinished--;
}

/* Closing in two steps shows the moment in which the server has closed its side. */
static void close_all(struct worker *w) {
    w->finished = closed;
    w->unfinished = w->opened;
    for (int i = 0; i < w->opened; i++) {
        w->sessions[i].closing = true;
        if (shutdown(w->sessions[i].fd, SHUT_WR) < 0) die("shutdown: %m");
    }
    work_until_finished(w);
}

/* ---------------------------------------------------------------- modes */

static void answered(struct worker *w, struct session *s, uint64_t moment) {
    if (in_window(moment)) record(&w->times, moment - s->since);
    if (moment < window_end) begin(w, s, (uint64_t)ask.size, moment);
    else w->unfinished--;
}

static void answered_once(struct worker *w, struct session *s, uint64_t moment) {
    record(&w->times, moment - s->since);
    w->unfinished--;
}

static void stream_ended(struct worker *w, struct session *s, uint64_t moment) {
    (void)s, (void)moment;
    w->unfinished--;
}

static void connect_and_ask(struct worker *w, struct session *s) {
    uint64_t moment = now();
    open_session(w, s);
    begin(w, s, (uint64_t)ask.size, moment);
}

static void answered_and_closed(struct worker *w, struct session *s, uint64_t moment) {
    if (in_window(moment)) record(&w->times, moment - s->since);
    close(s->fd);
    if (moment < window_end) connect_and_ask(w, s);
    else w->unfinished--;
}

static void begin_on_all(struct worker *w, uint64_t bytes) {
    w->unfinished = w->size;
    for (int i = 0; i < w->size; i++) begin(w, &w->sessions[i], bytes, now());
    work_until_finished(w);
}

static void run_rtt(struct worker *w) {
    w->finished = answered;
    begin_on_all(w, (uint64_t)ask.size);
}

static void run_bulk(struct worker *w) {
    w->finished = stream_ended;
    begin_on_all(w, ENDLESS);
}

static void run_burst(struct worker *w) {
    w->finished = answered_once;
    begin_on_all(w, (uint64_t)ask.size);
}

static void run_churn(struct worker *w) {
    w->finished = answered_and_closed;
    w->unfinished = w->size;
    for (int i = 0; i < w->size; i++) connect_and_ask(w, &w->sessions[i]);
    work_until_finished(w);
}

static void run_hold(struct worker *w) { (void)w; }

static const struct mode {
    const char *name;
    void (*run)(struct worker *);
    bool opens_first; /* all sessions, before the clock starts */
    bool timed;       /* for --duration after --warmup; the others take as long as they take */
} modes[] = {
    {"rtt", run_rtt, true, true},    {"churn", run_churn, false, true},
    {"bulk", run_bulk, true, true},  {"hold", run_hold, true, false},
    {"burst", run_burst, true, false},
};

static void *work(void *argument) {
    struct worker *w = argument;
    if (ask.mode->opens_first) open_all(w);
    pass_barrier(); /* opened */
    pass_barrier(); /* the window is set */
    ask.mode->run(w);
    pass_barrier(); /* finished */
    close_all(w);
    pass_barrier(); /* closed */
    return NULL;
}

/* ---------------------------------------------------------------- the main thread */

struct usage {
    uint64_t moment, generator, server;
};

static struct usage usage_now(void) {
    clockid_t server;
    bool known = ask.server_pid && clock_getcpuclockid((pid_t)ask.server_pid, &server) == 0;
    return (struct usage){now(), read_clock(CLOCK_PROCESS_CPUTIME_ID),
                          known ? read_clock(server) : 0};
}

static double seconds(uint64_t from, uint64_t to) { return (double)(to - from) / (double)SECOND; }

static struct worker *start_workers(void) {
    struct worker *workers = calloc((size_t)ask.threads, sizeof *workers);
    if (!workers) die("no memory");
    for (int i = 0; i < (int)ask.threads; i++) {
        struct worker *w = &workers[i];
        w->index = i;
        w->size = ((int)ask.sessions + (int)ask.threads - 1 - i) / (int)ask.threads;
        w->sessions = calloc((size_t)w->size + 1, sizeof *w->sessions);
        w->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (!w->sessions || w->epoll < 0) die("no memory or descriptor: %m");
        if (pthread_create(&w->thread, NULL, work, w)) die("can't start a thread: %m");
    }
    return workers;
}

static void await_end_of_stdin(void) {
    char ignored[256];
    puts("ready");
    fflush(stdout);
    while (read(0, ignored, sizeof ignored) > 0) continue;
}

/* Returns what was used from the start of the window to its end. */
static struct usage measure(uint64_t *finished_at) {
    struct usage start, end;
    if (ask.mode->timed) sleep_until(window_start);
    start = usage_now();
    if (ask.mode->run == run_hold) await_end_of_stdin();
    if (ask.mode->timed) {
        sleep_until(window_end);
        end = usage_now();
        *finished_at = pass_barrier();
    } else {
        *finished_at = pass_barrier();
        end = usage_now();
    }
    return (struct usage){end.moment - start.moment, end.generator - start.generator,
                          end.server - start.server};
}

static void print_times(const struct histogram *h, double lasted) {
    static const struct {
        const char *name;
        double q;
    } asked[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}};
    printf(", \"count\": %lu, \"per_s\": %.1f", h->count, (double)h->count / lasted);
    for (int i = 0; i < 3; i++)
        printf(", \"%s_us\": %.1f", asked[i].name, (double)quantile(h, asked[i].q) / 1e3);
    printf(", \"max_us\": %.1f", (double)h->max / 1e3);
}

static void print_result(struct worker *workers, struct usage used, double open_s, double run_s,
                         double close_s) {
    static struct histogram times;
    uint64_t bytes = 0;
    for (int i = 0; i < (int)ask.threads; i++) {
        add_histogram(&times, &workers[i].times);
        bytes += workers[i].bytes;
    }
    double lasted = (double)used.moment / (double)SECOND;
    printf("{\"mode\": \"%s\", \"sessions\": %.0f, \"threads\": %.0f, \"size\": %.0f",
           ask.mode->name, ask.sessions, ask.threads, ask.size);
    printf(", \"seconds\": %.6f, \"mb_per_s\": %.3f", lasted, (double)bytes / 1e6 / lasted);
    print_times(&times, lasted);
    printf(", \"open_s\": %.6f, \"run_s\": %.6f, \"close_s\": %.6f", open_s, run_s, close_s);
    printf(", \"generator_cores\": %.4f, \"server_cores\": %.4f}\n",
           (double)used.generator / (double)used.moment, (double)used.server / (double)used.moment);
}

static void run(void) {
    uint64_t began_at = now(), finished_at;
    struct worker *workers = start_workers();
    uint64_t opened_at = pass_barrier();
    window_start = opened_at + (ask.mode->timed ? (uint64_t)(ask.warmup * SECOND) : 0);
    window_end = ask.mode->timed ? window_start + (uint64_t)(ask.duration * SECOND) : ENDLESS;
    uint64_t started_at = pass_barrier();
    struct usage used = measure(&finished_at);
    uint64_t closed_at = pass_barrier();
    for (int i = 0; i < (int)ask.threads; i++) pthread_join(workers[i].thread, NULL);
    print_result(workers, used, seconds(began_at, opened_at), seconds(started_at, finished_at),
                 seconds(finished_at, closed_at));
}

static void read_option(const char *name, const char *value) {
    const struct {
        const char *name;
        double *value, least, most;
    } numbers[] = {
        {"--port", &ask.port, 1, 65535},        {"--sessions", &ask.sessions, 1, 1e6},
        {"--threads", &ask.threads, 1, MAX_THREADS}, {"--size", &ask.size, 1, 1e9},
        {"--duration", &ask.duration, 0.01, 3600},   {"--warmup", &ask.warmup, 0, 3600},
        {"--limit", &ask.limit, 1, 86400},      {"--server-pid", &ask.server_pid, 1, 1e9},
        {"--sources", &ask.sources, 1, 60000},  {"--silent", &ask.silent, 0, 1},
    };
    if (!strcmp(name, "--host") && inet_pton(AF_INET, value, &ask.server.sin_addr) == 1) return;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name)) continue;
        char *end;
        *numbers[i].value = strtod(value, &end);
        if (*end || *numbers[i].value < numbers[i].least || *numbers[i].value > numbers[i].most) break;
        return;
    }
    die("what is %s %s?", name, value);
}

static void read_command_line(int argc, char **argv) {
    ask.server.sin_family = AF_INET;
    ask.server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (argc > 1 && !strcmp(argv[1], modes[i].name)) ask.mode = &modes[i];
    if (!ask.mode || argc % 2) die("usage: loadgen rtt|churn|bulk|hold|burst --port N [--OPTION N]...");
    for (int i = 2; i < argc; i += 2) read_option(argv[i], argv[i + 1]);
    if (!ask.port) die("say the --port");
    ask.server.sin_port = htons((uint16_t)ask.port);
    if (ask.threads > ask.sessions) ask.threads = ask.sessions;
}

int main(int argc, char **argv) {
    struct rlimit files;
    read_command_line(argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGALRM, on_alarm);
    alarm((unsigned)ask.limit);
    pthread_barrier_init(&barrier, NULL, (unsigned)ask.threads + 1);
    run();
    return 0;
}
