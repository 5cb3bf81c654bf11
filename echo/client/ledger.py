"""Verifies an echo: keeps what was sent until it has come back, and compares."""

from __future__ import annotations

import threading
from collections import deque

from echo.client.errors import EchoMismatch


class Ledger:
    """Compares what comes back with what was sent, byte by byte.

    One thread may call `sent` while another calls `received`. `offset` is the number of bytes
    that have come back, `missing` the number still due. It keeps the missing bytes in memory.

    >>> ledger = Ledger()
    >>> ledger.sent(b"abc")
    >>> ledger.received(b"ab")
    >>> ledger.offset, ledger.missing
    (2, 1)
    >>> ledger.received(b"x")
    Traceback (most recent call last):
        ...
    echo.client.errors.EchoMismatch: the echo differs at offset 2: expected 0x63, got 0x78
    """

    def __init__(self) -> None:
        self.offset = 0
        self.missing = 0
        self._due: deque[memoryview] = deque()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Ledger {self.offset} came back, {self.missing} missing>"

    def sent(self, data: bytes | memoryview) -> None:
        """Expect these bytes; call it before sending them, since the echo may be quick."""
        if not data:
            return
        with self._lock:
            self._due.append(memoryview(bytes(data)))
            self.missing += len(data)

    def received(self, data: bytes) -> None:
        """Compare what came back; raise `EchoMismatch` at the first byte that differs."""
        with self._lock:
            rest = memoryview(data)
            while rest:
                rest = rest[self._settle(rest) :]

    def _settle(self, data: memoryview) -> int:
        due = self._due[0] if self._due else memoryview(b"")
        count = min(len(due), len(data))
        compare(bytes(due[:count]), bytes(data[: count or 1]), self.offset)
        if count < len(due):
            self._due[0] = due[count:]
        else:
            self._due.popleft()
        self.offset += count
        self.missing -= count
        return count


def compare(due: bytes, got: bytes, offset: int) -> None:
    """Raise `EchoMismatch` at the first byte of `got` that isn't the one due.

    `offset` is that of the first byte in its connection. Both are bytes, which are compared by
    memcmp; views would be compared one element after the other.
    """
    if due == got:
        return
    same = (i for i in range(min(len(due), len(got))) if due[i] != got[i])
    wrong = next(same, len(due))
    raise EchoMismatch(offset + wrong, due[wrong] if wrong < len(due) else None, got[wrong])
