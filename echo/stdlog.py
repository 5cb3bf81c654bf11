"""Events for a `logging.Logger` of the standard library, which takes no fields of its own."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    StandardLogger = logging.Logger | logging.LoggerAdapter[Any]

# Attributes of a record that a field may not replace.
_RESERVED = {*vars(logging.makeLogRecord({})), "message", "asctime"}


def event_logger(log: Any) -> Any:
    """Return `log` as a logger that takes events: a standard one is wrapped, others do already.

    >>> import sys
    >>> log = logging.Logger("echo")
    >>> log.addHandler(logging.StreamHandler(sys.stdout))
    >>> event_logger(log).info("session.closed", reason="eof", received_bytes=5)
    session.closed reason="eof" received_bytes=5
    """
    standard = isinstance(log, logging.Logger | logging.LoggerAdapter)
    return EventLogger(log) if standard else log


class EventLogger:
    """Hands events to a standard logger, under its levels, handlers and formatters.

    The message is the event with its fields as JSON, on one line whatever they hold. The record
    has `event` and each field as an attribute, for formatters that write them by themselves.
    """

    def __init__(self, logger: StandardLogger) -> None:
        self.logger = logger

    def __repr__(self) -> str:
        return f"<EventLogger {self.logger!r}>"

    def debug(self, event: str, **fields: Any) -> None:
        """Log a debug event."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log an event."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log a warning."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log an error."""
        self._log(logging.ERROR, event, fields)

    def _log(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if not self.logger.isEnabledFor(level):
            return
        pairs = [f"{name}={json.dumps(value, default=repr)}" for name, value in fields.items()]
        extra = {name: value for name, value in fields.items() if name not in _RESERVED}
        # Past this module, `emit` included: the record names what has logged the event.
        self.logger.log(
            level, "%s", " ".join([event, *pairs]), extra={"event": event, **extra}, stacklevel=4
        )
