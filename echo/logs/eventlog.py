"""The daemon's structlog: a chain of processors that ends in the queues of the log's writers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import structlog

from echo.deadline import Deadline
from echo.events import SERVER_STOPPED
from echo.logs.lines import render, stamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from structlog.typing import EventDict, Processor, WrappedLogger

    from echo.logs.writer import LogWriter

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# `critical`, which the daemon itself doesn't use.
MOST_SEVERE = 50


class QueueLogger:
    """The logger at the end of structlog's chain: queues each rendered line for every writer."""

    def __init__(self, writers: Sequence[LogWriter], lock: threading.RLock) -> None:
        self.lock = lock
        self._writers = writers

    def put(self, line: bytes) -> None:
        """Queue one line; any thread may call."""
        for writer in self._writers:
            writer.put(line)

    def lose(self) -> None:
        """Count a line that could not be made; any thread may call."""
        for writer in self._writers:
            writer.lose()

    debug = info = warning = error = critical = put


class OrderedLogger(structlog.make_filtering_bound_logger("debug")):  # type: ignore[misc]
    """A bound logger that runs one event at a time through the chain and into the queues.

    So the lines are in the order of their times. An exception in the chain is the caller's, and
    counts as a dropped line.
    """

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **fields: Any) -> Any:
        with self._logger.lock:
            try:
                return super()._proxy_to_logger(method_name, event, **fields)
            except Exception:
                self._logger.lose()
                raise


class EventLog:
    """structlog's configuration, and the writers that its lines go to.

    The first of `writers` is the log proper, whose losses `dropped` counts; the others show
    the same lines elsewhere. `level` may change at any time. Nothing is logged after the daemon's
    `server.stopped`.
    """

    def __init__(
        self,
        *writers: LogWriter,
        level: str = "info",
        path: Path | None = None,
        lock: threading.RLock | None = None,
    ) -> None:
        self.level = level
        self.path = path
        self._writers = writers
        self._lock = lock or threading.RLock()
        self._concluded = False

    def __repr__(self) -> str:
        return f"<EventLog {self.level}, {self.dropped} lines dropped>"

    @property
    def dropped(self) -> int:
        """Lines of the log proper that were lost."""
        return self._writers[0].dropped

    @property
    def queue_length(self) -> int:
        """Lines of the log proper that wait to be written."""
        return self._writers[0].queue_length

    @property
    def debug(self) -> bool:
        """Whether debug events, which show payload, are logged."""
        return self.level == "debug"

    @property
    def threads(self) -> list[threading.Thread]:
        """The writers' threads, which live until `close`."""
        return [writer.thread for writer in self._writers]

    def configure(self, *processors: Processor) -> Any:
        """Configure structlog for the whole process to write here, and return a logger.

        `processors` run before the time is added and the line is rendered.
        """
        logger = QueueLogger(self._writers, self._lock)
        structlog.configure(
            processors=[
                self._admit,
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.format_exc_info,
                *processors,
                stamp,
                structlog.processors.JSONRenderer(serializer=render, default=repr),
            ],
            wrapper_class=OrderedLogger,
            logger_factory=lambda *_: logger,
            cache_logger_on_first_use=True,
        )
        return structlog.get_logger("echo").bind()

    def _admit(self, _: WrappedLogger, method: str, fields: EventDict) -> EventDict:
        """Drop events below the level, and what comes after the daemon's last line.

        A filtering bound logger can't change its level at run time.
        """
        if self._concluded or LEVELS.get(method, MOST_SEVERE) < LEVELS[self.level]:
            raise structlog.DropEvent
        if fields.get("event") == SERVER_STOPPED.name:
            self._concluded = True
            for writer in self._writers:
                writer.conclude()
        return fields

    def reopen(self) -> None:
        """Have the log file opened again, where it is a file."""
        if self.path is not None:
            self._writers[0].reopen(self.path)

    def close(self, timeout: float) -> bool:
        """Write what is left for at most `timeout` seconds; True if nothing was lost."""
        deadline = Deadline(timeout)
        for writer in self._writers:  # all at once: one that is stuck takes no other's time
            writer.finish()
        written = [writer.close(deadline.left()) for writer in self._writers]
        return all(written)
