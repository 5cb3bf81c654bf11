"""What must take any bytes: each target fails by raising.

A parser of input that others can write joins `TARGETS` when it is added to the project.
"""

from __future__ import annotations

import io
import socket
import tempfile
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import cyclopts

from echo import cli
from echo.limits import BadLimit
from echo.logs.files import LogFile
from echo.logs.lines import render
from echo.logs.pretty import pretty
from echo.logs.reader import LINE_BYTES, SanitizedLines, read_lines
from echo.server.handler import preview
from echo.server.proxy import Proxies
from echo.server.session import SessionEnd
from echo.server.waiting import Wakeup
from tests import vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable


def fuzz_preview(data: bytes) -> None:
    """Show a payload: short, printable, and in a line that is one line."""
    shown = preview(data)
    assert shown.isprintable() or not shown
    (line,) = vocabulary.parse(render({"event": "session.data", "preview": shown}))
    assert line["preview"] == shown


def fuzz_line(data: bytes) -> None:
    """Log any fields, lone surrogates and huge texts among them: one strict, bounded line."""
    text = data.decode("utf-8", "surrogateescape")
    half = len(text) // 2
    fields = {"error": text[:half] * 50, "where": text[half:], "n": len(data) << 70}
    (line,) = vocabulary.parse(render({"event": "server.error", **fields}))
    assert line["event"] == "server.error"


def fuzz_pretty(data: bytes) -> None:
    """Show any line of a log: one line, in which nothing moves the cursor."""
    for line in data.split(b"\n"):
        plain = pretty(line, colors=False)
        assert not any(ord(c) < 32 or 126 < ord(c) < 160 for c in plain), repr(plain)
        assert len(pretty(line, colors=True).splitlines()) <= 1


def fuzz_reader(data: bytes) -> None:
    """Read any file: no more lines than it has, each bounded."""
    lines = list(read_lines(LogFile("x", "x", io.BytesIO(data))))
    assert len(lines) <= data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    assert all(len(line.text) <= LINE_BYTES for line in lines)


def fuzz_sanitized(data: bytes) -> None:
    """Sanitize any file: a line or its mark for each, and a place for each."""
    files = [LogFile("x", "x", io.BytesIO(data)), LogFile("y", "y", io.BytesIO(b"{}\n"))]
    lines = SanitizedLines(files)
    clean = b"".join(lines.blocks())
    count = data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
    assert clean.count(b"\n") == lines.rows == count + 1
    assert not {*clean} & {*b"\0\x02\r"}
    assert max(map(len, clean.decode().split("\n"))) <= LINE_BYTES
    assert lines.place(count) == ("y", 1)


def fuzz_settings(data: bytes) -> None:
    """Read any settings file: settings, or an error that is one of ours."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        Path(file.name).write_bytes(data)
        with suppress(cli.Failure, BadLimit, cyclopts.CycloptsError):
            cli.app.config = [cli.read_settings(Path(file.name))]
            command, _, _ = cli.app.parse_args(["serve"], exit_on_error=False, print_error=False)
            assert callable(command)


def fuzz_proxy(data: bytes) -> None:
    """Read any PROXY header: an address, or an end of the session with a reason."""
    ours, theirs = socket.socketpair()
    wakeup = Wakeup()
    with ours, theirs, suppress(SessionEnd):
        theirs.sendall(data[:4000])
        theirs.shutdown(socket.SHUT_WR)
        Proxies([ip_network("127.0.0.0/8")]).read(ours, "127.0.0.1", wakeup)
    wakeup.close()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "preview": fuzz_preview,
    "line": fuzz_line,
    "pretty": fuzz_pretty,
    "reader": fuzz_reader,
    "sanitized": fuzz_sanitized,
    "settings": fuzz_settings,
    "proxy": fuzz_proxy,
}
# Where to begin: what the inputs look like.
SEEDS = {
    "preview": [b"\n\x00\x1b'\"\\\xff"],
    "line": [b'","event":"x\n\xff\xed\xa0\x80'],
    "pretty": [
        b'{"timestamp":"2026-01-31T10:00:00.000001Z","level":"info","event":"x","exception":"a\\n"}',
        b'{"event":null,"exc_info":true,"stack":"\\u001b[2J","level":[],"logger":{"a":1}}',
        b'{"event":"x","exc_info":[1,2,3],"logger_name":"\\ud800"}\n{"torn',
    ],
    "reader": [
        b'{"log":"{\\"timestamp\\":1","stream":"x"}\n{"MESSAGE":[123,34]}\n\xef\xbb\xbf{"timestamp":"',
        b'2026-01-31T10:00:00Z stdout P {"timest\n2026-01-31T10:00:00Z stdout F amp":1}\nx | {"t',
        b'{"event":1}\r\n\n{"torn',
    ],
    "sanitized": [
        b'{"timestamp":"2026-01-31T10:00:00.000001Z"\r\n\n\xff\0\x01\x02{"torn',
        b"\r\r\n\r",
    ],
    "settings": [
        b"[serve]\nport = 9000\nmax-sessions = 5\n",
        b'[serve]\nlog-file = "x"\nidle_timeout = inf\n',
        b"[serve.limits]\nbuffer_size = [1, {a = 1979-05-27}]\n",
        b"[serve]\nlisten = 5\nlimits = []\n",
        b"[[serve]]\nport = 1\n[logs]\n",
        b"serve = 1\n",
        b"[serve.log-file]\nx = {}\n",
    ],
    "proxy": [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 9000\r\nhello",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x9c@#(hello",
        b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
    ],
}
