r"""The log's writer: lines from any thread, through a bounded queue, written by one thread.

A session never waits for the log. Lines for which the queue has no room are counted, and
reported as `log.dropped` with the next line that there is room for.

>>> import os
>>> from echo.logs.sinks import StreamSink
>>> reader, pipe = os.pipe()
>>> log = LogWriter(StreamSink(pipe))
>>> log.put(b'{"event":"hello"}\n')
>>> log.close(timeout=5)
True
>>> os.read(reader, 100)
b'{"event":"hello"}\n'
>>> os.close(reader), os.close(pipe)
(None, None)
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from echo.events import LOG_DROPPED, LOG_REOPENED, SERVER_ERROR
from echo.limits import LOG_QUEUE_BYTES
from echo.logs.lines import own_line
from echo.logs.sinks import Sink, Unfinished

if TYPE_CHECKING:
    from pathlib import Path

# One write takes this many bytes of lines.
BATCH_BYTES = 256 * 1024
# Seconds that the first line of a batch waits for others. A write for each line would take
# the interpreter's lock from the sessions once more for each.
BATCH_PAUSE = 0.05
# Seconds until a write that failed is tried again.
RETRY_PAUSE = 1.0


class LogWriter:
    """A queue of at most `capacity` bytes and the thread that empties it into `sink`.

    `put` never blocks and never raises. `dropped` counts the lines that found no room, or
    that could not be written before `close`. Lives until `close`. Several writers that are fed
    under one `lock` share it, so that their own lines are in the order of their times, too.
    """

    def __init__(
        self, sink: Sink, capacity: int = LOG_QUEUE_BYTES, lock: threading.RLock | None = None
    ) -> None:
        self.capacity = capacity
        self.dropped = 0
        self._sink = sink
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes
        self._missing = 0  # dropped lines that are still to be reported
        self._batch = b""  # whole lines: taken off the queue, not all of them written
        self._begun = 0  # bytes of its first line that are written
        self._reopening: Path | None = None
        self._closing = False
        self._lock = lock or threading.RLock()
        self._work = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<LogWriter {self._queued} bytes queued, {self.dropped} lines dropped>"

    @property
    def queue_length(self) -> int:
        """Lines that wait to be written."""
        return len(self._queue)

    def put(self, line: bytes) -> None:
        """Take one line, which ends in a newline; any thread may call."""
        with self._lock:
            if self._queued + len(line) > self.capacity:
                self.dropped += 1
                self._missing += 1
                return
            self._append(line)
            if self._missing:
                self._report_missing()
        if not self._work.is_set():
            self._work.set()

    def reopen(self, path: Path) -> None:
        """Open the sink anew, soon, and say so under the name of `path`; returns at once."""
        self._reopening = path
        self._wake()

    def finish(self) -> None:
        """Take no rest any more: what is queued is all there is to write."""
        self._closing = True
        self._wake()

    def close(self, timeout: float) -> bool:
        """Write what is queued for at most `timeout` seconds; True if nothing was lost.

        A sink that blocks for longer keeps its thread, which ends with the process.
        """
        self.finish()
        self._thread.join(timeout)
        with self._lock:
            self.dropped += len(self._queue) + self._batch.count(b"\n")
            self._queue.clear()
        if not self._thread.is_alive():
            self._sink.close()
        return not self.dropped

    def _wake(self) -> None:
        self._hurry.set()
        self._work.set()

    def _append(self, line: bytes) -> None:
        self._queue.append(line)
        self._queued += len(line)

    def _report_missing(self) -> None:
        self._append(own_line(LOG_DROPPED, count=self._missing))
        self._missing = 0

    # -- the writer's thread ------------------------------------------------------------

    def _run(self) -> None:
        last = False
        while not last:
            self._work.wait()
            self._hurry.wait(BATCH_PAUSE)
            self._work.clear()
            last = self._closing  # seen before the writing: one more try is made after `close`
            self._reopen()
            if not self._write_all():
                self._work.set()
                self._hurry.wait(RETRY_PAUSE)

    def _write_all(self) -> bool:
        """Write batch after batch until the queue is empty; False if the sink failed."""
        while self._batch or self._take():
            if not self._write_batch():
                return False
        return True

    def _write_batch(self) -> bool:
        try:
            self._sink.write(self._batch[self._begun :])
        except Unfinished as error:
            written = len(self._batch) - len(error.rest)
            whole = self._batch.rfind(b"\n", 0, written) + 1
            self._batch, self._begun = self._batch[whole:], written - whole
            return False
        self._batch, self._begun = b"", 0
        return True

    def _take(self) -> bool:
        """Move lines from the queue to the batch; False when there are none."""
        lines: list[bytes] = []
        with self._lock:
            size = 0
            if self._missing and not self._queue:
                self._report_missing()
            while self._queue and size < BATCH_BYTES:
                lines.append(self._queue.popleft())
                size += len(lines[-1])
            self._queued -= size
        self._batch = b"".join(lines)
        return bool(lines)

    def _reopen(self) -> None:
        if not self._closing:
            self._hurry.clear()
        path, self._reopening = self._reopening, None
        if path is None:
            return
        self._write_all()  # what was queued before belongs to the old file
        event, fields = LOG_REOPENED, {"path": str(path)}
        try:
            if self._sink.reopen():
                self._begun = 0  # the new file gets the whole line
        except OSError as error:
            event = SERVER_ERROR
            fields = {"error": f"{type(error).__name__}: {error}", "where": "log"}
        with self._lock:
            self._append(own_line(event, **fields))
