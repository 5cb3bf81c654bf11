"""The daemon's structlog: each event becomes one line, for every writer there is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import structlog

from echo.deadline import Deadline
from echo.logs.lines import bounded_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from echo.logs.writer import LogWriter

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class DirectLogger(structlog.make_filtering_bound_logger(0)):  # type: ignore[misc]
    """structlog's bound logger with the log in the place of its chain of processors.

    There is one thing to do with an event, which is to write its line: calling that through
    the chain takes as long again. Levels are the log's matter, as its own may change.
    """

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **fields: Any) -> None:
        self._logger.take(method_name, event, {**self._context, **fields})


class EventLog:
    """Takes structlog's events and hands the lines to the writers.

    The first of `writers` is the log proper, whose losses `dropped` counts; the others show
    the same lines elsewhere. `level` may change at any time.
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

    def __repr__(self) -> str:
        return f"<EventLog {self.level}, {self.dropped} lines dropped>"

    @property
    def dropped(self) -> int:
        """Lines of the log proper that were lost."""
        return self._writers[0].dropped

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads that write it, for somebody who looks after them."""
        return [writer._thread for writer in self._writers]

    @property
    def queue_length(self) -> int:
        """Lines of the log proper that wait to be written."""
        return self._writers[0].queue_length

    @property
    def debug(self) -> bool:
        """Whether it shows debug events, which is to say payload."""
        return self.level == "debug"

    def configure(self) -> Any:
        """Make this the target of structlog in the whole process, and give a logger."""
        structlog.configure(
            processors=[], wrapper_class=DirectLogger, logger_factory=lambda *_: self
        )
        return structlog.get_logger("echo").bind()

    def take(self, method: str, event: object, fields: Mapping[str, Any]) -> None:
        """Write one event, by the name of the logger's method, if the level has room for it."""
        if LEVELS.get(method, 0) >= LEVELS[self.level]:
            self._write(method, str(event), fields)

    def _write(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        with self._lock:  # so that the lines are in the order of their times
            line = bounded_line(level, event, fields)
            for writer in self._writers:
                writer.put(line)

    def reopen(self) -> None:
        """Open the log file anew, where it is a file."""
        if self.path is not None:
            self._writers[0].reopen(self.path)

    def close(self, timeout: float) -> bool:
        """Write what is left for at most `timeout` seconds; True if nothing was lost."""
        deadline = Deadline(timeout)
        for writer in self._writers:  # all at once: one that is stuck takes no other's time
            writer.finish()
        written = [writer.close(deadline.left()) for writer in self._writers]
        return all(written)
