"""Where log lines go: a file that rotates, a stream, a terminal."""

from __future__ import annotations

import os
import select
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from echo.limits import LOG_FILE_BYTES, LOG_FILES_KEPT
from echo.logs.pretty import pretty

if TYPE_CHECKING:
    from typing import TextIO


class Unfinished(OSError):
    """A write that failed: `rest` is what was not written."""

    def __init__(self, error: OSError, rest: bytes) -> None:
        super().__init__(error.errno, error.strerror)
        self.rest = rest


class Sink(Protocol):
    """Takes whole lines from one thread. It may block, and raises `Unfinished` when it can't."""

    def write(self, lines: bytes) -> None:
        """Write them all."""

    def reopen(self) -> bool:
        """Open the target anew, where it has a name; True if that is another one now.

        After an `OSError` it goes on as it was.
        """

    def close(self) -> None:
        """Give back what it holds."""


class StreamSink:
    """Standard output, or any other descriptor that is somebody else's to close."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, lines: bytes) -> None:
        """Write them as they are."""
        write_all(self._fd, lines)

    def reopen(self) -> bool:
        """Change nothing: it has no name to open it by."""
        return False

    def close(self) -> None:
        """Change nothing: it was not opened here."""


class TerminalSink(StreamSink):
    """A person's terminal: each event readable and in colour. What it can't show is gone."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream.fileno())
        self._encoding = stream.encoding

    def write(self, lines: bytes) -> None:
        """Write them for a person."""
        shown = "".join(pretty(line, colors=True) + "\n" for line in lines.splitlines())
        with suppress(OSError):
            write_all(self._fd, shown.encode(self._encoding, "backslashreplace"))


class FileSink:
    """A log file that never grows beyond `max_bytes`, with `keep` older ones beside it.

    `echo.jsonl` is the newest, `echo.jsonl.1` the one before, and so on. Lines are appended
    whole: none is torn at the turn, and none is glued to half a line that a crash has left
    behind. Raises `OSError` when the file can't be opened; its folder
    is made where it is missing. What is no regular file, a pipe or a device, doesn't turn.
    """

    def __init__(
        self, path: Path, max_bytes: int = LOG_FILE_BYTES, keep: int = LOG_FILES_KEPT
    ) -> None:
        # A link's target turns where it is; the link goes on naming it.
        self.path = path.resolve() if path.resolve().is_file() else path
        self.max_bytes = max_bytes
        self.keep = keep
        self._torn = False  # what was written last is the beginning of a line
        self._open()
        self._end_torn_line()

    def __repr__(self) -> str:
        return f"<FileSink {self.path} {self._size} bytes>"

    def write(self, lines: bytes) -> None:
        """Append them, and turn the file where it is full."""
        while lines:
            part = self._that_fits(lines)
            lines = lines[len(part) :]
            try:
                write_all(self._fd, part)
            except Unfinished as error:
                self._count(part[: len(part) - len(error.rest)])
                raise Unfinished(error, error.rest + lines) from error
            self._count(part)

    def reopen(self) -> bool:
        """Open the file by its name, making it and its folder where somebody took them away."""
        old = self._fd
        self._open()
        moved = not os.path.sameopenfile(old, self._fd)
        os.close(old)
        if moved:
            self._end_torn_line()
        return moved

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Non-blocking only to open: a pipe without a reader is an error here, not a wait.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
        self._fd = os.open(self.path, flags, 0o666)
        os.set_blocking(self._fd, True)
        status = os.fstat(self._fd)
        self._size = status.st_size
        self._turns = stat.S_ISREG(status.st_mode) and self.max_bytes > 0

    def _end_torn_line(self) -> None:
        """End the half line that a crash or a full disk has left, so that the next is whole."""
        self._torn = False
        with suppress(OSError):  # a log may be write-only, and its disk still full
            if self._turns and self._size and not self._ends_whole():
                write_all(self._fd, b"\n")
                self._size += 1

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"

    def _count(self, written: bytes) -> None:
        self._size += len(written)
        if written:
            self._torn = not written.endswith(b"\n")

    def _that_fits(self, lines: bytes) -> bytes:
        """Give the whole lines, one at the least, that the file has room for."""
        if not self._turns:
            return lines
        if self._torn:  # its end belongs where its beginning is
            return lines[: lines.find(b"\n") + 1]
        full = self._size and self._size + lines.find(b"\n") >= self.max_bytes
        if full and not self._turn():
            return lines  # better a file that is too long than lines that are lost
        room = self.max_bytes - self._size
        if len(lines) <= room:
            return lines
        end = lines.rfind(b"\n", 0, room) + 1 or lines.find(b"\n") + 1
        return lines[:end]

    def _turn(self) -> bool:
        """Make this file the newest of the older ones, and begin another; False if that failed."""
        shifted = False
        try:
            if self._has_its_name():
                self._shift()
                shifted = True
            self.reopen()
        except OSError:
            if shifted and self.keep:  # out of descriptors: it has its name as long as it's used
                self._older(1).replace(self.path)
            return False
        return True

    def _has_its_name(self) -> bool:
        """Look whether the name still means this file: somebody may have moved it."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _shift(self) -> None:
        if not self.keep:
            os.ftruncate(self._fd, 0)
            return
        # Down from the first gap: what a shift that failed halfway has moved stays where it is.
        numbers = range(1, self.keep)
        gap = next((n for n in numbers if not self._older(n).exists()), self.keep)
        for n in range(gap, 0, -1):
            self._older(n - 1).replace(self._older(n))

    def _older(self, n: int) -> Path:
        return Path(f"{self.path}.{n}") if n else self.path


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`; raise `Unfinished` with the rest where that is not possible.

    Blocks where the reader is slow, even if somebody has made a shared descriptor non-blocking.
    """
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            select.select((), (fd,), ())
        except OSError as error:
            raise Unfinished(error, bytes(left)) from error
