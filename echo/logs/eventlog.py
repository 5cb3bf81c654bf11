"""The daemon's structlog: a chain of processors that ends in the queues of the log's writers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import structlog

from echo.deadline import Deadline
from echo.events import SERVER_STOPPED
from echo.logs.lines import render, stamp

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import Processor

    from echo.logs.writer import LogWriter

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# `critical`, which the daemon itself doesn't use.
MOST_SEVERE = 50


class OrderedLogger(structlog.make_filtering_bound_logger("debug")):  # type: ignore[misc]
    """A bound logger that runs one event at a time through the chain and into the queues.

    So the lines are in the order of their times. An exception in the chain is the caller's, and
    counts as a dropped line. The level is the log's, since that of a filtering bound logger can't
    be changed at run time. structlog leaves both methods that are used here to custom wrapper
    classes, despite their underscore.
    """

    def _proxy_to_logger(
        self, method_name: str, event: str | None = None, /, **fields: Any
    ) -> None:
        log: EventLog = self._logger
        if LEVELS.get(method_name, MOST_SEVERE) < LEVELS[log.level]:
            return
        with log.lock:
            if log.is_concluded:
                return
            if event == SERVER_STOPPED.name:
                log.conclude()
            try:
                (line,), _ = self._process_event(method_name, event, fields)
            except structlog.DropEvent:
                return
            except Exception:
                for writer in log.writers:
                    writer.lose()
                raise
            for writer in log.writers:
                writer.put(line)


class EventLog:
    """structlog's configuration, and the writers that its lines go to.

    The first of `writers` is the log proper, whose losses `dropped` counts; the others show
    the same lines elsewhere. `level` may change at any time. Nothing is logged after the daemon's
    `server.stopped`. Every line waits for `lock`.
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
        self.writers = writers
        self.lock = lock or threading.RLock()
        self.is_concluded = False

    def __repr__(self) -> str:
        return f"<EventLog {self.level}, {self.dropped} lines dropped>"

    @property
    def dropped(self) -> int:
        """Lines of the log proper that were lost."""
        return self.writers[0].dropped

    @property
    def problem(self) -> str | None:
        """Why the log proper can't be written now, if it can't."""
        return self.writers[0].problem

    @property
    def queue_length(self) -> int:
        """Lines of the log proper that wait to be written."""
        return self.writers[0].queue_length

    @property
    def debug(self) -> bool:
        """Whether debug events, which show payload, are logged."""
        return self.level == "debug"

    @property
    def threads(self) -> list[threading.Thread]:
        """The writers' threads, which live until `close`."""
        return [writer.thread for writer in self.writers]

    def configure(self, *processors: Processor) -> Any:
        """Configure structlog for the whole process to write here, and return a logger.

        `processors` run before the time is added and the line is rendered.
        """
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.format_exc_info,
                *processors,
                stamp,
                structlog.processors.JSONRenderer(serializer=render, default=repr),
            ],
            wrapper_class=OrderedLogger,
            logger_factory=lambda *_: self,
            cache_logger_on_first_use=True,
        )
        return structlog.get_logger("echo").bind()

    def conclude(self) -> None:
        """Let one more line in, the daemon's last, which always finds room."""
        self.is_concluded = True
        for writer in self.writers:
            writer.conclude()

    def reopen(self) -> None:
        """Have the log file opened again, where it is a file."""
        if self.path is not None:
            self.writers[0].reopen(self.path)

    def close(self, timeout: float) -> bool:
        """Write what is left for at most `timeout` seconds; True if nothing was lost."""
        deadline = Deadline(timeout)
        for writer in self.writers:  # all at once: one that is stuck takes no other's time
            writer.finish()
        written = [writer.close(deadline.left()) for writer in self.writers]
        return all(written)
