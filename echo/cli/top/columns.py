"""The columns of `echod top`: what each shows, how wide it is, where it is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from echo.escape import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from echo.client.live import EndedSession, LiveSession

_UNITS = "KMGTPE"
_DAY = 86400
# What is kept of the end of a text that is too long: of a peer, its port.
_TAIL = 6


def compact(count: float | None) -> str:
    """Write a number in at most five characters, thousands as K, and so on.

    >>> [compact(n) for n in (None, 0, 999, 1000, 123_456, 999_999, 5_000_000_000)]
    ['-', '0', '999', '1.0K', '123K', '1.0M', '5.0G']
    """
    if count is None:
        return "-"
    value, thousands = float(count), 0
    while round(value) >= 1000 and thousands < len(_UNITS):
        value /= 1000
        thousands += 1
    if not thousands:
        return str(round(value))
    digits = 1 if round(value, 1) < 100 else 0
    return f"{value:.{digits}f}{_UNITS[thousands - 1]}"


def clock(seconds: float) -> str:
    """Write a time in at most seven characters.

    >>> clock(5), clock(3723), clock(100_000)
    ('0:05', '1:02:03', '1d03h')
    """
    whole = int(seconds)
    if whole >= _DAY:
        return f"{whole // _DAY}d{whole % _DAY // 3600:02}h"
    minutes = f"{whole // 60 % 60}:{whole % 60:02}"
    return f"{whole // 3600}:{minutes:0>5}" if whole >= 3600 else minutes


def fitted(text: str, width: int) -> str:
    """Escape a text and fit it to a width; a text that is too long loses its middle.

    >>> fitted("[2001:db8::1:2:3:4]:40000", 16), fitted("a", 3)
    ('[2001:db8…:40000', 'a  ')
    """
    text = escape(text)
    if len(text) > width:
        text = f"{text[: width - 1 - _TAIL]}…{text[-_TAIL:]}"
    return f"{text[:width]:<{width}}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `sort` is its name in `SORT_KEYS`; numbers stand on the right."""

    sort: str
    title: str
    width: int
    is_number: bool
    text: Callable[[Any], str]

    def head(self, mark: str) -> str:
        """Give its title with a mark, as wide as it is."""
        title = self.title + mark
        return f"{title:>{self.width}}" if self.is_number else f"{title:<{self.width}}"

    def cell(self, row: LiveSession | EndedSession) -> str:
        """Give what it shows of a session."""
        text = self.text(row)
        return f"{text:>{self.width}}" if self.is_number else fitted(text, self.width)


COLUMNS = (
    Column("peer", "PEER", 25, False, lambda session: session.peer),
    Column("fd", "FD", 5, True, lambda session: str(session.fd)),
    Column("state", "STATE", 8, False, lambda session: session.state),
    Column("time", "TIME", 7, True, lambda session: clock(session.duration_s)),
    Column("received", "RECV", 7, True, lambda session: compact(session.received_bytes)),
    Column("sent", "SENT", 7, True, lambda session: compact(session.sent_bytes)),
    Column("received_rate", "RECV/s", 7, True, lambda session: compact(session.received_rate)),
    Column("sent_rate", "SENT/s", 7, True, lambda session: compact(session.sent_rate)),
    Column("thread", "THREAD", 12, False, lambda session: session.thread),
    Column("id", "ID", 14, False, lambda session: session.session_id),
    Column("via", "VIA", 35, False, lambda session: session.via),
)


# Those of sessions that are over, which are not sorted: the newest is the first.
ENDED_COLUMNS = (
    COLUMNS[0],
    Column("", "REASON", 15, False, lambda ended: ended.reason),
    *(column for column in COLUMNS if column.sort in ("time", "received", "sent", "id")),
)


def fitting(width: int, columns: tuple[Column, ...] = COLUMNS) -> tuple[Column, ...]:
    """Give the columns for which there is room; the first one, at least."""
    count, used = 1, columns[0].width
    while count < len(columns) and used + 1 + columns[count].width <= width:
        used += 1 + columns[count].width
        count += 1
    return columns[:count]
