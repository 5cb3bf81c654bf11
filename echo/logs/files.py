"""The files of a log: which belong together, in which order, and how each is opened."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What reading can fail with: a folder, a disk, a damaged .gz.
READ_ERRORS = (OSError, EOFError, zlib.error)
DEFAULT_LOG = "logs/echo.jsonl"
STDIN = "-"
# echo.jsonl.2, echo.jsonl.2.gz, and what logrotate's dateext makes of it: echo.jsonl-20260131
_NAME = re.compile(r"(?P<log>.+?)(?:\.(?P<number>\d+)|-(?P<date>\d{8,}))?(?:\.gz)?", re.DOTALL)


@dataclass
class LogFile:
    """One file: its name, the log that it is a part of, and its bytes, or why it has none."""

    name: str
    log: str
    stream: BinaryIO | None = field(default=None, repr=False)
    problem: str = ""

    def failed(self, error: BaseException) -> None:
        """Keep what the system says about it."""
        self.problem = getattr(error, "strerror", None) or str(error)

    def close(self) -> None:
        """Give its descriptor back."""
        if self.stream is not None:
            self.stream.close()


def named(names: Sequence[str]) -> list[str]:
    """Give the files to read: those named, or the default log with its older files."""
    if names:
        return list(dict.fromkeys(names))
    here = Path(DEFAULT_LOG)
    found = [str(path) for path in here.parent.glob(f"{here.name}*")]
    return [name for name in found if log_of(name) == DEFAULT_LOG] or [DEFAULT_LOG]


def log_of(name: str) -> str:
    """Name the log that a file is a part of.

    >>> log_of("logs/echo.jsonl.2.gz"), log_of("echo.jsonl-20260131"), log_of("-")
    ('logs/echo.jsonl', 'echo.jsonl', '-')
    """
    return _parts(name)["log"]


def in_order(names: Iterable[str]) -> list[str]:
    """Order files: the logs as they were named first, the files of a log oldest first.

    >>> in_order(["b", "a", "a.1", "a.10.gz", "a-20260131", "a-20260201"])
    ['b', 'a-20260131', 'a-20260201', 'a.10.gz', 'a.1', 'a']
    """
    names = list(names)
    logs = list(dict.fromkeys(log_of(name) for name in names))
    return sorted(names, key=lambda name: (logs.index(log_of(name)), _age(name)))


def open_all(names: Sequence[str]) -> list[LogFile]:
    """Open files, all of them at once, so that a turn of the log in the meantime loses nothing.

    The newest first: when the daemon turns its log between two of the calls, a file that has
    moved on is met again under its next name, and left out there. A file that can't be opened
    says so in `problem`. Each holds a descriptor until its `close`.
    """
    seen: set[tuple[int, int]] = set()
    files = []
    for name in reversed(in_order(names)):
        file = LogFile(name, log_of(name))
        try:
            file.stream = _open(name)
        except OSError as error:
            file.failed(error)
        if file.stream is None or _is_new(file.stream, seen):
            files.append(file)
        else:
            file.close()
    return files[::-1]


def _open(name: str) -> BinaryIO:
    if name == STDIN:
        return open(0, "rb", closefd=False)
    if name.endswith(".gz"):
        return cast("BinaryIO", gzip.open(name))
    return Path(name).open("rb")


def _is_new(stream: BinaryIO, seen: set[tuple[int, int]]) -> bool:
    identity: tuple[int, int] | None = None
    with suppress(OSError):
        status = os.fstat(stream.fileno())
        identity = (status.st_dev, status.st_ino)
    if identity is None or identity not in seen:
        seen.update([identity] if identity else [])
        return True
    return False


def _parts(name: str) -> dict[str, str]:
    match = _NAME.fullmatch(name)
    return match.groupdict() if match else {"log": name, "number": "", "date": ""}


def _age(name: str) -> tuple[int, int]:
    """Sort dates before numbers before the file in use; a higher number is older."""
    parts = _parts(name)
    if parts["date"]:
        return 0, int(parts["date"])
    return (1, -int(parts["number"])) if parts["number"] else (2, 0)
