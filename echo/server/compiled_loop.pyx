# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The echo loop in C, as Python sees it: `EchoHandler.handle` without the interpreter's lock.

The loop itself, and what it does for sessions that last, is `followers.c`. Linux only: elsewhere
it doesn't build, and the loop in Python does the same.
"""

import os

from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.string cimport strerror

cdef extern from "followers.h" nogil:
    ctypedef enum end "enum end":
        c_eof "END_OF_STREAM"
        c_show "SHOW"
        c_drained "DRAINED"
        c_byte_limit "BYTE_LIMIT"
        c_idle_timeout "IDLE_TIMEOUT"
        c_session_timeout "SESSION_TIMEOUT"
        c_write_timeout "WRITE_TIMEOUT"
        c_failed "FAILED"
    ctypedef struct cpu_set_t:
        pass
    ctypedef struct c_processors "struct processors":
        bint is_pinned
        cpu_set_t pinned, allowed
    ctypedef struct c_count "_Atomic int64_t":
        pass
    ctypedef struct c_session "struct session":
        int fd, wakeup
        const int *flags
        size_t buffer_size
        int64_t idle_timeout, write_timeout, deadline, max_bytes
        const c_processors *processors
        c_count received_bytes, sent_bytes
        int error
    const int64_t NEVER
    void CPU_ZERO(cpu_set_t *cpus)
    void CPU_SET(int cpu, cpu_set_t *cpus)
    void followers_init(int processors)
    void session_init(c_session *session)
    void session_destroy(c_session *session)
    end session_run(c_session *session)
    int64_t load_count(c_count *count)
    void store_count(c_count *count, int64_t value)

END_OF_STREAM = c_eof
SHOW = c_show
DRAINED = c_drained
BYTE_LIMIT = c_byte_limit
IDLE_TIMEOUT = c_idle_timeout
SESSION_TIMEOUT = c_session_timeout
WRITE_TIMEOUT = c_write_timeout


cdef class Settings:
    """What the sessions of one server have in common.

    `wakeup` is a descriptor that becomes readable for good once a drain begins, and must stay
    open meanwhile. `flags` are C integers: whether payload is shown, and whether a drain has
    begun. Times are seconds; infinity is no limit, as 0 is for `max_bytes`. `pinned` is the
    processor that the process is pinned to and `allowed` all that it might use; empty sets leave
    threads where they are.
    """

    cdef c_session session
    cdef c_processors processors
    cdef int[::1] flags

    def __init__(self, int wakeup, int[::1] flags, size_t buffer_size, double idle_timeout,
                 double write_timeout, int64_t max_bytes, pinned=(), allowed=()):
        self.flags = flags
        self.processors.is_pinned = bool(pinned)
        fill(&self.processors.pinned, pinned)
        fill(&self.processors.allowed, allowed)
        self.session.wakeup = wakeup
        self.session.flags = &self.flags[0]
        self.session.buffer_size = buffer_size
        self.session.idle_timeout = nanoseconds(idle_timeout)
        self.session.write_timeout = nanoseconds(write_timeout)
        self.session.max_bytes = max_bytes
        self.session.processors = &self.processors
        followers_init(len(allowed or os.sched_getaffinity(0)))


cdef class CompiledLoop:
    """One session's loop and its two counts, which any thread may read while it runs.

    `fd` is the session's socket and must stay open meanwhile. `deadline` is in seconds on the
    monotonic clock; infinity is no limit.
    """

    cdef c_session session
    cdef Settings settings

    def __cinit__(self, int fd, double deadline, Settings settings):
        self.settings = settings
        self.session = settings.session
        self.session.fd = fd
        self.session.deadline = nanoseconds(deadline)
        session_init(&self.session)

    def __dealloc__(self):
        session_destroy(&self.session)

    @property
    def received_bytes(self):
        """Bytes that the loop has read."""
        return load_count(&self.session.received_bytes)

    @received_bytes.setter
    def received_bytes(self, int64_t count):
        store_count(&self.session.received_bytes, count)

    @property
    def sent_bytes(self):
        """Bytes of them that the kernel has taken back."""
        return load_count(&self.session.sent_bytes)

    @sent_bytes.setter
    def sent_bytes(self, int64_t count):
        store_count(&self.session.sent_bytes, count)

    def run(self):
        """Echo until an end, and return which it is, or `SHOW`: the next read is to be shown.

        Raises `OSError` where the connection broke.
        """
        cdef end code
        with nogil:
            code = session_run(&self.session)
        if code == c_failed:
            raise OSError(self.session.error, strerror(self.session.error).decode())
        return code


cdef int64_t nanoseconds(double seconds):
    return NEVER if seconds == INFINITY else <int64_t>(seconds * 1e9)


cdef void fill(cpu_set_t *cpus, numbers):
    CPU_ZERO(cpus)
    for number in numbers:
        CPU_SET(number, cpus)
