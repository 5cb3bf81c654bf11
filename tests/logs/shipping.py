"""What happens to a log between the daemon and its reader, none of which loses a line.

A line is a pair: a number of its own, by which a test finds it again, and its text.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Line = tuple[int, str]

TIME = "2026-01-30T17:00:00.123456789Z"


def compose(text: str) -> str:
    """Return a line as `docker compose logs` shows it."""
    return f"echod-1  | {text}"


def compose_colored(text: str) -> str:
    """Return a line as `docker compose logs` shows it on a terminal."""
    return f"\x1b[36mechod-1  |\x1b[0m {text}"


def kubectl_prefix(text: str) -> str:
    """Return a line as `kubectl logs --prefix` shows it."""
    return f"[pod/echod-7d9c5b8f6d-x2x4z/echod] {text}"


def kubectl_timestamps(text: str) -> str:
    """Return a line as `kubectl logs --timestamps` shows it."""
    return f"{TIME} {text}"


def containerd(text: str) -> str:
    """Return a line as containerd writes it to its own file."""
    return f"{TIME} stdout F {text}"


def containerd_in_parts(text: str) -> str:
    """Return a line as a runtime writes it that has read it in two pieces."""
    return f"{TIME} stdout P {text[:30]}\n{TIME} stdout F {text[30:]}"


def docker_file(text: str) -> str:
    """Return a line as Docker writes it to its own file."""
    return json.dumps({"log": text + "\n", "stream": "stdout", "time": TIME})


def docker_file_in_parts(text: str) -> str:
    """Return a line as Docker writes it that is too long for it."""
    parts = (text[:40], text[40:] + "\n")
    return "\n".join(json.dumps({"log": part, "stream": "stdout", "time": TIME}) for part in parts)


def journal_short(text: str) -> str:
    """Return a line as `journalctl` shows it."""
    return f"Jan 30 17:00:00 host echod[4711]: {text}"


def journal_iso(text: str) -> str:
    """Return a line as `journalctl -o short-iso` shows it."""
    return f"2026-01-30T17:00:00+0100 host echod[4711]: {text}"


def journal_json(text: str) -> str:
    """Return a line as `journalctl -o json` writes it."""
    fields = {"__CURSOR": "s=1;i=2", "MESSAGE": text, "_PID": "4711", "PRIORITY": "6"}
    return json.dumps(fields, separators=(",", ":"))


def journal_bytes(text: str) -> str:
    """Return a line as `journalctl -o json` writes one that isn't plain text."""
    return json.dumps({"MESSAGE": list(text.encode()), "_PID": "4711"}, separators=(",", ":"))


def plain(text: str) -> str:
    """Return a line as it is."""
    return text


# Each makes one line of one.
WRAPPERS: list[Callable[[str], str]] = [
    *(plain, compose, compose_colored, kubectl_prefix, kubectl_timestamps, containerd),
    *(docker_file, journal_short, journal_iso, journal_json, journal_bytes),
]


def zstd(data: bytes) -> bytes:
    """Pack with Zstandard."""
    from echo.logs.files import _zstd

    packed: bytes = _zstd().compress(data)
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
