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
from contextlib import suppress
from typing import TYPE_CHECKING

from echo.errors import problem_of
from echo.events import LOG_DROPPED, LOG_REOPENED, SERVER_ERROR
from echo.limits import LOG_QUEUE_BYTES
from echo.logs.lines import own_line

if TYPE_CHECKING:
    from pathlib import Path

    from echo.logs.sinks import Sink

# Bytes of lines that are handed to the sink at once.
BATCH_BYTES = 256 * 1024
# Seconds that the first line of a batch waits for others. A write for each line would take
# the interpreter's lock from the sessions once more for each.
BATCH_PAUSE = 0.05
# Seconds until a write that failed is tried again.
RETRY_PAUSE = 1.0
# `close` waits for the thread in this many steps. One single wait may be over because the machine
# stood still, or was too busy, and the thread has not run at all.
CLOSE_STEPS = 20


class LogWriter:
    """A queue of at most `capacity` bytes, and the thread that writes it to `sink`.

    `put` never blocks and never raises. `dropped` counts the lines that found no room, or
    that could not be written before `close`. `thread` ends with `close` only: while the sink
    fails, with whatever exception, the lines wait, and `problem` says why. Several writers that get
    the same lines share one `lock`, so that their own lines are in the order of their times, too.
    """

    def __init__(
        self, sink: Sink, capacity: int = LOG_QUEUE_BYTES, lock: threading.RLock | None = None
    ) -> None:
        self.capacity = capacity
        self.dropped = 0
        self.problem: str | None = None
        self._sink = sink
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes
        self._missing = 0  # dropped lines that are not reported yet
        self._batch = b""  # whole lines, taken off the queue
        self._written = 0  # bytes of the batch that the sink has taken
        self._reopening: Path | None = None
        self._concluded = False
        self._closing = False
        self._lock = lock or threading.RLock()
        self._work = threading.Event()
        self._hurry = threading.Event()
        self.thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self.thread.start()

    def __repr__(self) -> str:
        return f"<LogWriter {self._queued} bytes queued, {self.dropped} lines dropped>"

    @property
    def queue_length(self) -> int:
        """Lines that wait to be written."""
        return len(self._queue)

    def put(self, line: bytes) -> None:
        """Queue one line, which ends in a newline; any thread may call."""
        with self._lock:
            if self._queued + len(line) > self.capacity and not self._concluded:
                self.dropped += 1
                self._missing += 1
                return
            self._queue.append(line)
            self._queued += len(line)
            if self._missing:
                self._report_missing()
        if not self._work.is_set():
            self._work.set()

    def reopen(self, path: Path) -> None:
        """Have the sink opened again soon, and log that under the name of `path`."""
        self._reopening = path
        self._wake()

    def lose(self) -> None:
        """Count a line that could not be made; it is reported with the next one."""
        with self._lock:
            self.dropped += 1
            self._missing += 1

    def conclude(self) -> None:
        """Prepare for the last line, which is put next: it finds room, and nothing follows it."""
        with self._lock:
            self._concluded = True
            if self._missing:
                self._report_missing()

    def finish(self) -> None:
        """Have all that is queued written without further pauses, for the last time."""
        self._closing = True
        self._wake()

    def close(self, timeout: float) -> bool:
        """Write what is queued for at most `timeout` seconds; True if nothing was lost.

        A sink that blocks for longer keeps its thread, which ends with the process.
        """
        self.finish()
        for _ in range(CLOSE_STEPS):
            self.thread.join(timeout / CLOSE_STEPS)
        with self._lock:
            self.dropped += len(self._queue) + self._batch.count(b"\n", self._written)
            self._queue.clear()
        if not self.thread.is_alive():
            with suppress(OSError):  # as of a network's file system that is gone
                self._sink.close()
        return not self.dropped

    def _wake(self) -> None:
        self._hurry.set()
        self._work.set()

    def _report_missing(self) -> None:
        self._queue.append(own_line(LOG_DROPPED, count=self._missing))
        self._queued += len(self._queue[-1])
        self._missing = 0

    # -- the writer's thread ------------------------------------------------------------

    def _run(self) -> None:
        last = False
        while not last:
            self._work.wait()
            self._hurry.wait(BATCH_PAUSE)
            self._work.clear()
            self._hurry.clear()
            last = self._closing  # read before the writing: `close` gets a try of its own
            try:
                self._reopen()
                self._write_all()
                self.problem = None
            except Exception as error:  # noqa: BLE001 - nothing but `close` may end this thread
                self.problem = problem_of(error)
                self._work.set()
                if not last:
                    self._hurry.wait(RETRY_PAUSE)

    def _write_all(self) -> None:
        """Write batch after batch until the queue is empty."""
        while self._written < len(self._batch) or self._take():
            self._written += self._sink.write(self._batch[self._written :])

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
        self._batch, self._written = b"".join(lines), 0
        return bool(lines)

    def _reopen(self) -> None:
        """Open the sink again if that was asked for, between the lines before and after."""
        path = self._reopening
        if path is None:
            return
        self._reopening = None  # only where one was asked for: one may be at this very moment
        with suppress(Exception):  # it is tried again, in the new file
            self._write_all()
        event, fields = LOG_REOPENED, {"path": str(path)}
        try:
            if self._sink.reopen():  # the new file gets all of a line that was torn
                self._written = self._batch.rfind(b"\n", 0, self._written) + 1
        except Exception as error:  # noqa: BLE001 - the old one goes on, whatever it is
            event = SERVER_ERROR
            fields = {"error": f"{type(error).__name__}: {error}", "where": "log"}
        with self._lock:
            if not self._concluded:
                self.put(own_line(event, **fields))
