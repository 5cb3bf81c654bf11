"""Where log lines go: a file that rotates, a stream, a terminal."""

from __future__ import annotations

import os
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

    def reopen(self) -> None:
        """Open the target anew, where it has a name; after an `OSError` it goes on as it was."""

    def close(self) -> None:
        """Give back what it holds."""


class StreamSink:
    """Standard output, or any other descriptor that is somebody else's to close."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, lines: bytes) -> None:
        """Write them as they are."""
        write_all(self._fd, lines)

    def reopen(self) -> None:
        """Change nothing: it has no name to open it by."""

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
    whole: none is torn at the turn. Raises `OSError` when the file can't be opened; its folder
    is made where it is missing. What is no regular file, a pipe or a device, doesn't turn.
    """

    def __init__(
        self, path: Path, max_bytes: int = LOG_FILE_BYTES, keep: int = LOG_FILES_KEPT
    ) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.keep = keep
        self._open()

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
                self._size += len(part) - len(error.rest)
                raise Unfinished(error, error.rest + lines) from error
            self._size += len(part)

    def reopen(self) -> None:
        """Open the file by its name, making it and its folder where somebody took them away."""
        old = self._fd
        self._open()
        os.close(old)

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

    def _that_fits(self, lines: bytes) -> bytes:
        """Give the whole lines, one at the least, that the file has room for."""
        if not self._turns:
            return lines
        if self._size and self._size + lines.find(b"\n") >= self.max_bytes:
            self._turn()
        room = self.max_bytes - self._size
        if len(lines) <= room:
            return lines
        end = lines.rfind(b"\n", 0, room) + 1 or lines.find(b"\n") + 1
        return lines[:end]

    def _turn(self) -> None:
        """Make this file the newest of the older ones, and begin another."""
        try:
            if self.path.stat().st_ino == os.fstat(self._fd).st_ino:  # nobody else moved it
                self._shift()
            self.reopen()
        except OSError:  # better a file that is too long than lines that are lost
            self._size = 0

    def _shift(self) -> None:
        names = [self.path, *(Path(f"{self.path}.{n}") for n in range(1, self.keep + 1))]
        for older, newer in reversed(list(zip(names[1:], names[:-1], strict=True))):
            with suppress(FileNotFoundError):
                newer.replace(older)
        if not self.keep:
            self.path.unlink()


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`; raise `Unfinished` with the rest where that is not possible."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except OSError as error:
            raise Unfinished(error, bytes(left)) from error
