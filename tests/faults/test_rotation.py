"""A log that would grow for ever: bounded on the disk, and no line lost or torn by a rotation."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from echo.cli.serve import Logging
from echo.limits import LOG_LINE_BYTES, MIB
from tests.faults.test_log import sessions
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.peers import Peers, Start

SIZE = 10_000


def test_it_is_on_by_default() -> None:
    """64 MiB and five older files, unless somebody says otherwise."""
    assert (Logging().log_max_size, Logging().log_keep) == (64 * MIB, 5)


def test_the_disk_use_is_bounded(daemon: Start, connect: Peers) -> None:
    """Five files at most, none of them larger than it may be, and the last line is the last."""
    process = daemon("--log-max-size", str(SIZE), "--log-keep", "4", fault="brisk")
    process.expect_gaps = True  # the oldest lines are gone
    sessions(process, connect, 300)
    process.stop()
    files = sorted(process.log.parent.glob("echo.jsonl*"))
    sizes = [path.stat().st_size for path in files]

    assert len(files) == 5
    assert all(SIZE - LOG_LINE_BYTES < size <= SIZE for size in sizes[1:])
    assert process.lines()[-1]["closed"] == 300


def test_no_line_is_lost_by_a_rotation(daemon: Start, connect: Peers) -> None:
    """Many rotations under load from several peers, HUP among them: every line, whole, in order."""
    process = daemon("--log-max-size", str(SIZE), "--log-keep", "1000", fault="brisk")
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
    process = daemon("--log-max-size", str(SIZE), "--log-keep", "100", fault="brisk")
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


@pytest.mark.parametrize("fault", ["shipped", "readonly"])
def test_a_rotation_that_can_t_be_undone(daemon: Start, connect: Peers, fault: str) -> None:
    """No new file for a while, the old one renamed: no line is lost, and HUP is answered."""
    process = daemon(
        *("--log-max-size", str(SIZE), "--log-keep", "90"), fault=f"rotation:{fault}+brisk"
    )
    sessions(process, connect, 200)
    closed = process.wait_for("session.closed", 200)
    process.send(signal.SIGHUP)
    process.wait_for("log.reopened")
    process.check_and_stop()

    assert len(closed) == 200
    assert process.log.stat().st_size <= SIZE


def test_the_limit_on_a_file_s_size_rotates_too(daemon: Start, connect: Peers) -> None:
    """A log that may not grow (`ulimit -f`) rotates at that size: no line is lost or torn."""
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (SIZE, SIZE))
    process = daemon("--log-keep", "90", before=limit, fault="brisk")
    sessions(process, connect, 100)
    closed = process.wait_for("session.closed", 100)
    sizes = [path.stat().st_size for path in process.log.parent.glob("echo.jsonl*")]

    assert len(closed) == 100
    assert len(sizes) > 2
    assert max(sizes) <= SIZE


@pytest.mark.parametrize("take", [os.mkdir, os.mkfifo])
def test_a_log_whose_name_is_taken_has_its_bound(
    daemon: Start, connect: Peers, take: Callable[[Path], None]
) -> None:
    """A folder or a pipe in the log's place: the moved file is bounded, and lines wait."""
    process = daemon("--log-max-size", str(SIZE), "--log-keep", "90", fault="brisk")
    moved = process.log.rename(process.log.with_name("echo.jsonl.99"))
    take(process.log)
    sessions(process, connect, 200)
    wait_until(lambda: moved.stat().st_size > 2 * SIZE - LOG_LINE_BYTES)
    process.log.rename(process.log.with_name("away"))
    closed = process.wait_for("session.closed", 200)

    assert len(closed) == 200
    assert moved.stat().st_size <= 2 * SIZE


def test_a_log_behind_a_link(daemon: Start, connect: Peers, tmp_path: Path) -> None:
    """The link's target is made and rotates; HUP follows the link to another target."""
    link, first, second = tmp_path / "link", tmp_path / "first" / "log", tmp_path / "second" / "log"
    link.symlink_to(first)
    process = daemon("--log-max-size", str(SIZE), "--log-keep", "90", log=link, fault="brisk")
    process.log = first
    sessions(process, connect, 50)
    process.wait_for("session.closed", 50)  # and nothing more is to be written there
    link.unlink()
    link.symlink_to(second)
    process.expect_gaps = True  # what follows is in another folder
    process.send(signal.SIGHUP)
    wait_until(second.exists)
    process.log = second
    sessions(process, connect, 50)
    process.wait_for("session.closed", 50)
    process.stop()
    before, after = (process.lines() for process.log in (first, second))

    assert link.readlink() == second
    assert first.with_name("log.1").exists()
    assert before[0]["event"] == "server.started"
    assert after[0]["event"] == "log.reopened"
    assert after[-1]["event"] == "server.stopped"
    assert len([line for line in before + after if line["event"] == "session.closed"]) == 100
