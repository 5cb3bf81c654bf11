"""Session threads, used again: starting one for each connection is three times slower."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = tuple[Callable[..., None], tuple[Any, ...]]

# Idle threads that are kept for ever, and how many seconds any others wait for work.
SPARE_THREADS = 32
SPARE_THREAD_TIMEOUT = 8.0


class SessionThreads:
    """A pool of threads that grows when none is idle, and shrinks when many are.

    The thread that became idle last works first, so that the others can end: `spare` of them
    stay for good, any others end after `timeout` seconds without work. They are daemon
    threads: wait for what the jobs do, not for the threads.

    >>> done = threading.Event()
    >>> threads = SessionThreads()
    >>> threads.run(done.set)
    >>> done.wait(5)
    True
    >>> threads.close()
    """

    def __init__(self, spare: int | None = None, timeout: float | None = None) -> None:
        self.spare = SPARE_THREADS if spare is None else spare
        self.timeout = SPARE_THREAD_TIMEOUT if timeout is None else timeout
        self._parked: dict[_Worker, None] = {}  # in the order in which they became idle
        self._lock = threading.Lock()
        self._started = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<SessionThreads {self.idle} idle, {self._started} started>"

    @property
    def idle(self) -> int:
        """How many threads wait for work."""
        return len(self._parked)

    def run(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call `function` in an idle thread, or in a new one; it has to handle its exceptions.

        Raises `RuntimeError` or `MemoryError` when a thread is needed and can't be started.
        """
        with self._lock:
            worker = self._parked.popitem()[0] if self._parked else None
        if worker is None:
            self._started += 1
            worker = _Worker(self, self._started)
            worker.thread.start()
        worker.jobs.put((function, arguments))

    def park(self, worker: _Worker) -> bool:
        """Keep a worker that has nothing to do; return False if it is to end instead."""
        with self._lock:
            if not self._closed:
                self._parked[worker] = None
            return not self._closed

    def retire(self, worker: _Worker) -> bool:
        """Let a worker go that waited in vain, unless it is spare or has just been chosen."""
        with self._lock:
            if len(self._parked) <= self.spare or worker not in self._parked:
                return False
            del self._parked[worker]
            return True

    def close(self) -> None:
        """End the idle threads at once, and each of the others after its job."""
        with self._lock:
            self._closed = True
            parked, self._parked = self._parked, {}
        for worker in parked:
            worker.jobs.put(None)


class _Worker:
    """One thread with a queue of its own, from which it takes one job at a time."""

    def __init__(self, pool: SessionThreads, number: int) -> None:
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=f"session-{number}", daemon=True)
        self._pool = pool

    def _work(self) -> None:
        while True:
            try:
                job = self.jobs.get(timeout=self._pool.timeout)
            except queue.Empty:
                if self._pool.retire(self):
                    return
                continue
            if job is None:
                return
            function, arguments = job
            function(*arguments)
            del job, function, arguments  # an idle thread holds nothing of its last session
            if not self._pool.park(self):
                return
