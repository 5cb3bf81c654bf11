/*
 * The limit of an event loop: C, epoll, one thread for each processor that this process may use.
 *
 *     epoll PORT     (0 picks a free one; the port is the first line on stdout)
 *
 * Connections are dealt to the threads in turn. One whose peer takes no bytes is watched for room
 * instead of input until the rest of its echo is sent.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 32 * 1024, BACKLOG = 1024, BATCH = 64, MOST_THREADS = 64 };

struct session {
    int fd;
    char *rest; /* read, and not taken by the socket yet */
    size_t length;
};

static int loops[MOST_THREADS];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void end(struct session *session) {
    close(session->fd);
    free(session->rest);
    free(session);
}

static void watch(int loop, struct session *session, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = session};
    if (epoll_ctl(loop, EPOLL_CTL_MOD, session->fd, &event) < 0) fail("epoll_ctl");
}

/* Send what the socket takes, and return how much that is; -1 where the session is over. */
static ssize_t send_some(int fd, const char *data, size_t length) {
    size_t done = 0;
    while (done < length) {
        ssize_t n = send(fd, data + done, length - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) return -1;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static void send_rest(int loop, struct session *session) {
    ssize_t sent = send_some(session->fd, session->rest, session->length);
    if (sent < 0) {
        end(session);
        return;
    }
    session->length -= (size_t)sent;
    memmove(session->rest, session->rest + sent, session->length);
    if (session->length == 0) watch(loop, session, EPOLLIN);
}

static void echo(int loop, struct session *session, char *buffer) {
    ssize_t n = recv(session->fd, buffer, BUFFER, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    ssize_t sent = n > 0 ? send_some(session->fd, buffer, (size_t)n) : -1;
    if (sent < 0) {
        end(session);
    } else if (sent < n) {
        if (!session->rest && !(session->rest = malloc(BUFFER))) fail("malloc");
        session->length = (size_t)(n - sent);
        memcpy(session->rest, buffer + sent, session->length);
        watch(loop, session, EPOLLOUT);
    }
}

static _Noreturn void *run(void *argument) {
    int loop = *(int *)argument;
    struct epoll_event ready[BATCH];
    char *buffer = malloc(BUFFER);
    if (!buffer) fail("malloc");
    for (;;) {
        int count = epoll_wait(loop, ready, BATCH, -1);
        for (int i = 0; i < count; i++) {
            struct session *session = ready[i].data.ptr;
            if (session->length > 0) send_rest(loop, session);
            else echo(loop, session, buffer);
        }
    }
}

static int listen_on(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
    if (listen(fd, BACKLOG) < 0) fail("listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static int start_loops(void) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0) fail("sched_getaffinity");
    int count = CPU_COUNT(&allowed);
    if (count > MOST_THREADS) count = MOST_THREADS;
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        if ((loops[i] = epoll_create1(EPOLL_CLOEXEC)) < 0) fail("epoll_create1");
        if (pthread_create(&thread, NULL, run, &loops[i])) fail("pthread_create");
    }
    return count;
}

static void start_session(int fd, int loop) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct session *session = calloc(1, sizeof *session);
    if (!session) fail("calloc");
    session->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

int main(int argc, char **argv) {
    int listener = listen_on(argc > 1 ? (uint16_t)atoi(argv[1]) : 0), count = start_loops();
    for (int turn = 0;; turn = (turn + 1) % count) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0 && errno != EINTR && errno != ECONNABORTED) fail("accept");
        if (fd >= 0) start_session(fd, loops[turn]);
    }
}
