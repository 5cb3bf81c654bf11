"""Events into JSON lines: one event, one line, whatever is in it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from echo.limits import LOG_FIELD_CHARS, LOG_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echo.events import Event

# What every line begins with.
HEAD = '{"timestamp":"'


def bounded_line(level: str, event: str, fields: Mapping[str, Any]) -> bytes:
    r"""Render an event in at most `LOG_LINE_BYTES`: of a text that is too long its end stays.

    >>> len(bounded_line("error", "server.error", {"error": "\\x1b" * 5000})) <= LOG_LINE_BYTES
    True
    """
    line, chars = json_line(level, event, fields), LOG_FIELD_CHARS
    while len(line) > LOG_LINE_BYTES and chars:
        line = json_line(level, event, {name: shorten(x, chars) for name, x in fields.items()})
        chars //= 2
    return line


def json_line(level: str, event: str, fields: Mapping[str, Any]) -> bytes:
    r"""Render an event, stamped with the time now; never raises, never holds a line break.

    >>> json_line("info", "session.data", {"preview": 'a\n"b"'})[40:]
    b'Z","level":"info","event":"session.data","preview":"a\\n\\"b\\""}\n'
    """
    head = {"timestamp": timestamp(), "level": level, "event": event}
    try:
        return orjson.dumps({**head, **fields}, default=repr, option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, RecursionError):  # a lone surrogate, a huge number, an odd key
        odd = {str(_plain(key)): _plain(value) for key, value in fields.items()}
        return orjson.dumps({**head, **odd}, option=orjson.OPT_APPEND_NEWLINE)


def own_line(event: Event, **fields: Any) -> bytes:
    """Render an event of the log's own."""
    return json_line(event.level, event.name, fields)


def timestamp() -> str:
    """Give the time now: ISO 8601, UTC, always with microseconds.

    >>> len(timestamp())
    27
    """
    microseconds = time.time_ns() // 1000
    return f"{_second(microseconds // 1_000_000)}.{str(microseconds)[-6:]}Z"


@lru_cache(maxsize=1)  # many lines share a second, and its text costs more than the rest
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def shorten(value: object, chars: int) -> object:
    """Bound a text to its last characters: a traceback says at its end what it is about."""
    if not isinstance(value, str) or len(value) <= chars:
        return value
    return "… " + value[-chars:]


def _plain(value: object) -> object:
    """Give what JSON can hold in a value's place."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int | float) and abs(value) < 1 << 63:
        return value
    try:
        return ascii(value)
    except Exception:  # noqa: BLE001 - somebody else's `__repr__` may raise anything
        return f"<{type(value).__name__}>"
