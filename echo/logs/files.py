"""The files of a log: which there are, how each is opened, and the order they belong in."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import tempfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from echo.errors import problem_of
from echo.logs.times import utc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# What reading can fail with: a folder, a disk, damaged packed data.
READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, lzma.LZMAError)
DEFAULT_LOG = "logs/echo.jsonl"
STDIN = "-"
# What rotation adds to a name (.2, -20260131, .2026-01-31, -20260130-1738200000), and a packer.
_ROTATED = re.compile(
    r"(?P<log>.+?)(?P<added>(?:[-._][\d_:T-]*\d)*)(?:\.(?:gz|zst|xz|bz2))?", re.DOTALL
)
# A rotation's number; a longer one is a date.
_NUMBER_DIGITS = 5
# This far into a file its first time is looked for, wherever in the line it stands.
_HEAD_BYTES = 64 * 1024
_STAMP = re.compile(rb'\\?"timestamp\\?":\s*\\?"(\d{4}-[^"\\]{1,40})')
# The first bytes of formats that are recognized and not read.
_FOREIGN_FORMATS = {
    b"\xff\xfe": "UTF-16 text: convert it with iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "UTF-16 text: convert it with iconv -f UTF-16 -t UTF-8",
    b"{\x00": "UTF-16 text: convert it with iconv -f UTF-16LE -t UTF-8",
    b"\x00{": "UTF-16 text: convert it with iconv -f UTF-16BE -t UTF-8",
    b"\x04\x22\x4d\x18": "lz4-compressed data: unpack it first",
    b"\x1f\x9d": "data packed with compress: unpack it first",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it first",
}


@dataclass
class LogFile:
    """One opened file: its unpacked bytes, or the `problem` that keeps them from being read.

    `log` is the name that the pieces of a rotated log share. `began` is the first time in it.
    `note` says what its first bytes are, where that is known and not a log.
    """

    name: str
    log: str
    stream: BinaryIO | None = field(default=None, repr=False)
    problem: str = ""
    note: str = ""
    began: datetime | None = None
    errors: tuple[type[Exception], ...] = field(default=READ_ERRORS, repr=False)
    _packed: BinaryIO | None = field(default=None, repr=False)
    _copy: BinaryIO | None = field(default=None, repr=False)

    def read(self, size: int, *, at_once: bool = False) -> bytes:
        """Return the next bytes, none at the end or where reading fails (see `problem`).

        `at_once` returns what is there instead of waiting for all of `size`.
        """
        if self.stream is None:
            return b""
        try:
            # All that is opened below has it, though `BinaryIO` doesn't.
            read = self.stream.read1 if at_once else self.stream.read  # type: ignore[attr-defined]
            data: bytes = read(size)
        except self.errors as error:
            self.fail(error)
            return b""
        if self._copy is not None:
            self._copy.write(data)
        return data

    def keep(self) -> None:
        """Have what is read kept for `rewind`: of a pipe, in a file of the temporary folder."""
        source = self._packed or self.stream
        if source is not None and not source.seekable():
            self._copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - see `close`

    def rewind(self) -> None:
        """Go back to the beginning; of a pipe, what has been read since `keep` is there again."""
        if self._copy is not None:
            copy, self._copy = self._copy, None
            self.close()
            self.stream, self._packed = copy, None
        if self.stream is not None:
            with suppress(*self.errors):  # the next read fails again, and reports it
                self.stream.seek(0)

    def fail(self, error: BaseException) -> None:
        """Keep what the system says about a failure."""
        self.problem = problem_of(error)

    def close(self) -> None:
        """Release the descriptor."""
        for stream in (self.stream, self._packed, self._copy):
            if stream is not None:
                stream.close()


def log_files(names: Sequence[str]) -> list[str]:
    """Return the names of the files to read: those given, or those of the default log."""
    if names:
        return list(dict.fromkeys(names))
    here = Path(DEFAULT_LOG)
    found = [str(path) for path in here.parent.glob(f"{here.name}*")]
    return [name for name in found if log_of(name) == DEFAULT_LOG] or [DEFAULT_LOG]


def log_of(name: str) -> str:
    """Return the name of the log that a file seems to be a part of.

    >>> log_of("logs/echo.jsonl.2.gz"), log_of("echo.jsonl-2026-01-31.zst"), log_of("-")
    ('logs/echo.jsonl', 'echo.jsonl', '-')
    """
    match = _ROTATED.fullmatch(name)
    return match["log"] if match else name


def open_all(names: Sequence[str]) -> list[LogFile]:
    """Open files, all before the first is read, and return them in the order of their contents.

    All at once, so that a rotation in the meantime loses nothing; the newest first: a file that
    has moved on between two calls is met again under its next name, and left out there. A file
    that can't be opened says so in `problem`. Each holds a descriptor until its `close`.
    """
    seen: set[tuple[int, int]] = set()
    files = []
    for name in sorted(names, key=_age_by_name, reverse=True):
        file = LogFile(name, log_of(name))
        try:
            raw = _open(name)
            status = os.fstat(raw.fileno())
            if (identity := (status.st_dev, status.st_ino)) in seen:
                raw.close()
                continue
            seen.add(identity)
            _unpack(file, raw)
        except OSError as error:
            file.fail(error)
        files.append(file)
    files.reverse()
    if len(files) > 1:
        for file in files:
            _find_beginning(file)
    return in_order(files)


def in_order(files: Sequence[LogFile]) -> list[LogFile]:
    """Order files: logs by their first time, the files of each log by theirs.

    A file without a time stays behind the one before it.
    """
    logs: dict[str, datetime] = {}
    keys: dict[int, datetime] = {}
    before = datetime.min.replace(tzinfo=UTC)
    for file in files:
        before = keys[id(file)] = file.began or before
        logs[file.log] = min(before, logs.get(file.log, before))
    return sorted(files, key=lambda file: (logs[file.log], file.log, keys[id(file)]))


def _age_by_name(name: str) -> tuple[str, int, str]:
    """Sort the pieces of a log roughly by age: what opening them and equal times need."""
    match = _ROTATED.fullmatch(name)
    added = match["added"] if match else ""
    if not added:
        return log_of(name), 2, ""
    digits = re.sub(r"\D", "", added)
    if len(digits) <= _NUMBER_DIGITS:  # the higher, the older
        return log_of(name), 1, f"{10**_NUMBER_DIGITS - int(digits):09}"
    return log_of(name), 0, added


def _find_beginning(file: LogFile) -> None:
    """Set `began`, and leave the file to be read from its start."""
    head = file.read(_HEAD_BYTES)
    if match := _STAMP.search(head):
        with suppress(ValueError, OverflowError):
            file.began = utc(datetime.fromisoformat(match[1].decode("ascii", "replace")))
    if file.stream is not None:
        file.stream = _rewound(file.stream, head)


def _rewound(stream: BinaryIO, head: bytes) -> BinaryIO:
    if not stream.seekable():
        return cast("BinaryIO", io.BufferedReader(_Rejoined(head, stream)))
    with suppress(OSError, EOFError):  # the next read fails again, and reports it
        stream.seek(0)
    return stream


class _Rejoined(io.RawIOBase):
    """The bytes that have been taken from a pipe, then the pipe."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head, self._stream = head, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or self._stream.read1(len(buffer))  # type: ignore[attr-defined]
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


# -- packed or not: decided by the first bytes, whatever the name ----------------------------------


def _open(name: str) -> io.BufferedReader:
    if name == STDIN:
        return open(0, "rb", closefd=False)
    return Path(name).open("rb")


def _open_zstd(stream: BinaryIO) -> BinaryIO:
    return cast("BinaryIO", zstandard().open(stream))


def zstandard() -> Any:
    """Return the module for Zstandard; raises `ModuleNotFoundError` where it isn't installed."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError:  # before Python 3.14
        from backports import zstd  # type: ignore[no-redef, unused-ignore]
    return zstd


_UNPACKERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x28\xb5\x2f\xfd": _open_zstd,
}
_MAGIC_BYTES = 6


def _unpack(file: LogFile, raw: io.BufferedReader) -> None:
    """Set the stream of a file, and the note on its first bytes."""
    file.stream = raw
    magic = file.read(_MAGIC_BYTES)
    file.stream = plain = _rewound(raw, magic)
    file.note = next((note for m, note in _FOREIGN_FORMATS.items() if magic.startswith(m)), "")
    unpack = next((unpack for m, unpack in _UNPACKERS.items() if magic.startswith(m)), None)
    if unpack is None:
        return
    file._packed = plain
    try:
        file.stream = unpack(plain)
        if unpack is _open_zstd:
            file.errors = (*READ_ERRORS, zstandard().ZstdError)
    except ModuleNotFoundError:
        file.problem = "it is Zstandard: pip install 'echo-daemon[logs]' to read it"
