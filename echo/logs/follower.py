"""The lines of a log while it is written, through its rotations."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from echo.logs.reader import BLOCK_BYTES, LINE_BYTES, Unwrapper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from echo.logs.reader import Line

# Where following begins: at the most this far before the end.
TAIL_BYTES = 1024 * 1024


class Follower:
    """Reads a log while it is written, through its rotations. Each `read` returns what is new.

    Begins with what stands within `TAIL_BYTES` of the end. The file need not be there yet.
    Holds a descriptor, and while it catches up one for each rotated file; lives until `close`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._streams: list[BinaryIO] = []  # what is read, and what the log has become since
        self._rest = b""
        self._unwrap = Unwrapper()
        with suppress(FileNotFoundError):
            self._streams.append(path.open("rb"))
            self._go_to_tail(self._streams[0])

    def __repr__(self) -> str:
        return f"<Follower {self.path}>"

    @property
    def found(self) -> bool:
        """Whether there is a file yet."""
        return bool(self._streams)

    def read(self) -> Iterator[Line]:
        """Return the lines that have been completed since the last call."""
        for line in self._read():
            if found := self._unwrap(line):
                yield found

    def _read(self) -> Iterator[bytes]:
        yield from self._new_lines()
        self._streams += self._newer()
        while len(self._streams) > 1:
            # The writer may have gone on until it heard of the rotation: all of that first.
            yield from self._new_lines()
            self._streams.pop(0).close()
            yield from self._flush()
        yield from self._new_lines()

    def close(self) -> None:
        """Release the descriptors."""
        for stream in self._streams:
            stream.close()

    def _flush(self) -> Iterator[bytes]:
        """Return the beginning of a line whose end will never come."""
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
        if os.fstat(stream.fileno()).st_size < stream.tell():  # it was emptied
            stream.seek(0)
            yield from self._flush()
        while block := stream.read(BLOCK_BYTES):
            *lines, rest = (self._rest + block).split(b"\n")
            self._rest = rest[:LINE_BYTES]
            yield from (line[:LINE_BYTES] for line in lines)

    def _newer(self) -> list[BinaryIO]:
        """Open the files that have been begun since the one that is read, oldest first.

        From the newest to the older ones, as a log is rotated: where that happens meanwhile, a
        file is met again under its next name, and none is skipped.
        """
        mine = os.fstat(self._streams[0].fileno()) if self._streams else None
        newer: dict[tuple[int, int], BinaryIO] = {}
        for stream in self._files():
            status = os.fstat(stream.fileno())
            if mine and os.path.samestat(status, mine):
                stream.close()
                break
            # Where ours has gone, older ones stand here, too. One that is empty was made for a
            # writer that has not heard yet of leaving ours.
            since = not mine or status.st_mtime_ns >= mine.st_mtime_ns
            begun = status.st_size and (since or Path(stream.name) == self.path)
            if begun and _identity(status) not in newer:
                newer[_identity(status)] = stream
            else:
                stream.close()
        return [*newer.values()][::-1]

    def _files(self) -> Iterator[BinaryIO]:
        """Open the log's files, newest first; rotation leaves a gap in the numbers for a moment."""
        number = missing = 0
        while missing < 2 and (self._streams or not number):
            name = f"{self.path}.{number}" if number else self.path
            try:
                yield open(name, "rb")  # noqa: PTH123, SIM115 - the caller closes it
                missing = 0
            except FileNotFoundError:
                missing += 1
            number += 1


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
