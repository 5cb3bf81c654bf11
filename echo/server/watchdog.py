"""Threads that are to live as long as the daemon, and the one mechanism that watches them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from echo.server.listener import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Looks in a row without a sign of life after which a thread is given up. When nothing happens,
# an accept loop's iteration takes half of the time between two looks.
PATIENCE = 10


class WatchedThread(threading.Thread):
    """A daemon thread that keeps the exception that ended it, and shows signs of life.

    `heartbeat` returns a number that grows as long as the thread does its work; a thread without
    one is only watched for its end.
    """

    def __init__(
        self,
        name: str,
        target: Callable[[], object],
        heartbeat: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.heartbeat = heartbeat
        self.failure: BaseException | None = None
        self._job = target

    def run(self) -> None:
        """Do the work; keep what ends it."""
        try:
            self._job()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the thread is over
            self.failure = error


class Watchdog:
    """Looks after threads whose end would leave the daemon deaf or blind.

    `look` is to be called about once a second. Looks are counted, not seconds: a process that
    was stopped (SIGSTOP) hasn't looked, and loses no thread when it goes on.

    >>> thread = WatchedThread("worker", lambda: 1 / 0)
    >>> thread.start()
    >>> thread.join()
    >>> Watchdog([thread]).look()
    ('worker', 'ZeroDivisionError: division by zero')
    """

    def __init__(self, threads: Iterable[threading.Thread]) -> None:
        self._threads = list(threads)
        self._seen: dict[threading.Thread, tuple[int, int]] = {}  # the last heartbeat, and since

    def look(self) -> tuple[str, str] | None:
        """Return the name of a thread that has ended or is stuck, and why; None if all is well."""
        for thread in self._threads:
            is_alive = thread.is_alive()  # first: a thread that has ended has kept its failure
            failure = getattr(thread, "failure", None)
            if failure is not None:
                return thread.name, describe(failure)
            if not is_alive:
                return thread.name, "the thread has ended"
            if self._looks_without_life(thread) >= PATIENCE:
                return thread.name, f"no sign of life for {PATIENCE} s"
        return None

    def _looks_without_life(self, thread: threading.Thread) -> int:
        heartbeat = getattr(thread, "heartbeat", None)
        if heartbeat is None:
            return 0
        now = heartbeat()
        before, looks = self._seen.get(thread, (None, 0))
        self._seen[thread] = (now, looks + 1 if now == before else 0)
        return self._seen[thread][1]
