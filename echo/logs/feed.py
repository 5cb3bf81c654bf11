"""Bytes of any kind into lines that a reader can take: one for one, none of them dangerous.

Whoever reads a log by lines needs to know which line of which file it was. So no line is left
out here: one that can't be passed on is replaced by a mark that says what it was.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from echo.logs.files import READ_ERRORS
from echo.logs.lines import HEAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from echo.logs.files import LogFile

# The longest line that is looked at; the daemon's own stay far below it.
LINE_BYTES = 64 * 1024
# Bytes read at once, and so about what is held.
BLOCK_BYTES = 1024 * 1024

# What a line is that is no event; `MARK` with the name stands for it.
TORN = "torn"  # a piece of an event
HUGE = "huge"  # longer than LINE_BYTES
NOT_UTF8 = "not_utf8"
FOREIGN = "foreign"  # another program's, or a traceback
KINDS = (TORN, HUGE, NOT_UTF8, FOREIGN)
MARK = "\x01"
# Never inside a valid line, so that a reader may take it for its column separator.
SEPARATOR = "\x02"
_ODD = (b"\x00", MARK.encode(), SEPARATOR.encode(), b"\r")


class Feed:
    """Gives the lines of log files, tamed, and knows where each came from.

    `first_rows` says with which line, counted through all files from 0, each file begins;
    `unfinished` holds the last lines that have no end of line.
    """

    def __init__(self, files: Sequence[LogFile]) -> None:
        self.files = files
        self.rows = 0
        self.first_rows: list[int] = []
        self.unfinished: set[int] = set()

    def __repr__(self) -> str:
        return f"<Feed {self.rows} lines of {len(self.first_rows)}/{len(self.files)} files>"

    def blocks(self) -> Iterator[bytes]:
        """Give all lines, many at once. A file that can't be read to its end has a `problem`."""
        for file in self.files:
            self.first_rows.append(self.rows)
            if file.stream is not None:
                yield from map(self._tame, self._raw(file, file.stream))

    def place(self, row: int) -> tuple[str, int]:
        """Give the file and the line in it, counted from 1."""
        index = bisect_right(self.first_rows, row) - 1
        return self.files[index].name, row - self.first_rows[index] + 1

    def _raw(self, file: LogFile, stream: BinaryIO) -> Iterator[bytes]:
        """Give whole lines, many at once."""
        rest = b""
        while block := _read(file, stream):
            block = rest + block
            end = block.rfind(b"\n") + 1
            if end:
                yield block[:end]
            # Of a line that is too long already, the rest is of no use.
            rest = block[end : end + LINE_BYTES + 1]
        if rest:
            self.unfinished.add(self.rows)
            yield rest + b"\n"

    def _tame(self, lines: bytes) -> bytes:
        if not _is_tame(lines):
            lines = b"".join(_tamed(line) + b"\n" for line in lines.split(b"\n")[:-1])
        self.rows += lines.count(b"\n")
        return lines


def _read(file: LogFile, stream: BinaryIO) -> bytes:
    try:
        return stream.read(BLOCK_BYTES)
    except READ_ERRORS as error:
        file.failed(error)
        return b""


def _is_tame(lines: bytes) -> bool:
    """Look whether a block of lines can be passed on as it is, as nearly every one can."""
    return not any(odd in lines for odd in _ODD) and _is_utf8(lines) and not _has_huge(lines)


def _has_huge(lines: bytes) -> bool:
    """Look for a line that is too long: from each end of a line, the farthest one in reach."""
    end = -1
    while len(lines) - end - 1 > LINE_BYTES:
        farther = lines.rfind(b"\n", end + 1, end + LINE_BYTES + 2)
        if farther < 0:
            return True
        end = farther
    return False


def _tamed(line: bytes) -> bytes:
    line = line.removesuffix(b"\r")
    if len(line) > LINE_BYTES:
        return _mark(line, HUGE)
    if not _is_utf8(line):
        return _mark(line, NOT_UTF8)
    return line if _is_tame(line) else _mark(line, FOREIGN)


def _mark(line: bytes, kind: str) -> bytes:
    """Stand for a line; one that begins as the daemon's own do has been damaged."""
    return (MARK + (TORN if line.startswith(HEAD.encode()) else kind)).encode()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
