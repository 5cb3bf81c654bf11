"""Out of descriptors: connections wait, the processor rests, and service resumes."""

from __future__ import annotations

import resource
import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.peers import echoes
from tests.faults.test_stop import GRACE
from tests.process import limits_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    import socket

    from tests.faults.peers import Peers, Start
    from tests.process import DaemonProcess

FEW = 64


def exhaust(process: DaemonProcess, connect: Peers, clients: int = 100) -> list[socket.socket]:
    """Take a running daemon's descriptors away, then connect more clients than it has left."""
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
    before = len(process.events("accept.exhausted"))
    socks = [connect(process.port) for _ in range(clients)]
    process.wait_for("accept.exhausted", before + 1)
    return socks


def cpu_share(process: DaemonProcess, looks: int = 100) -> float:
    """Measure the share of a core that it takes, over about a second."""
    from time import monotonic

    began, used = monotonic(), process.cpu_seconds()
    wait_until(lambda: monotonic() - began > looks / 100)
    return (process.cpu_seconds() - used) / (monotonic() - began)


def test_a_hundred_clients_with_64_descriptors(daemon: Start, connect: Peers) -> None:
    """Full: under 10 % of a core, one line in, one line out, and all are served in the end."""
    process = daemon(fault="brisk")
    socks = exhaust(process, connect)
    wait_until(lambda: cpu_share(process) < 0.1)
    served = socks[: len(process.events("session.accepted"))]
    answers = [echoes(sock) for sock in served]
    for sock in served:
        sock.close()
    later = []
    for sock in socks[len(served) :]:
        later.append(echoes(sock))
        sock.close()  # the last of them may be more than there is room for at once
    process.wait_for("session.closed", 100)
    (full,) = process.events("accept.exhausted")
    (again,) = process.events("accept.resumed")

    assert 0 < len(served) < FEW
    assert all(answers)
    assert all(later)
    assert "Too many open files" in full["error"]
    assert again["duration_s"] > 0


def test_every_exhaustion_has_its_lines(daemon: Start, connect: Peers) -> None:
    """A second time is a second pair of lines."""
    process = daemon(fault="brisk")
    for number in (1, 2):
        exhaust(process, connect, FEW)
        connect.close()
        process.wait_for("accept.resumed", number)
        process.wait_for("session.closed", number * FEW)  # and each has its descriptors again

    assert len(process.events("accept.exhausted")) == 2


def test_a_stop_without_descriptors(daemon: Start, connect: Peers) -> None:
    """TERM needs no descriptor: those that were served drain, those that wait are let go."""
    process = daemon("--drain-timeout", "3")
    exhaust(process, connect)
    process.send(signal.SIGTERM)
    connect.close()

    assert process.wait(3 + GRACE) == 0


def test_a_log_that_rotates_without_descriptors(daemon: Start, connect: Peers) -> None:
    """When no descriptor is left for the next file the old one goes on; no line is lost."""
    process = daemon("--log-max-size", "9000", "--log-keep", "100", fault="brisk")
    exhaust(process, connect)
    process.send(signal.SIGHUP)
    (error,) = process.wait_for("server.error")
    connect.close()
    process.wait_for("session.closed", 100)
    for _ in range(20):
        assert echoes(connect(process.port))
    connect.close()
    process.wait_for("session.closed", 120)
    process.expect_errors = 1
    sizes = [path.stat().st_size for path in process.log.parent.glob("echo.jsonl.*")]

    assert error["where"] == "log"
    assert len(sizes) >= 3
    assert process.log.stat().st_size <= 9000


def few(count: int) -> None:
    """Limit the descriptors that a process may ever have."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def test_a_start_with_few_descriptors_serves_few(daemon: Start, connect: Peers) -> None:
    """A hard limit of 64 clamps the sessions; 100 clients don't exhaust what is left."""
    process = daemon(before=lambda: few(FEW), fault="brisk")
    room = limits_of(process)["max_sessions"]
    socks = [connect(process.port) for _ in range(100)]
    wait_until(lambda: sum(x["count"] for x in process.events("session.refused")) == 100 - room)
    answers = [echoes(sock) for sock in socks]
    connect.close()
    process.wait_for("session.closed", room)
    again = echoes(connect(process.port))

    assert 0 < room < FEW
    assert answers.count(True) == room
    assert again
    assert process.events("accept.exhausted") == []


@pytest.mark.parametrize("count", [7, 9, 12, 16])
@pytest.mark.long
def test_too_few_descriptors_to_start(daemon: Start, count: int) -> None:
    """Where there is no room for the daemon itself it says so in one line, or it serves."""
    process = daemon(before=lambda: few(count), started=False)
    wait_until(lambda: process.process.poll() is not None or process.listening())
    ended = process.process.poll() is not None
    process.expect_stderr = process.stderr
    process.expect_code = process.process.returncode if ended else 0

    assert process.stderr.count(b"\n") == ended, process.stderr
    assert process.process.poll() in ((69, 71, 73) if ended else (None,)), process.stderr
