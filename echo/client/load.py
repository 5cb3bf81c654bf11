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

from echo.client.client import connected
from echo.client.errors import EchoMismatch
from echo.client.latency import Latencies
from echo.client.plan import NS, Schedule
from echo.client.sessions import LoadSession, Trouble
from echo.client.sizes import parse_sizes
from echo.limits import KIB
from echo.tls import TlsSocket, wrap

if TYPE_CHECKING:
    import socket
    import ssl

    from echo.client.plan import LoadPlan

# Connections under way at once: they fit into most servers' backlog.
CONNECTING = 128
# Between two looks for what is overdue, and before a session that failed tries again.
LOOK_NS = NS // 10
BACKOFF_NS = NS // 10
# What is due is waited for with select(2), which wakes up to a tenth of a millisecond late,
# epoll even a whole one: the last bit is spent looking.
SPIN_S = 0.00015
SELECT_DESCRIPTORS = 1024
# Every exchange sends another piece of one block of random bytes, so that a byte of another
# session, or of an earlier exchange, shows.
SPARE_BYTES = 64 * KIB
# Exchanges that were never begun are counted in at most this many groups.
GROUPS = 1000


class Load:
    """One run of a plan against one server, by `run`; the figures may be read meanwhile.

    With `tls` the sessions are encrypted. With a `rate` the load is open-loop: an exchange's
    latency counts from the moment at which it was due, whether a session was free then or not,
    so that a server that stalls can't hide it. What was due and did not come back in time is a
    time-out, and is among the latencies with the time that it waited.

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
        self.troubles = dict.fromkeys(Trouble, 0)
        self.first_mismatch: EchoMismatch | None = None
        self.first_error = ""
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
        self._start_ns = self._end_ns = self._look_ns = self._stop_ns = 0

    def __repr__(self) -> str:
        return f"<Load {self.host}:{self.port} {self.exchanges} exchanges, {self.errors} errors>"

    @property
    def errors(self) -> int:
        """All that went wrong, of whatever kind."""
        return sum(self.troubles.values())

    @property
    def open_sessions(self) -> int:
        """Sessions that are connected."""
        return sum(session.open for session in self._sessions)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began, or that it lasted."""
        return ((self._stop_ns or time.perf_counter_ns()) - self._start_ns) / NS

    def as_dict(self) -> dict[str, int | float | None]:
        """Give the figures, by the names that `--json` shows; None where nothing came back."""
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
            **{kind.value: self.troubles[kind] for kind in Trouble if kind is not Trouble.OTHER},
            "errors": self.errors,
        }

    def run(self) -> None:
        """Run the plan, once; `OSError` where not even the first connection can be made."""
        first: socket.socket | TlsSocket
        first = sock = connected(self.host, self.port, self.plan.timeout)
        if self.tls is not None:  # a server that isn't trusted is better said at once
            first = wrap(sock, self.tls, server_hostname=self.host)
        try:
            self._start(first)
            while not self._over():
                self._turn()
            self._count_unbegun()
        finally:
            self._stop()

    # -- what its sessions tell it ------------------------------------------------------

    def is_free(self, session: LoadSession) -> None:
        """Give a session something to do: now, or when it is due."""
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
        """Let it connect anew."""
        heapq.heappush(self._waiting, (time.perf_counter_ns(), session.number))

    def has_failed(self, session: LoadSession, trouble: Trouble, error: Exception) -> None:
        """Count what went wrong, and let it connect anew after a while."""
        now = time.perf_counter_ns()
        self._connecting.discard(session)
        self._free.pop(session, None)
        self.troubles[trouble] += 1
        if isinstance(error, EchoMismatch):
            self.first_mismatch = self.first_mismatch or error
        elif trouble is Trouble.TIMEOUTS and session.began_ns:
            self.latencies.add(now - session.began_ns)
        self.first_error = self.first_error or _what(session, error)
        heapq.heappush(self._waiting, (now + BACKOFF_NS, session.number))

    # -- its life -----------------------------------------------------------------------

    def _start(self, first: socket.socket | TlsSocket) -> None:
        self._family, self._address = first.family, first.getpeername()
        self._start_ns = self._look_ns = time.perf_counter_ns()
        self._end_ns = self._start_ns + round(self.plan.duration * NS)
        if self.plan.rate:
            self._schedule = Schedule(self.plan.rate, self._start_ns, self._end_ns)
        step = self.plan.ramp * NS / len(self._sessions)
        for session in self._sessions[1:]:
            self._waiting.append((self._start_ns + int(step * session.number), session.number))
        self._sessions[0].adopt(first)

    def _wanted(self, now: int) -> bool:
        """Say whether another exchange is to begin, now or later."""
        if self._schedule:
            return bool(self._schedule.left) and now < self._end_ns + self.timeout_ns
        return now < self._end_ns

    def _over(self) -> bool:
        now = time.perf_counter_ns()
        if now < self._end_ns or self._wanted(now):
            return False
        return all(session.closed for session in self._sessions)

    def _turn(self) -> None:
        now = time.perf_counter_ns()
        wanted = self._wanted(now)
        self._connect_due(now, wanted)
        self._begin_due(now, wanted)
        for key, events in self._wait(now, wanted):
            key.data.ready(events)
        if now >= self._look_ns:
            self._look_ns = now + LOOK_NS
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
        """Begin what is due, as long as there are free sessions; end those when all is done."""
        while self._free and not (wanted and self._schedule and self._schedule.next_ns > now):
            session, _ = self._free.popitem(last=False)
            if self._schedule and self._schedule.left and wanted:
                session.begin(self._payload(), self._schedule.take())
            else:
                session.end()

    def _wait(self, now: int, wanted: bool) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until a session is ready, or something else is due."""
        moments = [self._look_ns]
        if wanted and self._may_connect():
            moments.append(self._waiting[0][0])
        if not (wanted and self._free and self._schedule):
            return self.selector.select(max(0, min(moments) - now) / NS)
        moments.append(self._schedule.next_ns)
        self._sleep(max(0, min(moments) - now) / NS - SPIN_S)
        return self.selector.select(0)

    def _sleep(self, seconds: float) -> None:
        """Wait more exactly than the selector itself can, where it can be waited for."""
        fileno = getattr(self.selector, "fileno", lambda: SELECT_DESCRIPTORS)()
        if seconds > 0 and fileno < SELECT_DESCRIPTORS:
            select.select((fileno,), (), (), seconds)

    def _payload(self) -> bytes:
        size = self._sizes.draw(self._random)
        start = self._random.randrange(len(self._block) - size + 1)
        return self._block[start : start + size]

    def _count_unbegun(self) -> None:
        """Count what was due and never had a free session, with the time it has waited."""
        if not self._schedule:
            return
        now = time.perf_counter_ns()
        self.troubles[Trouble.TIMEOUTS] += self._schedule.left
        group = self._schedule.left // GROUPS + 1
        while self._schedule.left:
            count = min(group, self._schedule.left)
            self.latencies.add(now - self._schedule.take(count), count)

    def _stop(self) -> None:
        self._stop_ns = time.perf_counter_ns()
        for session in self._sessions:
            session.close()
        self.selector.close()


def _what(session: LoadSession, error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"session {session.number}: {text}"
