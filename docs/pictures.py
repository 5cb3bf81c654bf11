"""Make the pictures of the documents, from the programs as they are: ``python docs/pictures.py``.

- ``demo.cast``: a recording of ``echod demo`` (asciicast v2), for ``asciinema play docs/demo.cast``
- ``demo.svg``: the same as an animated picture
- ``top.svg``: a screen of ``echod top``
- ``live-light.png``, ``live-dark.png``: the live page
- ``report.png``: the report of ``echod logs report``

It needs the package with its ``test`` extra, and Chromium for the last three. Names of pictures,
without their endings, make only those.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from rich.text import Text

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.browser import Browser  # noqa: E402
from tests.waiting import wait_until  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.style import Style

    Events = list[tuple[float, str]]

ECHOD = [sys.executable, "-m", "echo"]
# The terminal of the recording and of top.
COLUMNS, LINES = 88, 28
# echod's default, and the one of its documents.
PORT, STATUS_PORT = 9000, 9001
# Of the animated picture: the recording's pace is for reading aloud.
SPEED = 2.0
LAST_SCREEN_S = 6.0
# Pixels, and the terminal's colours from the second on.
CELL, LINE, MARGIN = 8.4, 18, 14
GROUND, INK = "#10161d", "#dfe6ee"
COLOURS = {
    "red": "#ff7b72",
    "green": "#56d364",
    "yellow": "#e3b341",
    "blue": "#79b8ff",
    "magenta": "#d2a8ff",
    "cyan": "#56d4dd",
}
SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]")  # all but colours


def main(names: list[str]) -> None:
    """Make the pictures of these names, or all."""
    makers = {"demo": [record_demo, animate_demo], "top": [draw_top]}
    makers |= {"live": [photograph_page], "report": [photograph_report]}
    for name in names or makers:
        for make in makers[name]:
            make()


# -- the demo -----------------------------------------------------------------------------


def record_demo() -> None:
    """Record the demo on a terminal, with its pauses."""
    events = recorded([*ECHOD, "demo"])
    head = {"version": 2, "width": COLUMNS, "height": LINES, "title": "echod demo"}
    lines = [head, *([round(at, 3), "o", data] for at, data in events)]
    (HERE / "demo.cast").write_text("".join(json.dumps(line) + "\n" for line in lines))


def animate_demo() -> None:
    """Make a picture of the recording that scrolls as the terminal did.

    The demo only ever adds lines: so all of them stand in the picture once, one below the other,
    and what moves is the part that is shown and the cover over the lines to come.
    """
    head, *events = map(json.loads, (HERE / "demo.cast").read_text().splitlines())
    output = "".join(data for _, _, data in events)
    assert not SEQUENCE.search(output), "it does more than to add lines"
    frames, shown = [(0.0, 0)], ""
    for at, _, data in events:
        shown += data
        frames.append((at / SPEED, shown.count("\n")))
    lines = output.replace("\r", "").split("\n")
    (HERE / "demo.svg").write_text(
        svg(lines, head["width"], head["height"], "echod demo", frames, frames[-1][0])
    )


# -- pictures of a terminal -----------------------------------------------------------------


def svg(
    lines: list[str],
    width: int,
    height: int,
    title: str,
    frames: Iterable[tuple[float, int]] = (),
    seconds: float = 0,
) -> str:
    """Draw lines of a terminal; a frame is a second, and the number of lines shown from then on."""
    text = "\n".join(row for number, line in enumerate(lines) for row in _row(line, number))
    wide, high = round(width * CELL) + 2 * MARGIN, height * LINE + 2 * MARGIN
    cover = f'<rect id="cover" y="{MARGIN}" width="{wide}" height="{len(lines) * LINE}" class="g"/>'
    moves = _moves(list(frames), height, seconds + LAST_SCREEN_S) if frames else ""
    colours = "".join(f".{name}{{fill:{value}}}" for name, value in COLOURS.items())
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img">
<title>{title}</title>
<style>
text{{font:14px ui-monospace,"DejaVu Sans Mono",Menlo,monospace;fill:{INK};white-space:pre}}
.b{{font-weight:700}}.d{{opacity:.65}}.u{{text-decoration:underline}}.g{{fill:{GROUND}}}
.r{{fill:{INK}}}.i{{fill:{GROUND}}}{colours}
{moves}</style>
<rect width="{wide}" height="{high}" rx="8" class="g"/>
<svg y="{MARGIN}" height="{height * LINE}" viewBox="0 {MARGIN} {wide} {height * LINE}">
<g id="screen">
{text}
{cover if moves else ""}
</g>
</svg>
</svg>
"""


def _row(line: str, number: int) -> Iterator[str]:
    """Draw one line: a piece for each style, each at its own place, whatever the font's width."""
    text = Text.from_ansi(line)
    y = MARGIN + number * LINE
    for start, piece in _pieces(text):
        plain = piece.plain.rstrip() if not piece.spans else piece.plain
        if not plain.strip() and not _is_reverse(piece):
            continue
        x, wide = round(MARGIN + start * CELL, 1), round(len(plain) * CELL, 1)
        if _is_reverse(piece):
            yield f'<rect x="{x}" y="{y}" width="{wide + 0.6:.1f}" height="{LINE}" class="r"/>'
        name = f' class="{classes}"' if (classes := _classes(piece)) else ""
        place = f'x="{x}" y="{y + 13}" textLength="{wide}"'
        yield f"<text {place}{name}>{escape(plain)}</text>"


def _pieces(text: Text) -> Iterator[tuple[int, Text]]:
    """Split a text where its style changes, and at gaps, which need not be drawn."""
    edges = {0, len(text), *(edge for span in text.spans for edge in (span.start, span.end))}
    edges |= {match.end() for match in re.finditer(r" {2,}", text.plain)}
    ordered = sorted(edges)
    for start, end in pairwise(ordered):
        piece = text[start:end]
        if not _is_reverse(piece):
            piece.rstrip()
        yield start, piece


def _styles(piece: Text) -> list[Style]:
    return [span.style for span in piece.spans if not isinstance(span.style, str)]


def _is_reverse(piece: Text) -> bool:
    return any(style.reverse for style in _styles(piece))


def _classes(piece: Text) -> str:
    names = []
    for style in _styles(piece):
        names += ["b"] * bool(style.bold) + ["d"] * bool(style.dim) + ["u"] * bool(style.underline)
        names += ["i"] * bool(style.reverse)
        number = style.color.number if style.color is not None else None
        if number is not None and 1 <= number <= len(COLOURS):
            names.append([*COLOURS][number - 1])
    return " ".join(names)


def _moves(frames: list[tuple[float, int]], height: int, seconds: float) -> str:
    screen, cover = [], []
    for at, lines in frames:
        percent = f"{at / seconds * 100:.2f}%"
        screen.append(f"{percent}{{transform:translateY(-{max(0, lines - height) * LINE}px)}}")
        cover.append(f"{percent}{{transform:translateY({lines * LINE}px)}}")
    final = screen[-1].partition("{")[2].rstrip("}")
    return (
        f"@keyframes s{{{''.join(screen)}}}\n@keyframes c{{{''.join(cover)}}}\n"
        f"#screen{{{final};animation:s {seconds:.1f}s step-end infinite}}\n"
        f"#cover{{transform:translateY({frames[-1][1] * LINE}px);"
        f"animation:c {seconds:.1f}s step-end infinite}}\n"
        "@media(prefers-reduced-motion:reduce){#screen,#cover{animation:none}}\n"
    )


def recorded(command: list[str], keys: Iterable[tuple[float, bytes]] = ()) -> Events:
    """Run a command on a terminal; return what it wrote and when. Keys are pressed at seconds."""
    master, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", LINES, COLUMNS, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": ""}
    process = subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, env=env, start_new_session=True
    )
    os.close(follower)
    events: Events = []
    pressed = list(keys)
    began = time.monotonic()
    try:
        while time.monotonic() - began < 600:
            if pressed and time.monotonic() - began >= pressed[0][0]:
                os.write(master, pressed.pop(0)[1])
            if not select.select([master], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(master, 65536)
            except OSError:  # it has ended
                break
            events.append((time.monotonic() - began, data.decode()))
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return events


# -- a daemon with clients ------------------------------------------------------------------


@contextmanager
def busy_daemon(folder: Path, exchanges: dict[str, list[int]]) -> Iterator[Path]:
    """Run a daemon on the usual ports, with clients; return its log.

    `exchanges` are, for each client's address, the bytes that each of its sessions sends at a time.
    """
    log = folder / "echo.jsonl"
    flags = ["--status-port", str(STATUS_PORT), "--log-file", str(log)]
    process = subprocess.Popen([*ECHOD, "serve", *flags], stderr=subprocess.DEVNULL)
    over = threading.Event()
    try:
        wait_until(lambda: log.exists() and log.read_text(), 20, "the daemon writes its log")
        for size in range(24):
            visit(size)
        with ExitStack() as stack:
            for address, sizes in exchanges.items():
                for size in sizes:
                    sock = stack.enter_context(connected(address))
                    stack.enter_context(exchanging(sock, size, over))
            yield log
            over.set()
    finally:
        over.set()
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def connected(address: str) -> socket.socket:
    """Connect to the daemon from an address."""
    return socket.create_connection(("127.0.0.1", PORT), 10, source_address=(address, 0))


def visit(number: int) -> None:
    """Have a short session, now and then one that breaks off."""
    with connected(f"127.0.0.{number % 3 + 1}") as sock:
        sock.sendall(bytes(number * 700 + 6))
        sock.recv(number * 700 + 6, socket.MSG_WAITALL)
        if number % 10 == 5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def exchanging(sock: socket.socket, size: int, over: threading.Event) -> Iterator[None]:
    """Send and receive in a thread, until it is over; 0 bytes are silence, less never reads."""

    def exchange() -> None:
        if size < 0:
            sock.settimeout(0.5)
            with suppress(TimeoutError):
                while True:
                    sock.send(bytes(65536))
            return
        while size and not over.wait(0.1 + random.random() / 5):
            sent = size + random.randrange(size)
            sock.sendall(bytes(sent))
            sock.recv(sent, socket.MSG_WAITALL)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


FEW = {"127.0.0.1": [20, 0, 2000], "127.0.0.2": [0, 600]}
MANY = {f"127.0.0.{n}": [30 * n % 170, 0, 900 * (n % 4), 0] for n in range(1, 13)}
MANY["127.0.0.4"][2] = -1


def draw_top() -> None:
    """Draw a screen of top over a daemon with some sessions."""
    with tempfile.TemporaryDirectory() as folder, busy_daemon(Path(folder), MANY):
        events = recorded([*ECHOD, "top"], [(3, b"<"), (6, b"q")])  # by bytes sent
    output = "".join(data for _, data in events)
    screen = output.rpartition("\x1b[?25h")[0].rpartition("\x1b[H")[2]
    lines = SEQUENCE.sub("", screen).replace("\r", "").split("\n")
    (HERE / "top.svg").write_text(svg(lines, COLUMNS, LINES, "a screen of echod top"))


def photograph_page() -> None:
    """Photograph the live page, light and dark."""
    with tempfile.TemporaryDirectory() as folder, busy_daemon(Path(folder), FEW):
        with closing(Browser(Path(folder) / "browser")) as browser:
            for scheme, seconds in (("light", 75), ("dark", 3)):
                browser.prefer(color_scheme=scheme)
                browser.open(f"http://127.0.0.1:{STATUS_PORT}/?range=1m", width=1240, height=960)
                time.sleep(seconds)  # the charts fill
                (HERE / f"live-{scheme}.png").write_bytes(browser.picture())


def photograph_report() -> None:
    """Photograph the report of a log."""
    with tempfile.TemporaryDirectory() as folder:
        with busy_daemon(Path(folder), MANY) as log:
            for number in range(70):  # there is something to report
                visit(number)
                time.sleep(0.3)
        command = [*ECHOD, "logs", "report", log.name, "-o", "report.html"]
        subprocess.run(command, check=True, cwd=folder)
        report = Path(folder) / "report.html"
        with closing(Browser(Path(folder) / "browser")) as browser:
            browser.open(report.as_uri(), width=1240, height=1100)
            (HERE / "report.png").write_bytes(browser.picture())


if __name__ == "__main__":
    main(sys.argv[1:])
