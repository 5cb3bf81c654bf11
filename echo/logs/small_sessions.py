"""Sessions of few bytes, such as health checks, for the commands that read a log line by line.

Only its last line says how much a session has received. A log that is read can be read twice:
`small_sessions` finds the sessions to leave out beforehand. A log that is followed can't: there
`HeldSessions` holds a session's lines back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from echo.events import SERVER_STARTED, SESSION_CLOSED, SESSION_DATA
from echo.logs.filters import session_of
from echo.logs.pretty import parsed
from echo.logs.reader import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from echo.logs.files import LogFile
    from echo.logs.filters import Filter
    from echo.logs.reader import Line

# Lines that are held back at the most, and large sessions that are remembered.
MOST_HELD = 100_000
_CLOSED = SESSION_CLOSED.name.encode()


def small_sessions(files: Sequence[LogFile], wanted: Filter) -> set[str]:
    """Return the ids of the sessions that `min_bytes` leaves out; the files can be read again.

    A million ids take 120 MB. `OSError` where the temporary folder has no room for a pipe's data.
    """
    small: set[str] = set()
    if not wanted.min_bytes:
        return small
    for file in files:
        file.keep()
        for line in read_lines(file):
            fields = parsed(line.text) if _CLOSED in line.text else None
            session = session_of(fields) if fields and wanted.is_small(fields) else None
            if session is not None:
                small.add(session)
        file.rewind()
    return small


@dataclass
class _Held:
    """The lines of one session, and the bytes that they say it has received."""

    lines: list[Line] = field(default_factory=list)
    received: int = 0


class HeldSessions:
    """Holds back each session's lines of one log until it has received `min_bytes`, or ends.

    A session that ends with fewer is left out. Once more than `MOST_HELD` lines are held back, the
    sessions that have waited longest are let through.
    """

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._held: dict[str, _Held] = {}  # by session, the oldest first
        self._lines = 0  # that are held in all
        self._large: set[str] = set()  # open sessions whose lines are let through

    def __repr__(self) -> str:
        return f"<HeldSessions {self._lines} lines of {len(self._held)} sessions>"

    def after(
        self, line: Line, fields: Mapping[str, Any] | None, *, matches: bool
    ) -> Iterator[Line]:
        """Return the lines that are to be shown after the log's next one has been read.

        `matches` says whether the line itself is wanted, whatever its session's size.
        """
        lines = [line] if matches else []
        session = None if fields is None else session_of(fields)
        if fields is None or session is None:
            if fields and fields["event"] == SERVER_STARTED.name:
                # What an earlier daemon has left open was cut by a crash: it will have no end.
                yield from self.rest()
            yield from lines
        elif fields["event"] == SESSION_CLOSED.name:
            earlier = self._take(session)
            if session in self._large or not self._wanted.is_small(fields):
                yield from earlier
                yield from lines
            self._large.discard(session)
        elif session in self._large:
            yield from lines
        else:
            yield from self._hold(session, lines, fields)

    def rest(self) -> Iterator[Line]:
        """Return the lines of the sessions that have not ended, and will not."""
        for session in list(self._held):
            yield from self._take(session)
        self._large.clear()

    def _hold(
        self, session: str, lines: Sequence[Line], fields: Mapping[str, Any]
    ) -> Iterator[Line]:
        held = self._held.setdefault(session, _Held())
        held.lines += lines
        self._lines += len(lines)
        size = fields.get("bytes")
        if fields["event"] == SESSION_DATA.name and isinstance(size, int):
            held.received += size
        if held.received >= self._wanted.min_bytes:
            yield from self._let_through(session)
        while self._lines > MOST_HELD or len(self._held) > MOST_HELD:
            yield from self._let_through(next(iter(self._held)))

    def _let_through(self, session: str) -> list[Line]:
        if len(self._large) < MOST_HELD:
            self._large.add(session)
        return self._take(session)

    def _take(self, session: str) -> list[Line]:
        held = self._held.pop(session, None)
        lines = held.lines if held else []
        self._lines -= len(lines)
        return lines
