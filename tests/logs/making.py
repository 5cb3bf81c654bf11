"""Makes the log of daemons that never ran: `python -m tests.logs.making 1000000 > echo.jsonl`.

Seeded, so that it is the same every time, and kept small. Daemons come one after the other,
each with sessions that overlap; some end by a signal, each fifth by a crash.
"""

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from echo.events import EVENTS, Reason
from echo.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGIN = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
# Most sessions end well, and the daemon is busiest at noon.
REASONS = [*[Reason.EOF] * 95, Reason.RESET, Reason.IDLE_TIMEOUT, Reason.BYTE_LIMIT]
DAY = 86_400


class Maker:
    """Makes about `events` lines for about `runs` daemons, of which the first starts at `begin`."""

    def __init__(self, events: int, runs: int = 5, seed: int = 1, begin: float = BEGIN) -> None:
        self.random = random.Random(seed)
        self.each = events // runs
        self.runs = runs
        self.now = begin
        self.pace = 14 * DAY / max(events, 1)

    def lines(self) -> Iterator[str]:
        """Return the lines, each with its end."""
        for run in range(self.runs):
            yield from self._run(f"{self.random.getrandbits(32):08x}", crash=run % 5 == 2)

    def _line(self, event: str, **fields: Any) -> str:
        stamp = datetime.fromtimestamp(self.now, UTC).isoformat(timespec="microseconds")[:-6]
        head = {"timestamp": stamp + "Z", "level": EVENTS[event].level, "event": event}
        return json.dumps({**head, **fields}, separators=(",", ":")) + "\n"

    def _run(self, run_id: str, *, crash: bool) -> Iterator[str]:
        self.totals = {"accepted": 0, "closed": 0, "refused": 0}
        self.totals |= {"received_bytes": 0, "sent_bytes": 0}
        self.live: list[tuple[dict[str, Any], float]] = []
        begin = self.now
        limits = Limits().as_dict()
        yield self._line(
            "server.started",
            host="127.0.0.1",
            port=9000,
            pid=2**22 + 1,
            version="0",
            loop="python",
            limits=limits,
        )
        for _ in range(self.each - 2):
            yield self._step(run_id)
        if not crash:
            while self.live:
                yield self._close(Reason.DRAINED)
            uptime = round(self.now - begin, 6)
            yield self._line("server.stopped", reason="signal", **self.totals, uptime_s=uptime)

    def _step(self, run_id: str) -> str:
        busy = 1 - abs(self.now % DAY / DAY - 0.5)  # from 0.5 at midnight to 1 at noon
        self.now += self.random.expovariate(1) * self.pace / busy
        if self.random.random() < 0.001:
            return self._refuse()
        if self.live and (self.random.random() < 0.5 or len(self.live) > 500 * busy):
            return self._close(self.random.choice(REASONS))
        return self._accept(run_id)

    def _peer(self) -> dict[str, Any]:
        host = int(self.random.paretovariate(0.5)) % 60_000
        port = self.random.randrange(1024, 65_536)
        return {"peer_ip": f"10.0.{host // 250}.{host % 250}", "peer_port": port}

    def _accept(self, run_id: str) -> str:
        self.totals["accepted"] += 1
        session = {"session_id": f"{run_id}-{self.totals['accepted']}", **self._peer()}
        self.live.append((session, self.now))
        return self._line("session.accepted", **session, fd=9, active_sessions=len(self.live))

    def _close(self, reason: Reason) -> str:
        session, begin = self.live.pop(self.random.randrange(len(self.live)))
        received = int(self.random.lognormvariate(8, 3))
        sent = received if reason == Reason.EOF else self.random.randint(0, received)
        self.totals["closed"] += 1
        self.totals["received_bytes"] += received
        self.totals["sent_bytes"] += sent
        counts = {"received_bytes": received, "sent_bytes": sent}
        duration = round(self.now - begin, 6)
        return self._line("session.closed", **session, reason=reason, **counts, duration_s=duration)

    def _refuse(self) -> str:
        count = self.random.randint(1, 9)
        self.totals["refused"] += count
        return self._line("session.refused", **self._peer(), reason="max_sessions", count=count)


if __name__ == "__main__":
    sys.stdout.writelines(Maker(int(sys.argv[1])).lines())
