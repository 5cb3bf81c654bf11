"""Events into JSON lines: one event, one line, whatever is in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from echo.limits import LOG_FIELD_CHARS, LOG_LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from echo.events import Event

# What every line begins with.
HEAD_FIELDS = ("timestamp", "level", "event")
OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
HEAD = '{"timestamp":"'


def stamp(_logger: object, _method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Add the time to an event, as a processor of structlog; time, level and event come first.

    >>> list(stamp(None, "info", {"reason": "eof", "level": "info", "event": "session.closed"}))
    ['timestamp', 'level', 'event', 'reason']
    """
    stamped = {"timestamp": "", "level": "", "event": "", **fields}
    stamped["timestamp"] = _now()
    return stamped


def render(
    fields: Mapping[str, Any],
    default: Callable[[Any], Any] = repr,
    chars: int = LOG_FIELD_CHARS,
) -> bytes:
    r"""Render an event as one JSON line of at most `LOG_LINE_BYTES`; never raises.

    `default` renders values that JSON doesn't know. In a line that is too long, texts keep their
    last `chars` characters, and half of that until it fits. Where that is not enough, only the
    fields of `stamp` stay.

    >>> render({"event": "session.data", "preview": 'a\n"b"'})
    b'{"event":"session.data","preview":"a\\n\\"b\\""}\n'
    >>> len(render({"error": "\\x1b" * 5000})) <= LOG_LINE_BYTES
    True
    """
    try:
        line = orjson.dumps(fields, default=default, option=OPTIONS)
    except (TypeError, RecursionError):  # a lone surrogate, a huge number, an odd key
        fields = {str(_plain(key)): _plain(value) for key, value in fields.items()}
        line = orjson.dumps(fields, option=OPTIONS)
    if len(line) <= LOG_LINE_BYTES:
        return line
    if chars:
        fields = {name: shorten(value, chars) for name, value in fields.items()}
    else:
        # Short by now, unless an event is no text.
        head = {name: fields.get(name) for name in HEAD_FIELDS}
        fields = {name: x for name, x in head.items() if isinstance(x, str | datetime)}
    return render(fields, default, chars // 2)


def own_line(event: Event, **fields: Any) -> bytes:
    """Render an event of the log's own, with the time now."""
    return render(stamp(None, event.level, {"level": event.level, "event": event.name, **fields}))


def _now() -> datetime | str:
    """Return the time now, which orjson writes in UTC and with microseconds unless they are 0.

    structlog's `TimeStamper` leaves these out as well, and takes eight times as long.
    """
    now = datetime.now(UTC)
    return now if now.microsecond else f"{now:%Y-%m-%dT%H:%M:%S}.000000Z"


def shorten(value: object, chars: int) -> object:
    """Return a text's last characters: a traceback says at its end what it is about."""
    if not isinstance(value, str) or len(value) <= chars:
        return value
    return "… " + value[-chars:]


def _plain(value: object) -> object:
    """Return what JSON can hold in a value's place."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int | float) and abs(value) < 1 << 63:
        return value
    try:
        return ascii(value)
    except Exception:  # noqa: BLE001 - any `__repr__` may raise anything
        return f"<{type(value).__name__}>"
