"""The lines of log files, however they got here: the one place that makes lines of bytes.

A line is an event, or it is not. Whatever a shipper has put around an event is taken off: a byte
order mark, a carriage return, a prefix as `docker compose logs`, `kubectl logs --timestamps` and
journald write it, an object as the container runtime's own file and `journalctl -o json` have it.
"""

from __future__ import annotations

import heapq
import re
from bisect import bisect_right
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, NamedTuple

import orjson

from echo.limits import MIB
from echo.logs.files import STDIN
from echo.logs.lines import HEAD as _HEAD_TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from echo.logs.files import LogFile

# The longest line that is looked at; the daemon's own stay far below it.
LINE_BYTES = 64 * 1024
# Bytes read at once, and so about what is held.
BLOCK_BYTES = MIB
# A file is read no further once this much of it has gone by without an event: /dev/zero never
# ends, and a small .gz may hold lines without number.
NOISE_BYTES = 1024 * MIB
NOISE_LINES = 5_000_000

# What a line is that is no event; `MARK` with the name replaces it.
TORN = "torn"  # a piece of an event
HUGE = "huge"  # longer than LINE_BYTES
NOT_UTF8 = "not_utf8"
FOREIGN = "foreign"  # another program's, or a traceback
PART = "part"  # the runtime has split an event: it is whole in a later line
KINDS = (TORN, HUGE, NOT_UTF8, FOREIGN)
MARK = "\x01"
# Never inside a valid line, so that a reader may take it for its column separator.
SEPARATOR = "\x02"

HEAD = _HEAD_TEXT.encode()
_BOM = b"\xef\xbb\xbf"
_UNSAFE = (b"\x00", MARK.encode(), SEPARATOR.encode(), b"\r")
# A prefix has none of the characters that a piece of an event would have, and ends with a space
# or another sign, or with the end of a colour.
_PREFIX = re.compile(
    rb'^(?:[^{}"\n\x00-\x02]{0,1000}(?:[^\w{}"\n\x00-\x02]|\x1b\[[\d;]{0,20}m))'
    rb"(?=" + re.escape(HEAD) + rb")",
    re.MULTILINE,
)
# What a runtime of containers begins its lines with: P is a part, F the last or the only one.
_CRI = re.compile(rb"\d{4}-\S{1,40} (?:stdout|stderr) ([PF])(?::\S+)? ")
# Where others put a line into an object of their own.
_ENVELOPE_KEYS = ("log", "MESSAGE", "message")
_ENVELOPE = re.compile(rb'"(?:log|MESSAGE|message)"\s*:')


class Line(NamedTuple):
    """A line without what was around it; `prefix` is what stood before the event."""

    prefix: bytes
    text: bytes


class Unwrapper:
    """Takes lines out of what shippers put around them. Each file has its own: it joins parts."""

    def __init__(self) -> None:
        self._parts = b""

    def __call__(self, line: bytes) -> Line | None:
        r"""Return what is in a line without its end; None for a part that a later line completes.

        >>> unwrap = Unwrapper()
        >>> unwrap(b'echod-1  | {"timestamp":"2026')
        Line(prefix=b'echod-1  | ', text=b'{"timestamp":"2026')
        >>> unwrap(b'{"log":"a line\\n","stream":"stdout"}').text
        b'a line'
        """
        line = line.removesuffix(b"\r").removeprefix(_BOM)
        if line.startswith(HEAD):
            return self._joined(b"", line)
        if line.startswith(b"{") and _ENVELOPE.search(line):
            return self._from_envelope(line)
        if match := _CRI.match(line):
            rest = line[match.end() :]
            if match[1] == b"P":
                self._keep(rest)
                return None
            return self._joined(match[0], rest)
        if match := _PREFIX.match(line):
            return self._joined(match[0], line[match.end() :])
        return Line(b"", line)

    def _from_envelope(self, line: bytes) -> Line | None:
        try:
            fields = orjson.loads(line)
            text = next(fields[key] for key in _ENVELOPE_KEYS if key in fields)
            # journalctl writes what isn't UTF-8 as a list of bytes.
            data = bytes(text) if isinstance(text, list) else text.encode()
        except (orjson.JSONDecodeError, StopIteration, AttributeError, TypeError, ValueError):
            return Line(b"", line)
        if "log" in fields and not data.endswith(b"\n"):
            self._keep(data)
            return None
        return self._joined(b"", data.rstrip(b"\r\n"))

    def _keep(self, data: bytes) -> None:
        self._parts = (self._parts + data)[: LINE_BYTES + 1]

    def _joined(self, prefix: bytes, text: bytes) -> Line:
        parts, self._parts = self._parts, b""
        # A line of its own where its beginning has been lost, or its end.
        return Line(prefix, parts + text if parts and not text.startswith(HEAD) else text)


def read_blocks(file: LogFile, *, at_once: bool = False) -> Iterator[bytes]:
    """Return whole lines, many at once; the last has no end where the file's has none.

    A file that can't be read to its end, or holds no event for too long, says so in `problem`.
    """
    rest = b""
    noise_bytes = noise_lines = 0
    while block := file.read(BLOCK_BYTES, at_once=at_once):
        noise_bytes, noise_lines = noise_bytes + len(block), noise_lines + block.count(b"\n")
        if b'event"' in block or b'event\\"' in block:
            noise_bytes = noise_lines = 0
        block = rest + block
        end = block.rfind(b"\n") + 1
        if end:
            yield block[:end]
        # Of a line that is too long already, the rest is of no use.
        rest = block[end : end + LINE_BYTES + 1]
        if noise_bytes > NOISE_BYTES or (noise_lines > NOISE_LINES and not _is_noise(block)):
            file.problem = (
                f"no event in the last {noise_bytes // MIB:,} MiB of it: not read further"
            )
            return
    if rest:
        yield rest


def read_lines(file: LogFile, *, at_once: bool = False) -> Iterator[Line]:
    """Return the lines of a file; of an overlong one the beginning.

    `at_once` is for a pipe, whose lines are wanted as they come.
    """
    unwrap = Unwrapper()
    for block in read_blocks(file, at_once=at_once or file.name == STDIN):
        for line in block.removesuffix(b"\n").split(b"\n"):
            if found := unwrap(line[: LINE_BYTES + 1]):
                yield Line(found.prefix, found.text[:LINE_BYTES])


def merged_by_time(files: Sequence[LogFile]) -> Iterator[Line]:
    """Return the lines of several logs as one, in the order of their times; each is read as it is.

    A line that has no time stays behind the one before it.
    """
    logs = [_stamped(list(group)) for _, group in groupby(files, attrgetter("log"))]
    return map(itemgetter(1), heapq.merge(*logs, key=itemgetter(0)))


def _stamped(files: Iterable[LogFile]) -> Iterator[tuple[bytes, Line]]:
    stamp = b""
    for file in files:
        for line in read_lines(file):
            if line.text.startswith(HEAD):
                stamp = line.text[len(HEAD) : len(HEAD) + 27]
            yield stamp, line


class Piece(NamedTuple):
    """Lines that follow each other in a file: the first one's row, and its number in the file."""

    first_row: int
    first_line: int
    file: LogFile


class SanitizedLines:
    """The lines of files for a database: UTF-8, bounded, and a row for each line.

    What is no such line is replaced by a mark, so that each row tells its line. A whole block of
    lines without any event is one mark, and `skipped` counts its other lines. `unfinished` holds
    the rows of last lines that have no end.
    """

    def __init__(self, files: Sequence[LogFile]) -> None:
        self.files = files
        self.rows = self.skipped = 0
        self.pieces: list[Piece] = []
        self.unfinished: set[int] = set()

    def __repr__(self) -> str:
        return f"<SanitizedLines {self.rows} rows of {len(self.files)} files>"

    def blocks(self) -> Iterator[bytes]:
        """Return all lines, many at once."""
        for file in self.files:
            self.pieces.append(Piece(self.rows, 1, file))
            unwrap = Unwrapper()
            for block in read_blocks(file):
                if not block.endswith(b"\n"):
                    self.unfinished.add(self.rows + block.count(b"\n"))
                    block += b"\n"
                if len(block) > BLOCK_BYTES // 2 and _is_noise(block):
                    yield self._skip(block)
                    continue
                lines = _sanitized(block, unwrap)
                self.rows += lines.count(b"\n")
                yield lines

    def place(self, row: int) -> tuple[str, int]:
        """Return the file of a row and its line, counted from 1."""
        piece = self._piece(row)
        return piece.file.name, row - piece.first_row + piece.first_line

    def log_of(self, row: int) -> str:
        """Return the log that a row stands in."""
        return self._piece(row).file.log

    def _piece(self, row: int) -> Piece:
        return self.pieces[bisect_right(self.pieces, row, key=attrgetter("first_row")) - 1]

    def _skip(self, block: bytes) -> bytes:
        _, first_line, file = self.pieces[-1]
        lines = block.count(b"\n")
        self.skipped += lines - 1
        line = first_line + self.rows - self.pieces[-1].first_row
        self.rows += 1
        self.pieces.append(Piece(self.rows, line + lines, file))
        return _mark(b"", FOREIGN) + b"\n"


def _is_noise(block: bytes) -> bool:
    """Return whether a block is lines of text that can't be events or pieces of one."""
    text = b'"' not in block and b"{\n" not in block and _is_utf8(block)
    return text and not _has_huge(block)


def _sanitized(block: bytes, unwrap: Unwrapper) -> bytes:
    """Clean a block of lines, as a whole where it has prefixes at the most."""
    lines = block.count(b"\n")
    plain = block.replace(b"\r\n", b"\n")
    if _events(plain) < lines:
        plain = _PREFIX.sub(b"", plain)
    if _events(plain) == lines and _is_safe(plain):
        return plain
    return b"".join(_clean(line, unwrap) + b"\n" for line in block.split(b"\n")[:-1])


def _events(lines: bytes) -> int:
    return lines.count(b"\n" + HEAD) + lines.startswith(HEAD)


def _is_safe(lines: bytes) -> bool:
    return not any(odd in lines for odd in _UNSAFE) and _is_utf8(lines) and not _has_huge(lines)


def _has_huge(lines: bytes) -> bool:
    """Return whether a line is too long: look from each line's end for the farthest in reach."""
    end = -1
    while len(lines) - end - 1 > LINE_BYTES:
        farther = lines.rfind(b"\n", end + 1, end + LINE_BYTES + 2)
        if farther < 0:
            return True
        end = farther
    return False


def _clean(line: bytes, unwrap: Unwrapper) -> bytes:
    if len(line) > LINE_BYTES + 1:
        return _mark(line, HUGE)
    found = unwrap(line)
    if found is None:
        return _mark(b"", PART)
    text = found.text
    if len(text) > LINE_BYTES:
        return _mark(text, HUGE)
    if not _is_utf8(text):
        return _mark(text, NOT_UTF8)
    safe = b"\n" not in text and not any(odd in text for odd in _UNSAFE)
    return text if safe else _mark(text, FOREIGN)


def _mark(line: bytes, kind: str) -> bytes:
    """Replace a line; one that begins as the daemon's own do has been damaged."""
    return (MARK + (TORN if line.startswith(HEAD) else kind)).encode()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
