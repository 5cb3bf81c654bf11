// The echo loop of sessions that have a socket and a thread each; `followers.c` says how.
#ifndef FOLLOWERS_H
#define FOLLOWERS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// Why `session_run` returns. For FAILED, `error` is the connection's errno.
enum end { END_OF_STREAM, SHOW, DRAINED, BYTE_LIMIT, IDLE_TIMEOUT, SESSION_TIMEOUT, WRITE_TIMEOUT, FAILED };

// Indices into `flags`.
enum flag { PAYLOAD, DRAINING };

// The processors of the process: the one that it is pinned to, and all that it is allowed.
struct processors {
    bool is_pinned;
    cpu_set_t pinned, allowed;
};

struct session {
    // What it is made with. Times are nanoseconds; NEVER is no limit, as 0 is for `max_bytes`.
    int fd, wakeup; // the socket, and what becomes readable for good once a drain begins
    const int *flags;
    size_t buffer_size; // bytes read at once
    int64_t idle_timeout, write_timeout, deadline /* of CLOCK_MONOTONIC */, max_bytes;
    const struct processors *processors;
    // Counts, which any thread may read: first `sent_bytes`, then `received_bytes`.
    _Atomic int64_t received_bytes, sent_bytes;
    // Of the thread that echoes for it, its own or one on duty: a set's lock hands them over.
    int64_t last_active;
    char *unsent; // read for it, and not taken by the socket
    size_t unsent_size;
    int exchanges, error;
    bool roams, is_solitary;
    // As a member of a set, under the set's lock.
    bool is_served, is_back, is_waiting;
    pthread_cond_t wake;
    struct session *next, *previous; // among the sleepers
};

#define NEVER INT64_MAX

// Prepare a set for each of a number of processors. The first call decides; it comes before all else.
void followers_init(int processors);

// Prepare a session whose first group of fields is set; `session_destroy` frees what it holds.
void session_init(struct session *self);
void session_destroy(struct session *self);

// Echo until an end, or until there is something that only Python can do.
enum end session_run(struct session *self);

static inline int64_t load_count(_Atomic int64_t *count) {
    return atomic_load_explicit(count, memory_order_acquire);
}

static inline void store_count(_Atomic int64_t *count, int64_t value) {
    atomic_store_explicit(count, value, memory_order_release);
}

#endif
