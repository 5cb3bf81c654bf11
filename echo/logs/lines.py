"""Events into JSON lines: one event, one line, whatever is in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from echo.limits import LOG_FIELD_CHARS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echo.events import Event

# What every line begins with.
HEAD = '{"timestamp":"'


def json_line(level: str, event: str, fields: Mapping[str, Any]) -> bytes:
    r"""Render an event, stamped with the time now; never raises, never holds a line break.

    >>> json_line("info", "session.data", {"preview": 'a\n"b"'})[40:]
    b'Z","level":"info","event":"session.data","preview":"a\\n\\"b\\""}\n'
    """
    head = {"timestamp": timestamp(), "level": level, "event": event}
    try:
        return orjson.dumps({**head, **fields}, default=repr, option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, RecursionError):  # a lone surrogate, a huge number, an odd key
        odd = {_plain(key): _plain(value) for key, value in fields.items()}
        return orjson.dumps({**head, **odd}, option=orjson.OPT_APPEND_NEWLINE)


def own_line(event: Event, **fields: Any) -> bytes:
    """Render an event of the log's own."""
    return json_line(event.level, event.name, fields)


def timestamp() -> str:
    """Give the time now: ISO 8601, UTC, always with microseconds.

    >>> len(timestamp())
    27
    """
    return datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def shorten(text: str) -> str:
    """Bound a field's length; a traceback says at its end what it is about."""
    return text if len(text) <= LOG_FIELD_CHARS else "… " + text[-LOG_FIELD_CHARS:]


def _plain(value: object) -> str:
    return ascii(value)
