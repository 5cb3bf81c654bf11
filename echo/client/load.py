"""Load: many sessions at once from one thread, every byte of every echo verified.

One loop over a selector: measured against a thread for each session it makes as many
exchanges with one session, 1.7 times as many with 100 and 2.8 times as many with 500.
"""

from __future__ import annotations

import heapq
import random
import select
import selectors
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from echo.client.connecting import open_connection
from echo.client.errors import EchoMismatch
from echo.client.latency import Latencies
from echo.client.plan import NS, Schedule
from echo.client.sessions import FailureKind, LoadSession
from echo.client.sizes import parse_sizes
from echo.limits import KIB
from echo.tls import TlsSocket, wrap

if TYPE_CHECKING:
    import socket
    import ssl

    from echo.client.plan import LoadPlan

# Connections that are being made at once: most servers' backlog has room for that many.
CONNECTING = 128
# Between two checks for overdue sessions, and before a failed session connects again.
CHECK_NS = NS // 10
BACKOFF_NS = NS // 10
# select(2) wakes up to a tenth of a millisecond late, epoll a whole one: the last moments before
# an exchange is due are spent polling.
SPIN_S = 0.00015
SELECT_DESCRIPTORS = 1024
# Each exchange sends another piece of one block of random bytes, so that bytes of another session
# or of an earlier exchange are noticed.
SPARE_BYTES = 64 * KIB
# Exchanges that never began are added to the latencies in at most this many groups.
GROUPS = 1000


class Load:
    """One run of a plan against one server; the figures may be read while `run` is running.

    With `tls` the sessions are encrypted. With a `rate` the load is open-loop: an exchange's
    latency counts from when it was due, whether a session was free then or not, so that a stall
    of the server is seen. An exchange that did not come back in time is a time-out, and is among
    the latencies with the time that it waited.

    >>> from echo.client.plan import LoadPlan
    >>> from echo.testing import running_server
    >>> with running_server() as server:
    ...     load = Load(*server.address, LoadPlan(sessions=3, duration=0.2, size="1-100"))
    ...     load.run()
    >>> load.exchanges > 3, load.errors, load.first_mismatch
    (True, 0, None)
    """

    def __init__(
        self, host: str, port: int, plan: LoadPlan, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.plan = plan
        self.tls = tls
        self.latencies = Latencies()
        self.exchanges = 0
        self.received_bytes = 0
        self.failures = dict.fromkeys(FailureKind, 0)
        self.first_mismatch: EchoMismatch | None = None
        self.first_error: tuple[int, Exception] | None = (
            None  # the session's number, and what it met
        )
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.timeout_ns = round(plan.timeout * NS)
        self._sizes = parse_sizes(plan.size)
        self._random = random.Random()
        self._block = self._random.randbytes(self._sizes.most + SPARE_BYTES)
        self._sessions = [LoadSession(number, self) for number in range(plan.sessions)]
        self._waiting: list[tuple[int, int]] = []  # when to connect, and which session: a heap
        self._connecting: set[LoadSession] = set()
        self._free: OrderedDict[LoadSession, None] = OrderedDict()
        self._schedule: Schedule | None = None
        self._start_ns = self._end_ns = self._check_ns = self._stop_ns = 0

    def __repr__(self) -> str:
        return f"<Load {self.host}:{self.port} {self.exchanges} exchanges, {self.errors} errors>"

    @property
    def errors(self) -> int:
        """Number of failures, of all kinds."""
        return sum(self.failures.values())

    @property
    def open_sessions(self) -> int:
        """Sessions that are connected."""
        return sum(session.open for session in self._sessions)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began; after it, how long it took."""
        return ((self._stop_ns or time.perf_counter_ns()) - self._start_ns) / NS

    def as_dict(self) -> dict[str, int | float | None]:
        """Return the figures, by the names that `--json` shows; None where nothing came back."""
        return {
            "sessions": self.plan.sessions,
            "exchanges": self.exchanges,
            "rate_per_s": self.exchanges / self.elapsed_s,
            "received_bytes": self.received_bytes,
            "p50_ms": self.latencies.percentile(50),
            "p90_ms": self.latencies.percentile(90),
            "p99_ms": self.latencies.percentile(99),
            "p999_ms": self.latencies.percentile(99.9),
            "max_ms": self.latencies.max_ms,
            **{
                kind.value: self.failures[kind]
                for kind in FailureKind
                if kind is not FailureKind.OTHER
            },
            "errors": self.errors,
        }

    def run(self) -> None:
        """Run the plan, once; `OSError` where not even the first connection can be made."""
        first: socket.socket | TlsSocket
        first = sock = open_connection((self.host, self.port), self.plan.timeout)[0]
        if self.tls is not None:  # a certificate that isn't trusted is an error at once
            first = wrap(sock, self.tls, server_hostname=self.host)
        try:
            self._start(first)
            while not self._over():
                self._iterate()
            self._count_unbegun()
        finally:
            self._stop()

    # -- called by the sessions ----------------------------------------------------------

    def is_free(self, session: LoadSession) -> None:
        """Start the session's next exchange: now, or when one is due."""
        self._connecting.discard(session)
        if not self._wanted(time.perf_counter_ns()):
            session.end()
        elif self._schedule:
            self._free[session] = None
        else:
            session.begin(self._payload())

    def has_finished(self, session: LoadSession) -> None:
        """Count an exchange."""
        self.latencies.add(time.perf_counter_ns() - session.began_ns)
        self.exchanges += 1
        self.received_bytes += session.size
        if self.plan.churn and session.exchanges >= self.plan.churn:
            session.end()
        else:
            self.is_free(session)

    def has_ended(self, session: LoadSession) -> None:
        """Schedule a new connection."""
        heapq.heappush(self._waiting, (time.perf_counter_ns(), session.number))

    def has_failed(self, session: LoadSession, kind: FailureKind, error: Exception) -> None:
        """Count the failure, and schedule a new connection after a pause."""
        now = time.perf_counter_ns()
        self._connecting.discard(session)
        self._free.pop(session, None)
        self.failures[kind] += 1
        if isinstance(error, EchoMismatch):
            self.first_mismatch = self.first_mismatch or error
        elif kind is FailureKind.TIMEOUTS and session.began_ns:
            self.latencies.add(now - session.began_ns)
        self.first_error = self.first_error or (session.number, error)
        heapq.heappush(self._waiting, (now + BACKOFF_NS, session.number))

    # -- the run ------------------------------------------------------------------------

    def _start(self, first: socket.socket | TlsSocket) -> None:
        self._family, self._address = first.family, first.getpeername()
        self._start_ns = self._check_ns = time.perf_counter_ns()
        self._end_ns = self._start_ns + round(self.plan.duration * NS)
        if self.plan.rate:
            self._schedule = Schedule(self.plan.rate, self._start_ns, self._end_ns)
        step = self.plan.ramp * NS / len(self._sessions)
        for session in self._sessions[1:]:
            self._waiting.append((self._start_ns + int(step * session.number), session.number))
        self._sessions[0].adopt(first)

    def _wanted(self, now: int) -> bool:
        """Return whether another exchange is to begin, now or later."""
        if self._schedule:
            return bool(self._schedule.left) and now < self._end_ns + self.timeout_ns
        # However short the duration, and however slow this machine, there is a first exchange.
        return now < self._end_ns or not self.exchanges + self.errors

    def _over(self) -> bool:
        now = time.perf_counter_ns()
        if now < self._end_ns or self._wanted(now):
            return False
        return all(session.closed for session in self._sessions)

    def _iterate(self) -> None:
        now = time.perf_counter_ns()
        wanted = self._wanted(now)
        self._connect_due(now, wanted)
        self._begin_due(now, wanted)
        for key, events in self._wait(now, wanted):
            key.data.ready(events)
        if now >= self._check_ns:
            self._check_ns = now + CHECK_NS
            for session in self._sessions:
                if session.overdue(now):
                    session.give_up()

    def _connect_due(self, now: int, wanted: bool) -> None:
        while wanted and self._may_connect() and self._waiting[0][0] <= now:
            session = self._sessions[heapq.heappop(self._waiting)[1]]
            self._connecting.add(session)
            session.connect(self._family, self._address)

    def _may_connect(self) -> bool:
        return bool(self._waiting) and len(self._connecting) < CONNECTING

    def _begin_due(self, now: int, wanted: bool) -> None:
        """Begin due exchanges on free sessions; end the sessions when all exchanges are done."""
        while self._free and not (wanted and self._schedule and self._schedule.next_ns > now):
            session, _ = self._free.popitem(last=False)
            if self._schedule and self._schedule.left and wanted:
                session.begin(self._payload(), self._schedule.take())
            else:
                session.end()

    def _wait(self, now: int, wanted: bool) -> list[tuple[selectors.SelectorKey, int]]:
        """Return the sessions that are ready; wait for one, or until something else is due."""
        moments = [self._check_ns]
        if wanted and self._may_connect():
            moments.append(self._waiting[0][0])
        if not (wanted and self._free and self._schedule):
            return self.selector.select(max(0, min(moments) - now) / NS)
        moments.append(self._schedule.next_ns)
        self._sleep(max(0, min(moments) - now) / NS - SPIN_S)
        return self.selector.select(0)

    def _sleep(self, seconds: float) -> None:
        """Wait for the selector with select(2), which is more exact than epoll."""
        fileno = getattr(self.selector, "fileno", lambda: SELECT_DESCRIPTORS)()
        if seconds > 0 and fileno < SELECT_DESCRIPTORS:
            select.select((fileno,), (), (), seconds)

    def _payload(self) -> bytes:
        size = self._sizes.draw(self._random)
        start = self._random.randrange(len(self._block) - size + 1)
        return self._block[start : start + size]

    def _count_unbegun(self) -> None:
        """Count exchanges that never had a free session as time-outs, with the time they waited."""
        if not self._schedule:
            return
        now = time.perf_counter_ns()
        self.failures[FailureKind.TIMEOUTS] += self._schedule.left
        group = self._schedule.left // GROUPS + 1
        while self._schedule.left:
            count = min(group, self._schedule.left)
            self.latencies.add(now - self._schedule.take(count), count)

    def _stop(self) -> None:
        self._stop_ns = time.perf_counter_ns()
        for session in self._sessions:
            session.close()
        self.selector.close()
