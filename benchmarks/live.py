"""What the live page costs the sessions: ``python -m benchmarks.live``.

One daemon with thousands of idle sessions and some that exchange messages, while nobody looks,
while a client that costs next to nothing asks as the page does, and while the page is open in a
headless Chromium: in turn, round after round. On a machine with few cores the browser and the
load generator take each other's time, so the page's own figure has Chromium at the lowest
priority, and `asked` is what the daemon pays.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from cyclopts import App
from rich.console import Console
from rich.table import Table

from benchmarks import build, machine
from benchmarks.contestants import SERVE
from benchmarks.loadgen import held, load
from benchmarks.ratios import Spread
from benchmarks.servers import Contestant, Server, free_port, running
from benchmarks.workloads import SIZE, warm

INTERVAL_S = 2.0
"""How often the page asks where there are thousands of sessions."""
OPENING_S = 4.0
"""How long a browser gets to start and to have drawn the page."""
NOBODY, ASKED, PAGE = "nobody looks", "asked", "page open"

Looking = Callable[[int], AbstractContextManager[None]]

app = App(name="python -m benchmarks.live", version_flags=[])


@app.default
def main(*, idle: int = 5000, rounds: int = 7, duration: float = 3.0) -> None:
    """Report round trips and the daemon's CPU time, each beside those while nobody looks.

    Args:
        idle: Sessions that are open and silent.
        rounds: How often everything is measured; each ratio is of one round.
        duration: Seconds that a rate is measured.

    """
    machine.raise_descriptor_limit()
    build.build_all()
    port = free_port()
    daemon = Contestant("ours", "echo-daemon", (*SERVE, "--status-port", str(port)), logs=True)
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    with running(daemon) as server:
        warm(server)
        for _ in range(rounds):
            for name, looking in WAYS.items():
                with held(server, idle), looking(port):
                    for what, figure in measure(server, duration).items():
                        samples[what, name].append(figure)
    show(samples)


def measure(server: Server, duration: float) -> dict[str, float]:
    """Return the daemon's CPU time while all are silent, then the rates of some that are not."""
    began, used = time.monotonic(), server.cpu_seconds()
    time.sleep(2 * INTERVAL_S)
    figures = {"CPU": (server.cpu_seconds() - used) / (time.monotonic() - began)}
    for sessions in (10, 100):
        done = load("rtt", server, sessions=sessions, size=SIZE, duration=duration, warmup=0.5)
        figures[f"round trips, {sessions} sessions"] = done["per_s"]
    return figures


@contextlib.contextmanager
def nobody(_port: int) -> Iterator[None]:
    """Look not at all."""
    yield


@contextlib.contextmanager
def asked(port: int) -> Iterator[None]:
    """Ask as often as the page does, and do nothing with the answer."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(INTERVAL_S):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/sessions", timeout=5) as answer:
                answer.read()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def page(port: int) -> Iterator[None]:
    """Have the page open in a headless Chromium that gives way to everything else."""
    program = shutil.which("chromium") or sys.exit("benchmarks: chromium is not installed")
    with tempfile.TemporaryDirectory(prefix="echo-benchmark-", ignore_cleanup_errors=True) as name:
        words = [program, "--headless=new", "--no-sandbox", "--disable-gpu"]
        words += [f"--user-data-dir={name}", "--remote-debugging-port=0"]
        browser = subprocess.Popen(
            [*words, f"http://127.0.0.1:{port}/"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.nice(19),
        )
        try:
            time.sleep(OPENING_S)
            yield
        finally:
            browser.terminate()
            browser.wait()


WAYS: dict[str, Looking] = {NOBODY: nobody, ASKED: asked, PAGE: page}


def show(samples: dict[tuple[str, str], list[float]]) -> None:
    """Print medians, and the ratios to what was measured in the same round."""
    table = Table("what", "how", "median", "ratio", "least", "most")
    for (what, name), values in samples.items():
        alone = samples[what, NOBODY]
        ratio = Spread.of([value / other for value, other in zip(values, alone, strict=True)])
        numbers = (ratio.median, ratio.least, ratio.most)
        median = f"{Spread.of(values).median:,.4g}"
        table.add_row(what, name, median, *(f"{number:.3f}" for number in numbers))
    Console(width=100).print(table)


if __name__ == "__main__":
    app()
