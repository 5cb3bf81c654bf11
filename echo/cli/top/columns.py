"""The columns of `echod top`: what each shows, how wide it is, which of them fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from echo.escape import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echo.client.snapshot import EndedSession, LiveSession

_UNITS = "KMGTPE"
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# What is kept of the end of a text that is too long: of a peer, its port.
_TAIL = 6
# The longest peer: an IPv6 address in brackets, and a port.
_PEER_CHARS = 47
_LEAST_CHARS = 8


def compact(count: float | None) -> str:
    """Return a number in at most five characters, thousands as K, and so on.

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
    """Return a time in at most five characters, its two largest units.

    >>> clock(5), clock(754), clock(3723), clock(100_000), clock(10_000_000)
    ('0:05', '12:34', '1h02', '1d03h', '115d')
    """
    whole = int(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE}:{whole % _MINUTE:02}"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}"
    days = whole // _DAY
    return f"{days}d{whole % _DAY // _HOUR:02}h" if days < 10 else f"{days}d"


def fitted(text: str, width: int) -> str:
    """Return a text escaped and as wide as `width`; one that is too long loses its middle.

    >>> fitted("[2001:db8::1:2:3:4]:40000", 16), fitted("a", 3)
    ('[2001:db8…:40000', 'a  ')
    """
    text = escape(text)
    if len(text) > width:
        text = f"{text[: width - 1 - _TAIL]}…{text[-_TAIL:]}"
    return f"{text[:width]:<{width}}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `sort` is its name in `SORT_KEYS`; numbers are aligned to the right."""

    sort: str
    title: str
    width: int
    is_number: bool
    text: Callable[[Any], str]

    def head(self, width: int, mark: str) -> str:
        """Return the title as wide as the column and the gap before it, which has the mark."""
        if self.is_number:
            return f"{mark + self.title:>{width + 1}}"
        return f" {self.title + mark:<{width}}"

    def cell(self, row: LiveSession | EndedSession, width: int) -> str:
        """Return what it shows of a session, in this width."""
        text = self.text(row)
        return f"{text:>{width}}" if self.is_number else fitted(text, width)


# Up to SENT/s they fit into 80 columns.
COLUMNS = (
    Column("peer", "PEER", 21, False, lambda session: session.peer),
    Column("fd", "FD", 5, True, lambda session: str(session.fd)),
    Column("state", "STATE", 20, False, lambda session: session.state),
    Column("time", "TIME", 5, True, lambda session: clock(session.duration_s)),
    Column("received", "RECV", 5, True, lambda session: compact(session.received_bytes)),
    Column("sent", "SENT", 5, True, lambda session: compact(session.sent_bytes)),
    Column("received_rate", "RECV/s", 6, True, lambda session: compact(session.received_rate)),
    Column("sent_rate", "SENT/s", 6, True, lambda session: compact(session.sent_rate)),
    Column("thread", "THREAD", 10, True, lambda session: session.thread),
    Column("id", "ID", 14, False, lambda session: session.session_id),
    Column("via", "VIA", 35, False, lambda session: session.via),
)

# The sessions that have ended are not sorted: the newest is the first.
ENDED_COLUMNS = (
    COLUMNS[0],
    Column("", "REASON", 15, False, lambda ended: ended.reason),
    *(column for column in COLUMNS if column.sort in ("time", "received", "sent", "id")),
)


def fitting(columns: Sequence[Column], width: int, left: int = 0) -> list[tuple[Column, int]]:
    """Return the columns that fit into `width`, each with its own.

    The first one is always there, `left` of the others are scrolled away. The first takes the
    room that is left, up to the longest peer, and shrinks where no other would fit.
    """
    first, used, shown = columns[0], columns[0].width, []
    for column in columns[1 + left :]:
        if used + 1 + column.width > width:
            break
        used += 1 + column.width
        shown.append((column, column.width))
    if not shown and width > 2 * _LEAST_CHARS and left < len(columns) - 1:
        column = columns[1 + left]
        room = max(_LEAST_CHARS, width - 1 - column.width)
        return [(first, room), (column, width - 1 - room)]
    return [(first, min(_PEER_CHARS, first.width + max(0, width - used))), *shown]


def hidden_before(columns: Sequence[Column], width: int) -> int:
    """Return how many columns are scrolled away where the last one is the last that fits."""
    left = 0
    while left < len(columns) - 2 and fitting(columns, width, left)[-1][0] is not columns[-1]:
        left += 1
    return left
