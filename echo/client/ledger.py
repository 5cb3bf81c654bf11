"""What was sent and has not come back yet: the account that every verification keeps."""

from __future__ import annotations

import threading
from collections import deque

from echo.client.errors import EchoMismatch


class Ledger:
    """Compares what comes back with what was sent, in order, one byte against one.

    One thread may call `sent` while another calls `received`. `offset` is the number of bytes
    that have come back, `missing` of those that are still due. Memory: the missing bytes.

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
        """Expect these bytes back; call it before they are sent, since the echo may be quick."""
        with self._lock:
            self._due.append(memoryview(bytes(data)))
            self.missing += len(data)

    def received(self, data: bytes) -> None:
        """Settle what came back, or raise `EchoMismatch` at the first byte that differs."""
        with self._lock:
            rest = memoryview(data)
            while rest:
                rest = rest[self._settle(rest) :]

    def _settle(self, data: memoryview) -> int:
        if not self._due:
            raise EchoMismatch(self.offset, None, data[0])
        due = self._due[0]
        count = min(len(due), len(data))
        # As bytes they are compared by memcmp, as views one element after the other.
        if bytes(due[:count]) != bytes(data[:count]):
            wrong = next(i for i in range(count) if due[i] != data[i])
            raise EchoMismatch(self.offset + wrong, due[wrong], data[wrong])
        if count < len(due):
            self._due[0] = due[count:]
        else:
            self._due.popleft()
        self.offset += count
        self.missing -= count
        return count
