"""One JSON line as a person reads it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from echo.escape import escape

if TYPE_CHECKING:
    from structlog.dev import ConsoleRenderer

# What structlog takes for text without looking.
_TEXTS = frozenset({"timestamp", "level", "event", "logger", "logger_name", "stack", "exception"})


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
    calm = {_calm_name(name): _calm(name, value) for name, value in fields.items()}
    shown = str(_renderer(colors)(None, "", calm))
    return " ".join(shown.split("\n")).rstrip()  # structlog begins a line for a traceback


def parsed(line: bytes) -> dict[str, Any] | None:
    """Give the fields of an event; None for a line that is none.

    >>> parsed(b'{"event":"log.dropped","count":3}'), parsed(b"torn")
    ({'event': 'log.dropped', 'count': 3}, None)
    """
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return fields if isinstance(fields, dict) and "event" in fields else None


def _calm_name(name: str) -> str:
    return "exc_info_" if name == "exc_info" else escape(name)  # structlog would act on it


def _calm(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, int | float | None) and name not in _TEXTS:
        return value
    try:
        return escape(orjson.dumps(value).decode())
    except TypeError:  # deeper than it can be written
        return "…"


@cache
def _renderer(colors: bool) -> ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False, pad_event_to=18)
