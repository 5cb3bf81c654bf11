"""Session threads, used again: starting one for each connection is three times slower."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from echo.limits import SPARE_THREAD_TIMEOUT, SPARE_THREADS

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[[], None]


class SessionThreads:
    """A reserve of threads that wait for a job, and grows when none is idle.

    The one that became idle last works first, so that the others can end: `spare` of them
    stay for good, those beyond end after `timeout` seconds without work. They are daemon
    threads: whoever needs the jobs to be over waits for what they do, not for them.

    >>> done = threading.Event()
    >>> SessionThreads().run(done.set)
    >>> done.wait(5)
    True
    """

    def __init__(self, spare: int = SPARE_THREADS, timeout: float = SPARE_THREAD_TIMEOUT) -> None:
        self.spare = spare
        self.timeout = timeout
        self._idle: dict[_Worker, None] = {}  # in the order in which they became idle
        self._lock = threading.Lock()
        self._started = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<SessionThreads {len(self._idle)} idle, {self._started} started>"

    def run(self, job: Job) -> None:
        """Hand `job` to an idle thread, or start one.

        Raises `RuntimeError` or `MemoryError` when one is needed and none can be started.
        A job has to handle its own exceptions.
        """
        with self._lock:
            worker = self._idle.popitem()[0] if self._idle else None
        if worker is None:
            self._started += 1
            worker = _Worker(self, self._started)
            worker.thread.start()
        worker.jobs.put(job)

    def rest(self, worker: _Worker) -> bool:
        """Take a worker that has nothing to do; False sends it home, the reserve is closed."""
        with self._lock:
            if not self._closed:
                self._idle[worker] = None
            return not self._closed

    def dismiss(self, worker: _Worker) -> bool:
        """Let a worker go that waited in vain, unless it is spared or has just been chosen."""
        with self._lock:
            if len(self._idle) <= self.spare or worker not in self._idle:
                return False
            del self._idle[worker]
            return True

    def close(self) -> None:
        """End the idle threads at once, and each of the others after its job."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
        for worker in idle:
            worker.jobs.put(None)


class _Worker:
    """One thread with a queue of its own, of which it takes one job at a time."""

    def __init__(self, reserve: SessionThreads, number: int) -> None:
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=f"session-{number}", daemon=True)
        self._reserve = reserve

    def _work(self) -> None:
        while job := self._next():
            job()
            del job  # a waiting thread holds nothing of its last session
            if not self._reserve.rest(self):
                return

    def _next(self) -> Job | None:
        while True:
            try:
                return self.jobs.get(timeout=self._reserve.timeout)
            except queue.Empty:
                if self._reserve.dismiss(self):
                    return None
