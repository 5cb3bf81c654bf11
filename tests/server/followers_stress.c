/*
 * A stress test of followers.c, to be run under ThreadSanitizer.
 *
 *     cc -fsanitize=thread -I echo/server -o stress tests/server/followers_stress.c
 *     ./stress SECONDS SEED PAIRS
 *
 * PAIRS threads (64 at most) run one session after the other, each over a socket pair, on whose other side a client's
 * thread exchanges messages, checks what comes back, and ends in one of several ways. Meanwhile one thread
 * reads all counts, one switches payload on and off. Then a drain ends all. What happens when is left to
 * chance, and delays by chance stand where threads hand sessions and duty over. The last line says what
 * went by; each wrong echo, count or end is a line on stderr, and so is a session that nobody wakes.
 */
#include "followers.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static _Thread_local unsigned chance_state;

static unsigned chance(unsigned most) {
    chance_state = chance_state * 1664525u + 1013904223u;
    return (chance_state >> 8) % most;
}

static void delay(void) {
    if (chance(8) == 0) sched_yield();
    if (chance(64) == 0) usleep(chance(300));
}

static int delayed_lock(pthread_mutex_t *lock) { return delay(), pthread_mutex_lock(lock); }
static int delayed_unlock(pthread_mutex_t *lock) { return pthread_mutex_unlock(lock), delay(), 0; }
static int delayed_epoll_wait(int fd, struct epoll_event *ready, int count, int timeout) {
    int found = epoll_wait(fd, ready, count, timeout);
    return delay(), found;
}

#define pthread_mutex_lock delayed_lock
#define pthread_mutex_unlock delayed_unlock
#define epoll_wait delayed_epoll_wait
#include "followers.c"
#undef pthread_mutex_lock
#undef pthread_mutex_unlock
#undef epoll_wait

enum { MOST_PAIRS = 64, SETS = 2, BYTES = 4096, PATIENCE_MS = 10000 };
enum way { CLOSES, IS_CUT, FALLS_SILENT, OUTLASTS, MEETS_LIMIT, READS_LATE, WAYS };

struct pair {
    struct session session;
    int fds[2]; // the session's, the client's
    enum way way;
    unsigned seed;
    int64_t sent;
    _Atomic int runs; // odd while its session's counts belong together
};

static struct pair pairs[MOST_PAIRS];
static int pair_count;
static struct processors processors;
static int flags[2], wakeup;
static _Atomic bool is_over;
static _Atomic int64_t sessions, exchanges, failures, ends[FAILED + 1];

static void complain(const char *what, int64_t number) {
    fprintf(stderr, "stress: %s (%lld)\n", what, (long long)number);
    atomic_fetch_add(&failures, 1);
}

/* Exchange one message; false where the session is over. */
static bool exchange(struct pair *pair, size_t size) {
    char message[3 * BYTES], echo[3 * BYTES];
    for (size_t i = 0; i < size; i++) message[i] = (char)chance(256);
    if (send(pair->fds[1], message, size, MSG_NOSIGNAL) != (ssize_t)size) return false;
    pair->sent += (int64_t)size;
    for (size_t done = 0; done < size;) {
        struct pollfd input = {.fd = pair->fds[1], .events = POLLIN};
        if (poll(&input, 1, PATIENCE_MS) <= 0) return complain("no echo, nobody was woken", pair->way), false;
        ssize_t count = recv(pair->fds[1], echo + done, size - done, 0);
        if (count <= 0) return false;
        if (memcmp(echo + done, message + done, (size_t)count)) complain("an echo differs", (int64_t)size);
        done += (size_t)count;
    }
    atomic_fetch_add(&exchanges, 1);
    return true;
}

static void read_late(struct pair *pair) {
    static const char nothing[BYTES];
    char echo[BYTES];
    int64_t due = 0;
    for (ssize_t sent; (sent = send(pair->fds[1], nothing, BYTES, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0;) due += sent;
    pair->sent += due;
    usleep(chance(2000));
    for (ssize_t count; due > 0 && (count = recv(pair->fds[1], echo, BYTES, 0)) > 0;) due -= count;
}

static void *run_client(void *argument) {
    struct pair *pair = argument;
    chance_state = pair->seed;
    int count = chance(4) ? 17 + (int)chance(100) : (int)chance(4);
    bool goes_on = true;
    for (int i = 0; goes_on && (i < count || pair->way == OUTLASTS || pair->way == MEETS_LIMIT); i++) {
        goes_on = exchange(pair, 1 + chance(chance(20) ? 900 : 3 * BYTES));
        if (chance(50) == 0) usleep(chance(3000));
        if (chance(1000) == 0) usleep(120 * 1000); // it joins as a silent session
    }
    if (pair->way == READS_LATE && goes_on) read_late(pair);
    if (pair->way == IS_CUT) shutdown(pair->fds[0], SHUT_RDWR);
    else if (pair->way != FALLS_SILENT) shutdown(pair->fds[1], SHUT_WR);
    struct pollfd input = {.fd = pair->fds[1], .events = POLLIN};
    if (poll(&input, 1, PATIENCE_MS) <= 0) complain("no end, nobody was woken", pair->way);
    return NULL;
}

/* What Python does with a read that is to be shown. */
static bool show_one(struct session *session) {
    char data[BYTES];
    struct pollfd watched[] = {{.fd = session->fd, .events = POLLIN}, {.fd = wakeup, .events = POLLIN}};
    poll(watched, 2, 10);
    ssize_t count = read_now(session, data, room(session, BYTES));
    for (ssize_t done = 0, sent; done < count; done += sent) {
        sent = send_now(session, data + done, (size_t)(count - done));
        if (sent < 0) return false;
        if (!sent) usleep(100);
    }
    return count > 0 || count == GO_ON;
}

static bool is_expected(const struct pair *pair, enum end end) {
    if (end == DRAINED) return is_set(&pair->session, DRAINING);
    if (pair->way == IS_CUT) return end == FAILED || end == END_OF_STREAM;
    if (end == IDLE_TIMEOUT) return pair->way == FALLS_SILENT;
    if (end == SESSION_TIMEOUT) return pair->way == OUTLASTS;
    if (end == BYTE_LIMIT) return pair->way == MEETS_LIMIT;
    return end == END_OF_STREAM && pair->way != FALLS_SILENT;
}

static void run_session(struct pair *pair) {
    struct session *session = &pair->session;
    pthread_t client;
    int fds[2], mine = (int)chance(2); // either descriptor, so that the session is in either set
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds)) exit(2);
    pair->fds[0] = fds[mine], pair->fds[1] = fds[!mine];
    pair->way = (enum way)chance(WAYS);
    pair->seed = chance(1u << 24);
    pair->sent = 0;
    session->fd = pair->fds[0], session->wakeup = wakeup, session->flags = flags;
    session->buffer_size = BYTES, session->processors = &processors;
    session->idle_timeout = pair->way == FALLS_SILENT ? 1000000 * (int64_t)(200 + chance(400)) : NEVER;
    session->deadline = pair->way == OUTLASTS ? clock_now() + 1000000 * (int64_t)chance(400) : NEVER;
    session->write_timeout = NEVER;
    session->max_bytes = pair->way == MEETS_LIMIT ? 1 + chance(60000) : 0;
    session->exchanges = session->error = 0, session->is_solitary = false;
    store_count(&session->sent_bytes, 0);
    store_count(&session->received_bytes, 0);
    session_init(session);
    atomic_fetch_add(&pair->runs, 1);
    pthread_create(&client, NULL, run_client, pair);
    enum end end = session_run(session);
    while (end == SHOW) end = show_one(session) ? session_run(session) : END_OF_STREAM;
    shutdown(session->fd, SHUT_RDWR);
    pthread_join(client, NULL);
    if (!is_expected(pair, end)) complain("a wrong end", 100 * pair->way + end);
    if (end == END_OF_STREAM && pair->way != IS_CUT &&
        (load_count(&session->received_bytes) != pair->sent || load_count(&session->sent_bytes) != pair->sent))
        complain("wrong counts", load_count(&session->received_bytes) - pair->sent);
    atomic_fetch_add(&pair->runs, 1);
    atomic_fetch_add(&sessions, 1);
    atomic_fetch_add(&ends[end], 1);
    session_destroy(session);
    session->unsent = NULL;
    close(pair->fds[0]), close(pair->fds[1]);
}

static void *run_sessions(void *argument) {
    struct pair *pair = argument;
    chance_state ^= (unsigned)(pair - pairs) * 7919u + pair->seed;
    while (!atomic_load(&is_over)) run_session(pair);
    return NULL;
}

static void *read_counts(void *argument) {
    while (!atomic_load(&is_over)) {
        for (struct pair *pair = pairs; pair < pairs + pair_count; pair++) {
            int runs = atomic_load(&pair->runs);
            int64_t sent = load_count(&pair->session.sent_bytes);
            int64_t received = load_count(&pair->session.received_bytes);
            if (runs % 2 && runs == atomic_load(&pair->runs) && sent > received)
                complain("more sent than received", sent - received);
        }
        usleep(50);
    }
    return argument;
}

static void *switch_payload(void *argument) {
    chance_state = 5;
    while (!atomic_load(&is_over)) {
        usleep(chance(50000));
        __atomic_store_n(&flags[PAYLOAD], 1, __ATOMIC_RELEASE);
        usleep(chance(3000));
        __atomic_store_n(&flags[PAYLOAD], 0, __ATOMIC_RELEASE);
    }
    return argument;
}

int main(int count, char **argument) {
    if (count != 4) return 2;
    pair_count = atoi(argument[3]);
    pthread_t threads[MOST_PAIRS + 2];
    wakeup = eventfd(0, EFD_CLOEXEC);
    followers_init(SETS);
    for (int i = 0; i < pair_count; i++) {
        pairs[i].seed = (unsigned)atoi(argument[2]);
        pthread_create(&threads[i], NULL, run_sessions, &pairs[i]);
    }
    pthread_create(&threads[pair_count], NULL, read_counts, NULL);
    pthread_create(&threads[pair_count + 1], NULL, switch_payload, NULL);
    sleep((unsigned)atoi(argument[1]));
    atomic_store(&is_over, true);
    __atomic_store_n(&flags[DRAINING], 1, __ATOMIC_RELEASE);
    eventfd_write(wakeup, 1);
    for (int i = 0; i < pair_count + 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < SETS; i++)
        if (sets[i].size || sets[i].on_duty || sets[i].epoll >= 0) complain("a set has members left", i);
    printf("%lld sessions, %lld exchanges; ends:", (long long)sessions, (long long)exchanges);
    for (int i = 0; i <= FAILED; i++) printf(" %lld", (long long)ends[i]);
    printf("\n");
    return failures > 0;
}
