"""Where log lines go: a file that rotates, a stream, a terminal."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from echo.limits import LOG_FILE_BYTES, LOG_FILES_KEPT
from echo.logs.pretty import pretty

if TYPE_CHECKING:
    from typing import TextIO

# Where Linux tells who has locked which file.
LOCKS = Path("/proc/locks")


class Sink(Protocol):
    """Takes lines from one thread. It may block; an exception means that it took nothing."""

    def write(self, lines: bytes) -> int:
        """Write the beginning of `lines`, and return how many bytes that was."""

    def reopen(self) -> bool:
        """Open the target by its name again; True if that is another one now.

        After an exception it goes on with the one it had.
        """

    def close(self) -> None:
        """Release what it holds."""


class StreamSink:
    """Standard output, or any other descriptor, which stays its owner's to close."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, lines: bytes) -> int:
        """Write the lines as they are."""
        return write_some(self._fd, lines)

    def reopen(self) -> bool:
        """Do nothing: it has no name to open it by."""
        return False

    def close(self) -> None:
        """Do nothing: it was not opened here."""


class TerminalSink(StreamSink):
    """A terminal: each event readable and in colour. What it can't show is lost."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream.fileno())
        self._encoding = stream.encoding

    def write(self, lines: bytes) -> int:
        """Write the lines for a person."""
        text = "".join(pretty(line, colors=True) + "\n" for line in lines.splitlines())
        shown = text.encode(self._encoding, "backslashreplace")
        with suppress(OSError):
            while shown:
                shown = shown[write_some(self._fd, shown) :]
        return len(lines)


class FileSink:
    """A log file that rotates at `max_bytes`, with `keep` older ones beside it.

    `echo.jsonl` is the newest, `echo.jsonl.1` the one before, and so on; where `path` is a
    symbolic link they stand beside its target. No line is split between two files, and none is
    appended to the half line that a crash has left. A pipe or a device doesn't rotate, nor does
    any file with `max_bytes` 0. While no new file can be had the old one grows to twice its size
    at most; then `write` raises the reason.

    The file is locked (flock) for as long as it is open. Raises `OSError` when it can't be
    opened or another process has it locked; its folder is made where it is missing.
    """

    def __init__(
        self, path: Path, max_bytes: int = LOG_FILE_BYTES, keep: int = LOG_FILES_KEPT
    ) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.keep = keep
        self._fd = -1
        self.reopen()

    def __repr__(self) -> str:
        return f"<FileSink {self.path}>"

    def write(self, lines: bytes) -> int:
        """Append whole lines, after a rotation where the file is full."""
        part = self._that_fit(lines)  # first of all, as a rotation changes the descriptor
        written = write_some(self._fd, part)
        self._torn = lines[written - 1 : written] != b"\n"
        return written

    def reopen(self) -> bool:
        """Open the file by its name, and make it and its folder where they are missing."""
        return self._open(self.path)

    def _open(self, path: Path) -> bool:
        real_path = Path(os.path.realpath(path))
        real_path.parent.mkdir(parents=True, exist_ok=True)
        # Non-blocking only to open: a pipe without a reader is an error here, not a wait.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        fd = os.open(path, flags, 0o666)
        try:
            if self._fd >= 0 and os.path.sameopenfile(fd, self._fd):
                os.close(fd)
                return False
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
            if regular:
                lock(fd, path)
        except OSError:
            os.close(fd)
            raise
        os.set_blocking(fd, True)
        self.close()
        self._fd = fd
        self._real_path = real_path
        self._torn = False  # whether the bytes written last are the beginning of a line
        self._rotates = regular and self.max_bytes > 0
        if regular:
            self._end_torn_line()
        return True

    def close(self) -> None:
        """Close the file, which also unlocks it."""
        if self._fd >= 0:
            os.close(self._fd)

    def _end_torn_line(self) -> None:
        """End the half line that a crash or a full disk has left, so that the next is whole."""
        with suppress(OSError):  # the log may be write-only, or its disk still full
            with self._real_path.open("rb") as file:
                if not file.seek(0, os.SEEK_END):
                    return
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    os.write(self._fd, b"\n")

    def _that_fit(self, lines: bytes) -> bytes:
        """Return the first lines, at least one, that the file has room for."""
        first = lines.find(b"\n") + 1
        if self._torn:  # a line ends in the file that has its beginning
            return lines[:first]
        if not self._rotates:
            return lines
        size, limit = self._size(), self._limit(self.max_bytes)
        if size and size + first > limit:
            try:
                self._rotate()
            except OSError:
                limit = self._limit(2 * self.max_bytes)
                if size + first > limit:
                    raise
            size = self._size()
        return lines[: lines.rfind(b"\n", 0, max(limit - size, first)) + 1]

    def _size(self) -> int:
        return os.fstat(self._fd).st_size

    def _limit(self, max_bytes: int) -> int:
        """Return `max_bytes`, or what the process may write into a file where that is less."""
        allowed, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        return max_bytes if allowed == resource.RLIM_INFINITY else min(max_bytes, allowed)

    def _rotate(self) -> None:
        """Make this file the newest of the older ones, and open a new one in its place.

        After an `OSError` this file goes on, under its own name where that is still free.
        """
        in_place = names(self._real_path, self._fd)  # else somebody has moved it already
        if in_place and not self.keep:
            os.ftruncate(self._fd, 0)
            return
        if in_place:
            self._shift()
        try:
            self._open(self._real_path)  # a link is followed by `reopen` only
        except OSError:
            with suppress(OSError):
                if in_place and not os.path.lexists(self._real_path):
                    self._older(1).rename(self._real_path)
            raise

    def _shift(self) -> None:
        # Down from the first gap: what a shift that failed halfway has moved stays where it is.
        numbers = range(1, self.keep)
        gap = next((n for n in numbers if not self._older(n).exists()), self.keep)
        for n in range(gap, 0, -1):
            self._older(n - 1).replace(self._older(n))

    def _older(self, n: int) -> Path:
        return Path(f"{self._real_path}.{n}") if n else self._real_path


def lock(fd: int, path: Path) -> None:
    """Lock a log file until `fd` is closed; raise `OSError` where another process has it.

    Where the file system has no locks the file stays unlocked.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(error.errno, f"{_lock_holder(fd)} writes to it") from error
    except OSError:
        return
    if not names(path, fd):  # only its writer does so: the lock came just after a rotation
        raise OSError(errno.EAGAIN, "it was moved while it was being opened")


def _lock_holder(fd: int) -> str:
    """Return which process has a file locked, by its pid where the system tells (Linux)."""
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    with suppress(OSError):
        for row in LOCKS.read_text(encoding="ascii").splitlines():
            # As in: "3: FLOCK  ADVISORY  WRITE 4242 fd:01:131090 0 EOF"
            _, kind, _, _, pid, file, *_ = row.split()
            if kind == "FLOCK" and file == f"{device}:{status.st_ino}":
                return f"the process with pid {pid}"
    return "another process"


def names(path: Path, fd: int) -> bool:
    """Return whether a path leads to the file that is open as `fd`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def write_some(fd: int, data: bytes) -> int:
    """Write the beginning of `data` and return its length.

    Blocks where the reader is slow, even if another process has made a shared descriptor
    non-blocking.
    """
    while True:
        try:
            return os.write(fd, data)
        except BlockingIOError:
            select.select((), (fd,), ())
