"""What happens to the process itself: its clock, its being stopped, the level of its log."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.debian import need
from tests.faults.peers import echoes, pause
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from tests.faults.peers import Peers, Start


def faketime_library() -> str:
    """Return the library that lies about the wall clock."""
    need("faketime")
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("no libfaketime here")
    return str(found[0])


@pytest.mark.timeout(seconds(400))  # the library may have to be installed first
def test_a_clock_that_is_set_back(daemon: Start, connect: Peers, tmp_path: Path) -> None:
    """An hour back in mid-session: it goes on, its time-outs and its duration stay right."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    lies = {
        "LD_PRELOAD": faketime_library(),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    process = daemon("--idle-timeout", "4", env=lies)
    going, idle = connect(process.port), connect(process.port)
    process.wait_for("session.accepted", 2)
    offset.write_text("-1h")
    answers = []
    while not process.events("session.closed"):  # the other's time-out is over
        answers.append(echoes(going))
        pause(0.1)
    going.close()
    lines = process.wait_for("session.closed", 2)
    stamps = [line["timestamp"] for line in process.lines()]
    by_port = {line["peer_port"]: line for line in lines}

    assert all(answers)
    assert sorted(line["reason"] for line in lines) == ["eof", "idle_timeout"]
    assert by_port[idle.getsockname()[1]]["reason"] == "idle_timeout"
    assert 4 <= by_port[idle.getsockname()[1]]["duration_s"] < 60
    assert min(stamps) == stamps[3] < stamps[0]


def test_stopped_and_continued(daemon: Start, connect: Peers) -> None:
    """STOP for longer than the watchdog's patience, then CONT: sessions go on, old and new."""
    process = daemon(fault="impatient")
    old = connect(process.port)
    assert echoes(old)
    process.send(signal.SIGSTOP)
    waiting = connect(process.port)
    old.sendall(b"while it sleeps")
    pause(3)
    process.send(signal.SIGCONT)
    late = old.recv(15)
    answers = [echoes(old), echoes(waiting), echoes(connect(process.port))]
    connect.close()
    process.wait_for("session.closed", 3)

    assert late == b"while it sleeps"
    assert all(answers)
    assert process.events("session.closed")[0]["duration_s"] >= 0


def test_the_level_may_change_at_any_time(daemon: Start, connect: Peers) -> None:
    """USR2 again and again under load: sessions notice nothing, and the lines are whole."""
    process = daemon()
    socks = [connect(process.port) for _ in range(10)]
    answers = []
    for turn in range(50):
        process.send(signal.SIGUSR2)
        answers += [echoes(sock, b"turn %d\n" % turn) for sock in socks]
    connect.close()
    process.wait_for("session.closed", 10)
    wait_until(lambda: process.events("session.data"))

    assert all(answers)
    assert len(process.events("session.data")) < 500
