"""A log that would grow for ever: bounded on the disk, and no line lost or torn at the turn."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from echo.cli.serve import Logging
from echo.limits import LOG_LINE_BYTES, MIB
from tests.faults.test_log import sessions
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from tests.faults.peers import Peers, Start

TURN = 10_000


def test_it_is_on_by_default() -> None:
    """64 MiB and five older files, unless somebody says otherwise."""
    assert (Logging().log_max_size, Logging().log_keep) == (64 * MIB, 5)


def test_the_disk_use_is_bounded(daemon: Start, connect: Peers) -> None:
    """Five files at most, none of them larger than it may be, and the last line is the last."""
    process = daemon("--log-max-size", str(TURN), "--log-keep", "4", fault="brisk")
    process.expect_gaps = True  # the oldest lines are gone
    sessions(process, connect, 300)
    process.stop()
    files = sorted(process.log.parent.glob("echo.jsonl*"))
    sizes = [path.stat().st_size for path in files]

    assert len(files) == 5
    assert all(TURN - LOG_LINE_BYTES < size <= TURN for size in sizes[1:])
    assert process.lines()[-1]["closed"] == 300


def test_no_line_is_lost_at_the_turn(daemon: Start, connect: Peers) -> None:
    """Many turns under load from several peers, HUP among them: every line, whole, in order."""
    process = daemon("--log-max-size", str(TURN), "--log-keep", "1000", fault="brisk")
    threads = [threading.Thread(target=sessions, args=(process, connect, 100)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        process.send(signal.SIGHUP)
        threads[0].join(0.02)
        threads.append(threads.pop(0))
    wait_until(lambda: len(process.events("session.closed")) == 400)
    times = [line["timestamp"] for line in process.lines()]

    assert len(list(process.log.parent.glob("echo.jsonl.*"))) >= 15
    assert times == sorted(times)


def test_the_files_are_read_one_after_the_other(daemon: Start, connect: Peers) -> None:
    """`echod logs show` makes one log of them, oldest file first."""
    process = daemon("--log-max-size", str(TURN), "--log-keep", "100", fault="brisk")
    sessions(process, connect, 100)
    process.stop()
    newest_first = [process.log, *(process.log.with_name(f"echo.jsonl.{n}") for n in range(1, 100))]
    files = [str(path) for path in reversed(newest_first) if path.exists()]
    shown = subprocess.run(
        [sys.executable, "-m", "echo", "logs", "show", *files],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds(60),
    ).stdout.splitlines()

    assert len(files) > 3
    assert len(shown) == len(process.lines()) == 2 * 100 + 3
    assert "server.started" in shown[0]
    assert "server.stopped" in shown[-1]
