// Sessions with a thread each, of which those that last wait together: leader and followers.
//
// A thread for each client wakes a thread for each message. In this pattern (Schmidt, Stal, Rohnert,
// Buschmann: Pattern-Oriented Software Architecture, volume 2) it need not: the sessions that last are
// members of a set, one set for each processor. One member's thread is on duty: it waits for all of the
// set's sockets with epoll and echoes for those that have input. The others sleep, each until its own
// session's next time-out, or until there is something that only its own thread can do: an end, an
// error, a limit, payload to be shown, a peer that takes no bytes, a stream that fills whole buffers.
// Then the session leaves the set, and its thread goes on `alone`, which is the loop of a thread for each
// client, and also how every session begins. When the thread on duty leaves, the oldest sleeper takes over.
#include "followers.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    // A session reads into its thread's stack until a message fills this: most are short.
    SMALL_BUFFER = 1024,
    // A session joins a set after this many exchanges. Before that it costs less alone.
    LASTING = 4,
    // So does one that has been silent for this long, which gives its large buffer back.
    SILENCE = 100 * 1000 * 1000, // ns
    // A stream fills whole buffers, or waits for room. It joins after this many exchanges without that.
    CALM = 16,
    // How often, within the write time-out, a send that waits looks whether the peer takes bytes.
    LOOKS = 16,
    // A set of which nobody has taken an event for this long is looked after by the other sets' threads,
    // as its own may wait for a processor.
    UNSERVED = 300 * 1000, // ns
    MOST_SETS = 64,
    BATCH = 64, // events taken at once
    MANY = 8,   // events after which a thread on duty lets the processor's other threads run
};

// What `alone` and its steps return beside an `enum end`.
enum { GO_ON = -1, TOGETHER = -2 };

// An event is a descriptor's number, with this bit for a wakeup. It is no pointer, as a session may leave
// while its event waits to be looked at.
static const uint64_t WAKEUP = 1ull << 32;

struct set {
    _Atomic int64_t served_at; // when somebody last looked after it
    pthread_mutex_t lock;      // of all below, and of each member's last fields
    int epoll; // -1 while it has no members
    int size;
    char *buffer; // of the thread on duty
    size_t buffer_size;
    struct session *on_duty;
    struct session sleepers; // the head of a ring, the oldest first
    struct session **members; // by descriptor, divided by the number of sets
    int capacity;
};

static struct set sets[MOST_SETS];
static int number_of_sets;

// -- time ----------------------------------------------------------------------------------------

static int64_t clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t earlier(int64_t one, int64_t other) { return one < other ? one : other; }

static int64_t after(int64_t time, int64_t delay) { return delay > NEVER - time ? NEVER : time + delay; }

// For poll and epoll, rounded up: rounded down, the last fraction would be a busy loop.
static int milliseconds_until(int64_t time) {
    if (time == NEVER) return -1;
    int64_t left = (time - clock_now() + 999999) / 1000000;
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

// When its own time is up: its session's deadline, or silence for too long.
static int64_t time_limit(const struct session *self) {
    return earlier(self->deadline, after(self->last_active, self->idle_timeout));
}

// -- one read, one send --------------------------------------------------------------------------

static bool is_set(const struct session *self, enum flag flag) {
    return __atomic_load_n(&self->flags[flag], __ATOMIC_ACQUIRE); // Python's, set at any time
}

// Only one thread at a time counts; the order lets no reader see more sent than received.
static void add(_Atomic int64_t *count, size_t bytes) {
    int64_t value = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, value + (int64_t)bytes, memory_order_release);
}

// How much may be read: the buffer, or as much of it as the limit leaves.
static size_t room(struct session *self, size_t size) {
    if (size > self->buffer_size) size = self->buffer_size;
    if (!self->max_bytes) return size;
    int64_t left = self->max_bytes - load_count(&self->received_bytes);
    return left <= 0 ? 0 : (int64_t)size > left ? (size_t)left : size;
}

// Read what is there: a number of bytes, END_OF_STREAM, GO_ON where there is nothing, or -FAILED.
static ssize_t read_now(struct session *self, char *buffer, size_t size) {
    ssize_t count = recv(self->fd, buffer, size, MSG_DONTWAIT);
    if (count > 0) add(&self->received_bytes, (size_t)count);
    if (count >= 0) return count;
    if (errno == EAGAIN || errno == EINTR) return GO_ON;
    self->error = errno;
    return -FAILED;
}

// Send what the socket takes: a number of bytes, or -FAILED.
static ssize_t send_now(struct session *self, const char *data, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t sent = send(self->fd, data + done, size - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            add(&self->sent_bytes, (size_t)sent);
            done += (size_t)sent;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            self->error = errno;
            return -FAILED;
        }
    }
    return (ssize_t)done;
}

// -- processors ----------------------------------------------------------------------------------

// Short sessions run where the accept loop does: one processor takes three times as many of them.
// A thread that echoes for long may run on any, in the ordinary class: in SCHED_BATCH nobody is
// preempted for it.
static void roam(struct session *self) {
    if (!self->processors->is_pinned || self->roams) return;
    self->roams = true;
    sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0});
    sched_setaffinity(0, sizeof(cpu_set_t), &self->processors->allowed);
}

// Threads on duty have a processor each. Left to the scheduler, two share one for a second and more, and
// so do their peers on this machine.
static void stay_on(const struct session *self, int number) {
    cpu_set_t one;
    if (!self->processors->is_pinned) return;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &self->processors->allowed) && number-- == 0) CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
}

static void leave_processor(const struct session *self) {
    if (self->processors->is_pinned) sched_setaffinity(0, sizeof(cpu_set_t), &self->processors->allowed);
}

static void settle(struct session *self) {
    if (!self->roams) return;
    self->roams = false;
    sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
    sched_setaffinity(0, sizeof(cpu_set_t), &self->processors->pinned);
}

// -- alone ---------------------------------------------------------------------------------------

static int wait_for_input(struct session *self) {
    struct pollfd watched[] = {{.fd = self->fd, .events = POLLIN}, {.fd = self->wakeup, .events = POLLIN}};
    int64_t silent = self->is_solitary ? NEVER : after(clock_now(), SILENCE);
    for (;;) {
        int64_t limit = time_limit(self);
        if (clock_now() >= self->deadline) return SESSION_TIMEOUT;
        int ready = poll(watched, 2, milliseconds_until(earlier(limit, silent)));
        if (ready > 0) return GO_ON;
        if (ready < 0 && errno != EINTR) {
            self->error = errno;
            return FAILED;
        }
        if (ready == 0 && silent < limit) return TOGETHER;
        if (ready == 0 && limit < self->deadline) return IDLE_TIMEOUT;
    }
}

static int unsent_bytes(const struct session *self) {
    int count = 0;
    ioctl(self->fd, TIOCOUTQ, &count);
    return count;
}

// A slow reader makes room in large steps, as the system reports room when a third of its buffer is
// free. Only a peer that has taken nothing for the whole time-out is stuck.
static int wait_for_room(struct session *self) {
    struct pollfd watched = {.fd = self->fd, .events = POLLOUT};
    int64_t progress = clock_now(), now = progress;
    int waiting = unsent_bytes(self);
    for (;; now = clock_now()) {
        int left = unsent_bytes(self);
        if (left != waiting) progress = now, waiting = left;
        int64_t limit = after(progress, self->write_timeout);
        if (now >= self->deadline) return SESSION_TIMEOUT;
        if (now >= limit) return WRITE_TIMEOUT;
        int64_t look = after(now, self->write_timeout / LOOKS);
        int ready = poll(&watched, 1, milliseconds_until(earlier(earlier(look, limit), self->deadline)));
        if (ready > 0) return GO_ON;
        if (ready < 0 && errno != EINTR) {
            self->error = errno;
            return FAILED;
        }
    }
}

static int send_all(struct session *self, const char *data, size_t size, bool *has_waited) {
    for (;;) {
        ssize_t sent = send_now(self, data, size);
        if (sent < 0) return FAILED;
        self->last_active = clock_now();
        data += sent, size -= (size_t)sent;
        if (!size) return GO_ON;
        *has_waited = true;
        int end = wait_for_room(self);
        if (end != GO_ON) return end;
    }
}

static int send_unsent(struct session *self) {
    if (!self->unsent) return GO_ON;
    bool has_waited;
    int end = send_all(self, self->unsent, self->unsent_size, &has_waited);
    free(self->unsent);
    self->unsent = NULL;
    return end;
}

// Use the whole `buffer_size`; without memory for it the small buffer has to do. Anonymous memory
// costs the pages that are touched, and is the system's again at once.
static char *enlarge(struct session *self, char *small, size_t *size) {
    char *large = mmap(NULL, self->buffer_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (large == MAP_FAILED) return small;
    *size = self->buffer_size;
    return large;
}

// Echo as a thread for each client does, until an end, or until the session may join a set.
static int alone(struct session *self, bool is_ready) {
    char small[SMALL_BUFFER], *buffer = small;
    size_t size = sizeof small;
    int calm = 0, enough = LASTING; // exchanges since it was a stream, and how many let it join
    int end = send_unsent(self);
    while (end == GO_ON) {
        size_t bytes = room(self, size);
        if (!bytes) {
            end = BYTE_LIMIT;
            break;
        }
        if (!is_ready) end = wait_for_input(self);
        else if (clock_now() >= self->deadline) end = SESSION_TIMEOUT;
        if (end != GO_ON) break;
        if (is_set(self, PAYLOAD)) {
            end = SHOW;
            break;
        }
        bool has_waited = false;
        ssize_t count = read_now(self, buffer, bytes);
        if (count == END_OF_STREAM) end = END_OF_STREAM;
        else if (count == -FAILED) end = FAILED;
        else if (count > 0) end = send_all(self, buffer, (size_t)count, &has_waited);
        if (end == GO_ON && is_set(self, DRAINING)) end = DRAINED;
        if (end != GO_ON) break;
        bool is_full = count == (ssize_t)bytes;
        is_ready = false;
        if (count <= 0) continue;
        self->exchanges++;
        is_ready = is_full || self->exchanges == 1; // there is more, or the end behind the only message
        calm++;
        if (has_waited || (is_full && size >= self->buffer_size)) calm = 0, enough = CALM;
        if (calm >= enough && !self->is_solitary) end = TOGETHER;
        else if (self->exchanges >= LASTING) roam(self);
        if (is_full && buffer == small && size < self->buffer_size) buffer = enlarge(self, small, &size);
    }
    if (buffer != small) munmap(buffer, self->buffer_size);
    return end;
}

// -- together ------------------------------------------------------------------------------------

static struct set *set_of(const struct session *self) { return &sets[self->fd % number_of_sets]; }

static struct session **member_at(struct set *mine, int fd) { return &mine->members[fd / number_of_sets]; }

static void unlink_sleeper(struct session *self) {
    if (!self->next) return;
    self->next->previous = self->previous;
    self->previous->next = self->next;
    self->next = self->previous = NULL;
}

static void wake(struct session *self) {
    unlink_sleeper(self);
    pthread_cond_signal(&self->wake);
}

// The invariant that keeps every wake-up: while nobody is on duty, a member is awake. It is called by
// each thread that leaves, so one that was woken for duty, and leaves instead, wakes the next.
static void call_next(struct set *mine) {
    if (!mine->on_duty && mine->sleepers.next != &mine->sleepers) wake(mine->sleepers.next);
}

// Send a member back to its own thread.
static void send_back(struct set *mine, struct session *self) {
    epoll_ctl(mine->epoll, EPOLL_CTL_DEL, self->fd, NULL);
    self->is_back = true;
    wake(self);
}

static bool open_set(struct set *mine, size_t buffer_size) {
    if (mine->size) return true;
    mine->buffer_size = buffer_size;
    mine->buffer = malloc(buffer_size);
    mine->epoll = mine->buffer ? epoll_create1(EPOLL_CLOEXEC) : -1;
    if (mine->epoll < 0) free(mine->buffer);
    return mine->epoll >= 0;
}

static void close_set(struct set *mine) {
    if (mine->size) return;
    close(mine->epoll);
    free(mine->buffer);
    mine->epoll = -1;
}

static bool has_room_for(struct set *mine, int number) {
    if (number < mine->capacity) return true;
    int capacity = number + number / 2 + 16;
    struct session **members = realloc(mine->members, (size_t)capacity * sizeof *members);
    if (!members) return false;
    memset(members + mine->capacity, 0, (size_t)(capacity - mine->capacity) * sizeof *members);
    mine->members = members, mine->capacity = capacity;
    return true;
}

// Become a member; false where the system has no descriptor or no memory for that.
static bool join(struct set *mine, struct session *self) {
    struct epoll_event input = {.events = EPOLLIN, .data.u64 = (uint64_t)self->fd};
    struct epoll_event drain = {.events = EPOLLIN, .data.u64 = WAKEUP | (uint64_t)self->wakeup};
    if (!has_room_for(mine, self->fd / number_of_sets) || !open_set(mine, self->buffer_size)) return false;
    struct session *stale = *member_at(mine, self->fd);
    if (stale) { // somebody has closed its descriptor while it was here
        stale->error = EBADF;
        stale->is_back = true;
        wake(stale);
    }
    if ((epoll_ctl(mine->epoll, EPOLL_CTL_ADD, self->wakeup, &drain) && errno != EEXIST) ||
        epoll_ctl(mine->epoll, EPOLL_CTL_ADD, self->fd, &input)) {
        close_set(mine);
        return false;
    }
    *member_at(mine, self->fd) = self;
    self->is_back = false;
    mine->size++;
    return true;
}

static void leave(struct set *mine, struct session *self) {
    if (!self->is_back) epoll_ctl(mine->epoll, EPOLL_CTL_DEL, self->fd, NULL);
    if (*member_at(mine, self->fd) == self) *member_at(mine, self->fd) = NULL;
    mine->size--;
    close_set(mine);
    call_next(mine);
}

// Echo once for a member; false where that is for its own thread to do. It never waits.
static bool echo(struct session *one, char *buffer, size_t size) {
    size = room(one, size);
    if (!size || is_set(one, PAYLOAD) || is_set(one, DRAINING)) return false;
    ssize_t count = read_now(one, buffer, size);
    if (count == GO_ON) return true;
    if (count <= 0) return false;
    ssize_t sent = send_now(one, buffer, (size_t)count);
    if (sent == count) return (size_t)count < size; // a stream needs a thread of its own
    if (sent == -FAILED) return false;
    one->unsent_size = (size_t)(count - sent);
    one->unsent = malloc(one->unsent_size);
    if (one->unsent) memcpy(one->unsent, buffer + sent, one->unsent_size);
    else one->error = ENOMEM; // an echo with a gap would be worse than an end
    return false;
}

// End the wait of the thread on duty, for its own session. A wakeup is a socket, and always writable.
static void nudge(struct set *mine, int wakeup) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u64 = WAKEUP | (uint64_t)wakeup};
    epoll_ctl(mine->epoll, EPOLL_CTL_MOD, wakeup, &event);
}

// Send back the members that are to drain. After a nudge there are none.
static void heed_wakeup(struct set *mine, int wakeup, bool is_drain) {
    struct epoll_event drain = {.events = EPOLLIN, .data.u64 = WAKEUP | (uint64_t)wakeup};
    epoll_ctl(mine->epoll, is_drain ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, wakeup, &drain); // else it stays ready
    for (int i = 0; i < mine->capacity; i++) {
        struct session *one = mine->members[i];
        if (one && !one->is_back && is_set(one, DRAINING)) send_back(mine, one);
    }
}

// Do what an event asks for, on duty or as a guest from another set; false where there is nothing to do.
// Holds the lock, but not while it echoes.
static bool serve(struct set *mine, const struct epoll_event *event, char *buffer, size_t size, bool is_guest) {
    if (event->data.u64 & WAKEUP) {
        if (!is_guest) heed_wakeup(mine, (int)(event->data.u64 - WAKEUP), event->events & EPOLLIN);
        return true;
    }
    struct session *one = *member_at(mine, (int)event->data.u64);
    // It left after the event was taken, or is about to, or another thread is at it.
    if (!one || one->is_back || one->is_served) return false;
    one->is_served = true;
    pthread_mutex_unlock(&mine->lock);
    bool stays = echo(one, buffer, size);
    int64_t now = clock_now();
    atomic_store_explicit(&mine->served_at, now, memory_order_relaxed);
    pthread_mutex_lock(&mine->lock);
    one->is_served = false;
    one->last_active = now;
    if (stays || one->is_back) {
        if (one->is_waiting) wake(one);
        return true;
    }
    send_back(mine, one);
    if (is_guest && one == mine->on_duty) nudge(mine, one->wakeup);
    return true;
}

// Echo for the sets whose own threads don't come to it, without waiting for anything.
static void look_after_others(const struct set *mine, char *buffer, size_t size) {
    struct epoll_event ready[BATCH];
    int64_t now = clock_now();
    for (struct set *other = sets; other < sets + number_of_sets; other++) {
        int64_t served_at = atomic_load_explicit(&other->served_at, memory_order_relaxed);
        if (other == mine || now - served_at < UNSERVED || pthread_mutex_trylock(&other->lock)) continue;
        atomic_store_explicit(&other->served_at, now, memory_order_relaxed);
        int count = other->size ? epoll_wait(other->epoll, ready, BATCH, 0) : 0;
        for (int i = 0; i < count; i++) serve(other, &ready[i], buffer, size, true);
        pthread_mutex_unlock(&other->lock);
    }
}

// Echo for all members until there is something to do for its own session. Holds the lock, but not
// while it waits or echoes.
static void take_duty(struct set *mine, struct session *self) {
    struct epoll_event ready[BATCH];
    int count = 0, done = 0;
    mine->on_duty = self;
    roam(self);
    stay_on(self, (int)(mine - sets));
    while (!self->is_back) {
        int64_t limit = time_limit(self);
        if (clock_now() >= limit) break;
        pthread_mutex_unlock(&mine->lock);
        // Otherwise the scheduler takes the processor away in the middle of a batch, for a whole slice.
        // Where nothing was to be done, a guest is at it, and may wait for this processor.
        if (count >= MANY || (count && !done)) sched_yield();
        look_after_others(mine, mine->buffer, mine->buffer_size);
        count = epoll_wait(mine->epoll, ready, BATCH, milliseconds_until(limit));
        pthread_mutex_lock(&mine->lock);
        done = 0;
        for (int i = 0; i < count; i++) done += serve(mine, &ready[i], mine->buffer, mine->buffer_size, false);
    }
    mine->on_duty = NULL;
    leave_processor(self);
}

// Sleep until it is woken, or its time is up.
static void sleep_in(struct set *mine, struct session *self, int64_t limit) {
    self->next = &mine->sleepers, self->previous = mine->sleepers.previous;
    self->next->previous = self->previous->next = self;
    struct timespec until = {.tv_sec = limit / 1000000000, .tv_nsec = limit % 1000000000};
    if (limit == NEVER) pthread_cond_wait(&self->wake, &mine->lock);
    else pthread_cond_timedwait(&self->wake, &mine->lock, &until);
    unlink_sleeper(self);
}

// Wait beside the others, and echo for all of them while on duty, until there is something that only
// this thread can do for its session: `alone` finds out what.
static void together(struct session *self) {
    struct set *mine = set_of(self);
    pthread_mutex_lock(&mine->lock);
    if (join(mine, self)) {
        // A drain that began before it joined has had its event already.
        while (!self->is_back && !is_set(self, DRAINING) && clock_now() < time_limit(self)) {
            if (mine->on_duty) sleep_in(mine, self, time_limit(self));
            else take_duty(mine, self);
        }
        while (self->is_served) {
            self->is_waiting = true;
            call_next(mine); // it may have been on duty
            pthread_cond_wait(&self->wake, &mine->lock);
        }
        self->is_waiting = false;
        leave(mine, self);
    } else {
        self->is_solitary = true;
    }
    pthread_mutex_unlock(&mine->lock);
}

// -- what Python calls ---------------------------------------------------------------------------

enum end session_run(struct session *self) {
    self->last_active = clock_now();
    int end = alone(self, self->exchanges == 0); // what comes first is often there with the connection
    while (end == TOGETHER) {
        together(self);
        end = self->error ? FAILED : alone(self, true);
    }
    settle(self);
    return end;
}

void session_init(struct session *self) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void session_destroy(struct session *self) {
    pthread_cond_destroy(&self->wake);
    free(self->unsent);
}

static void init_set(struct set *mine) {
    pthread_mutex_init(&mine->lock, NULL);
    mine->epoll = -1, mine->size = 0, mine->on_duty = NULL;
    mine->sleepers.next = mine->sleepers.previous = &mine->sleepers;
}

// The threads of a forked process's sessions are its parent's: it begins with empty sets.
static void forget_members(void) {
    for (int i = 0; i < MOST_SETS; i++) {
        if (sets[i].size) close(sets[i].epoll), free(sets[i].buffer);
        for (int j = 0; j < sets[i].capacity; j++) sets[i].members[j] = NULL;
        init_set(&sets[i]);
    }
}

void followers_init(int processors) {
    static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER; // without the GIL, two may be the first
    pthread_mutex_lock(&first);
    if (!number_of_sets) {
        for (int i = 0; i < MOST_SETS; i++) init_set(&sets[i]);
        pthread_atfork(NULL, NULL, forget_members);
        number_of_sets = processors < MOST_SETS ? processors : MOST_SETS;
    }
    pthread_mutex_unlock(&first);
}
