"""Lines as they pass by: from files in the order of their times, and from those being written."""

from __future__ import annotations

import heapq
import os
from contextlib import suppress
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from echo.logs.feed import BLOCK_BYTES, LINE_BYTES
from echo.logs.files import READ_ERRORS
from echo.logs.lines import HEAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import BinaryIO

    from echo.logs.files import LogFile

_STAMP = slice(len(HEAD), len(HEAD) + 27)
# Where following begins: at the most this far before the end.
TAIL_BYTES = 1024 * 1024


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    r"""Give the lines of a log, without their ends; of an overlong one only the beginning.

    >>> import io
    >>> list(lines_of(io.BytesIO(b'{"event":1}\n\n{"torn')))
    [b'{"event":1}', b'', b'{"torn']
    """
    while line := stream.readline(LINE_BYTES):
        whole = line.endswith(b"\n")
        yield line.rstrip(b"\r\n")
        while not whole:
            rest = stream.readline(LINE_BYTES)
            whole = not rest or rest.endswith(b"\n")


def in_time(files: Sequence[LogFile]) -> Iterator[bytes]:
    """Give the lines of several logs as one, merged by their times; each is read as it is.

    A line that has no time stays behind the one before it. A file that can't be read to its end
    says so in its `problem`.
    """
    logs = [_stamped(list(group)) for _, group in groupby(files, attrgetter("log"))]
    return map(itemgetter(1), heapq.merge(*logs, key=itemgetter(0)))


def _stamped(files: Iterable[LogFile]) -> Iterator[tuple[bytes, bytes]]:
    stamp = b""
    for file in files:
        try:
            for line in lines_of(file.stream) if file.stream else ():
                stamp = line[_STAMP] if line.startswith(HEAD.encode()) else stamp
                yield stamp, line
        except READ_ERRORS as error:
            file.failed(error)


class Follower:
    """Reads a log while it is written, through its turns. Each `read` gives what is new.

    Begins with what stands within `TAIL_BYTES` of the end. The file need not be there yet.
    Holds a descriptor, and while it catches up one for each turn; lives until `close`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._streams: list[BinaryIO] = []  # what is read, and what the log has become since
        self._rest = b""
        with suppress(FileNotFoundError):
            self._streams.append(path.open("rb"))
            self._go_to_tail(self._streams[0])

    def __repr__(self) -> str:
        return f"<Follower {self.path}>"

    @property
    def found(self) -> bool:
        """Whether there is a file yet."""
        return bool(self._streams)

    def read(self) -> Iterator[bytes]:
        """Give the lines that have been completed since the last call."""
        yield from self._new_lines()
        self._streams += self._newer()
        while len(self._streams) > 1:
            # The writer may have gone on until it was told of the turn: all of that first.
            yield from self._new_lines()
            self._streams.pop(0).close()
            yield from self._give_rest()
        yield from self._new_lines()

    def close(self) -> None:
        """Give its descriptors back."""
        for stream in self._streams:
            stream.close()

    def _give_rest(self) -> Iterator[bytes]:
        """Give the beginning of a line whose end will never come."""
        if self._rest:
            yield self._rest
        self._rest = b""

    def _go_to_tail(self, stream: BinaryIO) -> None:
        size = os.fstat(stream.fileno()).st_size
        if size > TAIL_BYTES:
            stream.seek(size - TAIL_BYTES)
            stream.readline()

    def _new_lines(self) -> Iterator[bytes]:
        if not self._streams:
            return
        stream = self._streams[0]
        if os.fstat(stream.fileno()).st_size < stream.tell():  # somebody emptied it
            stream.seek(0)
            yield from self._give_rest()
        while block := stream.read(BLOCK_BYTES):
            *lines, rest = (self._rest + block).split(b"\n")
            self._rest = rest[:LINE_BYTES]
            yield from (line[:LINE_BYTES] for line in lines)

    def _newer(self) -> list[BinaryIO]:
        """Open the files that have been begun since the one that is read, oldest first.

        From the newest to the older ones, as the log turns: where it does so meanwhile, a file
        is met again under its next name, and none is passed over.
        """
        mine = os.fstat(self._streams[0].fileno()) if self._streams else None
        newer: dict[tuple[int, int], BinaryIO] = {}
        for stream in self._files():
            status = os.fstat(stream.fileno())
            if mine and os.path.samestat(status, mine):
                stream.close()
                break
            # Where ours has gone, older ones stand here, too. One that is empty was made for a
            # writer that has not been told yet to leave ours.
            since = not mine or status.st_mtime_ns >= mine.st_mtime_ns
            begun = status.st_size and (since or Path(stream.name) == self.path)
            if begun and _identity(status) not in newer:
                newer[_identity(status)] = stream
            else:
                stream.close()
        return [*newer.values()][::-1]

    def _files(self) -> Iterator[BinaryIO]:
        """Open the log's files, newest first; a turn leaves a gap in their numbers for a moment."""
        number = missing = 0
        while missing < 2 and (self._streams or not number):
            name = f"{self.path}.{number}" if number else self.path
            try:
                yield open(name, "rb")  # noqa: PTH123, SIM115 - whoever takes it closes it
                missing = 0
            except FileNotFoundError:
                missing += 1
            number += 1


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
