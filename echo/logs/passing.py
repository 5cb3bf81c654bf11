"""Lines as they pass by: from files in the order of their times, and from those being written."""

from __future__ import annotations

import heapq
import os
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
    Lives until `close`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: BinaryIO | None = None
        self._rest = b""
        if self._open(path):
            self._go_to_tail()

    def __repr__(self) -> str:
        return f"<Follower {self.path}>"

    @property
    def found(self) -> bool:
        """Whether there is a file yet."""
        return self._stream is not None

    def read(self) -> Iterator[bytes]:
        """Give the lines that have been completed since the last call."""
        yield from self._new_lines()
        for path in self._newer():
            # The writer may have gone on until it was told of the turn: all of that first.
            yield from self._new_lines()
            if self._rest:
                yield self._rest
            if self._open(path):
                yield from self._new_lines()

    def close(self) -> None:
        """Give its descriptor back."""
        if self._stream is not None:
            self._stream.close()

    def _open(self, path: Path) -> bool:
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            return False
        self.close()
        self._stream = stream
        self._rest = b""
        return True

    def _go_to_tail(self) -> None:
        assert self._stream is not None
        size = os.fstat(self._stream.fileno()).st_size
        if size > TAIL_BYTES:
            self._stream.seek(size - TAIL_BYTES)
            self._stream.readline()

    def _new_lines(self) -> Iterator[bytes]:
        if self._stream is None:
            return
        if os.fstat(self._stream.fileno()).st_size < self._stream.tell():
            self._stream.seek(0)  # somebody emptied it
        while block := self._stream.read(BLOCK_BYTES):
            *lines, rest = (self._rest + block).split(b"\n")
            self._rest = rest[:LINE_BYTES]
            yield from lines

    def _newer(self) -> list[Path]:
        """Name the files that have been begun since the one that is read, oldest first."""
        if self._stream is None:
            return [self.path]
        mine = _identity(os.fstat(self._stream.fileno()))
        newer: list[Path] = []
        for path, identity in self._files():
            if identity == mine:
                return newer[::-1]
            newer.append(path)
        return newer[:1]  # ours has gone for good

    def _files(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        """Give the log's files that there are, newest first, and what tells them apart."""
        path, number = self.path, 0
        while True:
            try:
                yield path, _identity(path.stat())
            except FileNotFoundError:
                return
            number += 1
            path = Path(f"{self.path}.{number}")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
