"""Events into JSON lines: one event, one line, whatever is in it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from echo.limits import LOG_FIELD_CHARS, LOG_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from echo.events import Event

# What every line begins with.
HEAD = '{"timestamp":"'


def stamp(_logger: object, _method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Add the time to an event, as a processor of structlog; time, level and event come first.

    >>> list(stamp(None, "info", {"reason": "eof", "level": "info", "event": "session.closed"}))
    ['timestamp', 'level', 'event', 'reason']
    """
    stamped = {"timestamp": "", "level": "", "event": "", **fields}
    stamped["timestamp"] = timestamp()
    return stamped


def render(fields: Mapping[str, Any], default: Callable[[Any], Any] = repr) -> bytes:
    r"""Render an event as one JSON line of at most `LOG_LINE_BYTES`; never raises.

    `default` renders values that JSON doesn't know. Of a text that is too long, its end stays.
    Where that is not enough, only the fields of `stamp` stay.

    >>> render({"event": "session.data", "preview": 'a\n"b"'})
    b'{"event":"session.data","preview":"a\\n\\"b\\""}\n'
    >>> len(render({"error": "\\x1b" * 5000})) <= LOG_LINE_BYTES
    True
    """
    line, chars = _json_line(fields, default), LOG_FIELD_CHARS
    while len(line) > LOG_LINE_BYTES and chars:
        fields = {name: shorten(value, chars) for name, value in fields.items()}
        line = _json_line(fields, default)
        chars //= 2
    if len(line) > LOG_LINE_BYTES:
        head = {name: fields[name] for name in ("timestamp", "level", "event") if name in fields}
        line = _json_line(head, default)
    return line


def own_line(event: Event, **fields: Any) -> bytes:
    """Render an event of the log's own, with the time now."""
    return render(stamp(None, event.level, {"level": event.level, "event": event.name, **fields}))


def timestamp() -> str:
    """Return the time now: ISO 8601, UTC, always with microseconds.

    structlog's `TimeStamper` leaves the microseconds out where they are 0, and takes three times
    as long.

    >>> len(timestamp())
    27
    """
    microseconds = time.time_ns() // 1000
    return f"{_second(microseconds // 1_000_000)}.{str(microseconds)[-6:]}Z"


@lru_cache(maxsize=1)  # many lines share a second, and its text costs more than the rest
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def shorten(value: object, chars: int) -> object:
    """Return a text's last characters: a traceback says at its end what it is about."""
    if not isinstance(value, str) or len(value) <= chars:
        return value
    return "… " + value[-chars:]


def _json_line(fields: Mapping[str, Any], default: Callable[[Any], Any]) -> bytes:
    try:
        return orjson.dumps(fields, default=default, option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, RecursionError):  # a lone surrogate, a huge number, an odd key
        odd = {str(_plain(key)): _plain(value) for key, value in fields.items()}
        return orjson.dumps(odd, option=orjson.OPT_APPEND_NEWLINE)


def _plain(value: object) -> object:
    """Return what JSON can hold in a value's place."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int | float) and abs(value) < 1 << 63:
        return value
    try:
        return ascii(value)
    except Exception:  # noqa: BLE001 - any `__repr__` may raise anything
        return f"<{type(value).__name__}>"
