# cython: language_level=3, boundscheck=False, wraparound=False
"""The echo loop of one session, compiled: `EchoHandler.handle` without the interpreter's lock.

Same bounds, same counts, same ends. Linux only: elsewhere it doesn't build, and isn't missed.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.math cimport INFINITY
from libc.string cimport strerror
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long count, int milliseconds)
    short POLLIN, POLLOUT

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *room, size_t size, int flags)
    ssize_t send(int fd, const void *data, size_t size, int flags)
    int setsockopt(int fd, int level, int name, const void *value, unsigned int size)
    int MSG_DONTWAIT, MSG_NOSIGNAL, SOL_SOCKET, SO_RCVTIMEO

cdef extern from "<sys/time.h>" nogil:
    struct timeval:
        long tv_sec
        long tv_usec

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)
    unsigned long TIOCOUTQ

cdef extern from "<sched.h>" nogil:
    ctypedef struct cpu_set_t:
        pass
    void CPU_ZERO(cpu_set_t *cpus)
    void CPU_SET(int cpu, cpu_set_t *cpus)
    int sched_setaffinity(int thread, size_t size, const cpu_set_t *cpus)
    struct sched_param:
        int sched_priority
    int sched_setscheduler(int thread, int policy, const sched_param *param)
    int SCHED_OTHER, SCHED_BATCH

cdef enum:
    eof, show, full, drain, byte_limit, idle_timeout, session_timeout, write_timeout, failed
EOF, SHOW, FULL, DRAIN, BYTE_LIMIT, IDLE_TIMEOUT, SESSION_TIMEOUT, WRITE_TIMEOUT = range(failed)

cdef enum:
    # A session that has lasted for so many exchanges works on any processor from then on. Until
    # then it stays where the accept loop is: one takes three times as many short sessions.
    pinned_exchanges = 16
    # A session waits for its client's next bytes in the read itself, which spares it a poll, but
    # for no more than so many microseconds: the bell doesn't wake it there. A client that takes
    # longer is polled for before so many reads.
    eager_microseconds = 50000
    polled_reads = 8
    # Places in `switches`.
    payload = 0
    draining = 1


cdef class Processors:
    """The processors that a session is on at first, and later; empty is no change."""

    cdef cpu_set_t narrow, wide
    cdef bint pinned

    def __init__(self, narrow, wide):
        self.pinned = bool(narrow)
        fill(&self.narrow, narrow)
        fill(&self.wide, wide)


cdef class Relay:
    """One session's loop and its two counts; `fd` must stay open meanwhile.

    Times are seconds, `deadline` is one on the monotonic clock; infinity is none, as 0 is for
    `max_bytes`. Between runs `buffer` may be replaced by a larger one, of `buffer_size` bytes at
    the most.
    """

    cdef public long long received_bytes, sent_bytes
    cdef public unsigned char[::1] buffer
    cdef readonly ssize_t unseen
    cdef int[::1] switches
    cdef Processors processors
    cdef int fd, bell, error
    cdef int reading  # flags for recv: at first it doesn't wait, then for a bounded time
    cdef double idle, patience, deadline
    cdef long long max_bytes, exchanges
    cdef ssize_t buffer_size

    def __init__(self, int fd, int bell, buffer, ssize_t buffer_size, switches, double idle,
                 double patience, double deadline, long long max_bytes, Processors processors):
        self.fd, self.bell, self.buffer, self.switches = fd, bell, buffer, switches
        self.idle, self.patience, self.deadline = idle, patience, deadline
        self.reading = MSG_DONTWAIT
        self.max_bytes, self.buffer_size, self.processors = max_bytes, buffer_size, processors

    def run(self):
        """Echo until an end, or until there is something that only Python can do; say which.

        `SHOW`: a switch says that reads are to be shown; `unseen` bytes of `buffer` have been
        read since, and are to be echoed, too. `FULL`: a read has filled a buffer that may be
        larger. `OSError` is the connection's.
        """
        cdef int code
        with nogil:
            self.stay_on(&self.processors.wide, SCHED_OTHER)
            code = self.loop()
            self.error = errno
            self.stay_on(&self.processors.narrow, SCHED_BATCH)
        if code == failed:
            raise OSError(self.error, strerror(self.error).decode())
        return code

    cdef int loop(self) noexcept nogil:
        cdef pollfd watched[2]
        cdef ssize_t count
        cdef int code = 0, flags
        # What comes first is often there with the connection: poll has nothing to say then.
        cdef int polls = self.exchanges > 0
        self.unseen = 0
        watched[0].fd, watched[0].events = self.fd, POLLIN
        watched[1].fd, watched[1].events = self.bell, POLLIN
        while not self.max_bytes or self.received_bytes < self.max_bytes:
            flags = self.reading
            if polls:
                polls -= 1
                flags = MSG_DONTWAIT
                code = self.wait(watched, 2, self.idle, idle_timeout)
            elif self.left() <= 0:
                code = session_timeout
            if code or self.switches[payload]:
                return code or show
            count = recv(self.fd, &self.buffer[0], self.room(), flags)
            if count < 0 and errno != EAGAIN and errno != EINTR:
                return failed
            if count == 0:
                return eof
            if count > 0:
                self.received_bytes += count
                if self.switches[payload]:  # it changed while the read waited
                    self.unseen = count
                    return show
            code = self.send_back(count)
            if code or self.switches[draining]:
                return code or drain
            if count == self.buffer.shape[0] and count < self.buffer_size:
                return full
            if count < 0:
                polls = polled_reads
        return byte_limit

    cdef void read_patiently(self) noexcept nogil:
        cdef timeval bound
        bound.tv_sec, bound.tv_usec = 0, eager_microseconds
        if setsockopt(self.fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(timeval)) == 0:
            self.reading = 0

    cdef void stay_on(self, cpu_set_t *cpus, int policy) noexcept nogil:
        cdef sched_param none
        if self.processors.pinned and self.exchanges >= pinned_exchanges:
            none.sched_priority = 0
            sched_setscheduler(0, policy, &none)
            sched_setaffinity(0, sizeof(cpu_set_t), cpus)

    cdef size_t room(self) noexcept nogil:
        cdef long long left = self.max_bytes - self.received_bytes
        return left if self.max_bytes and left < self.buffer.shape[0] else self.buffer.shape[0]

    cdef int send_back(self, ssize_t count) noexcept nogil:
        cdef pollfd watched
        cdef ssize_t sent, done = 0
        cdef int code, waiting
        if count < 0:  # it was the bell, or the input went away
            return 0
        self.exchanges += 1
        if self.exchanges == 1:
            self.read_patiently()
        if self.exchanges == pinned_exchanges:
            self.stay_on(&self.processors.wide, SCHED_OTHER)
        watched.fd, watched.events = self.fd, POLLOUT
        while done < count:
            sent = send(self.fd, &self.buffer[done], count - done, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent >= 0:
                done += sent
                self.sent_bytes += sent
            elif errno != EAGAIN and errno != EINTR:
                return failed
            else:
                waiting = self.unsent()
                code = self.wait(&watched, 1, self.patience, write_timeout)
                # A slow reader makes room in large steps; only one that takes nothing is stuck.
                if code and not (code == write_timeout and self.unsent() < waiting):
                    return code
        return 0

    cdef double left(self) noexcept nogil:
        cdef timespec now
        clock_gettime(CLOCK_MONOTONIC, &now)
        return self.deadline - now.tv_sec - now.tv_nsec * 1e-9

    cdef int unsent(self) noexcept nogil:
        cdef int count = 0
        ioctl(self.fd, TIOCOUTQ, &count)
        return count

    cdef int wait(self, pollfd *watched, int count, double seconds, int late) noexcept nogil:
        cdef double left
        cdef int milliseconds, ready = -1
        while ready < 0:
            left = self.left()
            if left <= 0:
                return session_timeout
            if left < seconds:
                seconds, late = left, session_timeout
            # Rounded up, as in Python's loop; a signal that interrupts it begins it again.
            milliseconds = <int>(seconds * 1000 + 0.999) if seconds < INFINITY else -1
            ready = poll(watched, count, milliseconds)
            if ready < 0 and errno != EINTR:
                return failed
        return 0 if ready else late


cdef void fill(cpu_set_t *cpus, numbers):
    CPU_ZERO(cpus)
    for number in numbers:
        CPU_SET(number, cpus)
