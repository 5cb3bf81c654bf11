"""One JSON line as a person reads it."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from echo.escape import escape

if TYPE_CHECKING:
    from structlog.dev import ConsoleRenderer

    from echo.logs.reader import Line

# Fields that structlog expects to be text.
_TEXTS = frozenset({"timestamp", "level", "event", "logger", "logger_name", "stack", "exception"})

# What `docker compose logs` colours the names of services with.
_COLORS = re.compile(rb"\x1b\[[\d;]*m")


def pretty(line: bytes, *, colors: bool) -> str:
    r"""Return a line of the log as a person reads it; a line that is no event is only escaped.

    >>> pretty(b'{"timestamp":"2026-01-31T10:00:00.000001Z","level":"info",'
    ...        b'"event":"session.closed","reason":"eof"}', colors=False)
    '2026-01-31T10:00:00.000001Z [info     ] session.closed     reason=eof'
    >>> pretty(b"torn \x1b[2J", colors=False)
    'torn \\x1b[2J'
    """
    fields = parsed(line)
    if fields is None:
        return escape(line.decode("utf-8", "backslashreplace").rstrip("\r\n"))
    escaped = {_escaped_name(name): _escaped(name, value) for name, value in fields.items()}
    shown = str(_renderer(colors)(None, "", escaped))
    return " ".join(shown.split("\n")).rstrip()  # structlog begins a line for a traceback


def pretty_line(line: Line, *, colors: bool) -> str:
    """Return a line as a person reads it, behind what a shipper has put before the event."""
    prefix = _COLORS.sub(b"", line.prefix).decode("utf-8", "backslashreplace")
    return escape(prefix) + pretty(line.text, colors=colors)


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return the fields of an event; None for a line that is none.

    >>> parsed(b'{"event":"log.dropped","count":3}'), parsed(b"torn")
    ({'event': 'log.dropped', 'count': 3}, None)
    """
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return fields if isinstance(fields, dict) and "event" in fields else None


class _Escaped(str):
    """Text whose control characters are escaped; structlog quotes it without a second escape."""

    __slots__ = ()

    def __repr__(self) -> str:
        return super().__repr__().replace("\\\\", "\\")


def _escaped_name(name: str) -> str:
    return "exc_info_" if name == "exc_info" else escape(name)  # structlog would act on it


def _escaped(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _Escaped(escape(value))
    if isinstance(value, int | float | None) and name not in _TEXTS:
        return value
    try:
        return escape(orjson.dumps(value).decode())
    except TypeError:  # deeper than it can be written
        return "…"


@cache
def _renderer(colors: bool) -> ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False, pad_event_to=18)
