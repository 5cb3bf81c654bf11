"""Events that come in floods, in the log: all of them counted, at a bounded rate."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

# Different keys that are told apart within a period; any more of them share the line of the last.
MOST_KEYS = 64


class SharedLines:
    """Writes the first event of a key at once; those that follow share a line each `period`.

    However many come, a key has at most two lines per period, and the `count` of its lines add
    up to how often it came, after `flush`. A line shows the fields of the last event it stands
    for. `period` is in seconds. `write` gets the count and the fields of each line, and is
    called without a lock. `total` counts all events, `by_key` those of the first `MOST_KEYS` keys.

    >>> shared = SharedLines(print, period=60)
    >>> for port in (1, 2, 3):
    ...     shared.add("full", peer_port=port)
    1 {'peer_port': 1}
    >>> shared.flush()
    2 {'peer_port': 3}
    """

    def __init__(self, write: Callable[[int, dict[str, Any]], None], period: float) -> None:
        self.total = 0
        self.by_key: Counter[Hashable] = Counter()
        self._write = write
        self._period = period
        self._due: dict[Hashable, float] = {}
        self._waiting: dict[Hashable, tuple[int, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def add(self, key: Hashable, **fields: Any) -> None:
        """Count one event, and write its line if none has been written just now."""
        with self._lock:
            if key not in self._due and len(self._due) >= MOST_KEYS:
                self._forget_old_keys()
                if len(self._due) >= MOST_KEYS:
                    key = next(reversed(self._due))
            self.total += 1
            if key in self.by_key or len(self.by_key) < MOST_KEYS:
                self.by_key[key] += 1
            count, _ = self._waiting.get(key, (0, {}))
            self._waiting[key] = (count + 1, fields)
        self.flush_due()

    def _forget_old_keys(self) -> None:
        now = time.monotonic()
        for key in [key for key, due in self._due.items() if due <= now]:
            if key not in self._waiting:
                del self._due[key]

    def flush_due(self) -> None:
        """Write the lines whose time has come."""
        if self._waiting:
            self._flush(time.monotonic())

    def flush(self) -> None:
        """Write all that is left."""
        self._flush(math.inf)

    def _flush(self, now: float) -> None:
        with self._lock:
            due = [key for key in self._waiting if now >= self._due.get(key, 0.0)]
            lines = [self._waiting.pop(key) for key in due]
            self._due.update(dict.fromkeys(due, time.monotonic() + self._period))
        for count, fields in lines:
            self._write(count, fields)
