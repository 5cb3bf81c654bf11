"""What happens to a log between the daemon and its reader, none of which loses a line.

A line is a pair: a number of its own, by which a test finds it again, and its text.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from functools import partial
from operator import concat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Line = tuple[int, str]

TIME = "2026-01-30T17:00:00.123456789Z"


# What puts something before a line: `docker compose logs`, the same on a terminal,
compose = partial(concat, "echod-1  | ")
compose_colored = partial(concat, "\x1b[36mechod-1  |\x1b[0m ")
# `kubectl logs --prefix` and `--timestamps`, containerd's own file,
kubectl_prefix = partial(concat, "[pod/echod-7d9c5b8f6d-x2x4z/echod] ")
kubectl_timestamps = partial(concat, f"{TIME} ")
containerd = partial(concat, f"{TIME} stdout F ")
# `journalctl` and `journalctl -o short-iso`, or nothing.
journal_short = partial(concat, "Jan 30 17:00:00 host echod[4711]: ")
journal_iso = partial(concat, "2026-01-30T17:00:00+0100 host echod[4711]: ")
plain = partial(concat, "")


def containerd_in_parts(text: str) -> str:
    """Return a line as a runtime writes it that has read it in two pieces."""
    return f"{TIME} stdout P {text[:30]}\n{containerd(text[30:])}"


def docker_file(text: str, end: str = "\n") -> str:
    """Return a line as Docker writes it to its own file; without its `end` it is a part of one."""
    return json.dumps({"log": text + end, "stream": "stdout", "time": TIME})


def docker_file_in_parts(text: str) -> str:
    """Return a line as Docker writes it that is too long for it."""
    return f"{docker_file(text[:40], end='')}\n{docker_file(text[40:])}"


def journal_json(message: str | list[int]) -> str:
    """Return a line as `journalctl -o json` writes it."""
    fields = {"__CURSOR": "s=1;i=2", "MESSAGE": message, "_PID": "4711", "PRIORITY": "6"}
    return json.dumps(fields, separators=(",", ":"))


def journal_bytes(text: str) -> str:
    """Return a line as `journalctl -o json` writes one that isn't plain text."""
    return journal_json(list(text.encode()))


# Each makes one line of one.
WRAPPERS: list[Callable[[str], str]] = [
    *(plain, compose, compose_colored, kubectl_prefix, kubectl_timestamps, containerd),
    *(docker_file, journal_short, journal_iso, journal_json, journal_bytes),
]


def zstd(data: bytes) -> bytes:
    """Pack with Zstandard."""
    from echo.logs.files import zstandard

    packed: bytes = zstandard().compress(data)
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}
# How rotation names the pieces of a log, oldest first; the last one is in use.
NAMES: list[Callable[[int, int], str]] = [
    lambda n, count: f"echo.jsonl.{count - n}",
    *(
        lambda n, _, text=text: text.format(10 + n)
        for text in (
            *("echo.jsonl-202601{}", "echo.jsonl-2026-01-{}", "echo.jsonl.2026-01-{}"),
            *("echo.jsonl.202601{}", "echo.jsonl-20260130-17382000{}", "echo.jsonl-2026{}"),
            "echo.jsonl-20260130{}",
        )
    ),
    lambda n, _: f"piece-{chr(97 + (7 * n) % 26)}",
]


def file_bytes(
    lines: Sequence[Line], wrap: Callable[[str], str], *, mark: bool, crlf: bool
) -> bytes:
    """Return the bytes of a file with these lines."""
    end = "\r\n" if crlf else "\n"
    text = "".join(wrap(text.rstrip("\n")).replace("\n", end) + end for _, text in lines)
    return b"\xef\xbb\xbf" * mark + text.encode()


def changed(line: Line, **fields: Any) -> Line:
    """Return a line with other values in some fields."""
    return line[0], json.dumps({**json.loads(line[1]), **fields}, separators=(",", ":")) + "\n"
