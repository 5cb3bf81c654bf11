"""The status port of a real daemon: hostile clients, a lost listener, no threads."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from echo.client import EchoClient
from tests import vocabulary
from tests.faults.peers import read_to_end
from tests.server.test_status import get, status_port
from tests.server.test_systemd import activated, listening, outcome
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from tests.faults.peers import Peers, Start
    from tests.process import DaemonProcess

MIB = 1024 * 1024
# 98 header lines, each of which one library's parser splits at every carriage return: 6.4 MB.
BOMB = b"GET / HTTP/1.0\r\n" + (b"a:\r" * 21_800 + b"\n") * 98 + b"\r\n"


def peak(process: DaemonProcess) -> int:
    """Return the most memory that a daemon has had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("loop", ["python", "compiled"])
def test_a_request_of_megabytes_costs_the_daemon_nothing(
    daemon: Start, connect: Peers, loop: str
) -> None:
    """It is answered before its headers are parsed; sessions and health go on meanwhile."""
    process = daemon("--status-port", "0", "--loop", loop)
    port = status_port(process)
    get(port, "/healthz")
    before = peak(process)

    def attack() -> None:
        for _ in range(5):
            # Each goes before the next comes: too many at once would make room for each other.
            with suppress(ConnectionError), connect(port) as sock:
                sock.sendall(BOMB)
                answers.append(read_to_end(sock)[:12])

    answers: list[bytes] = []
    attackers = [threading.Thread(target=attack) for _ in range(4)]
    for attacker in attackers:
        attacker.start()
    healthy = []
    while any(attacker.is_alive() for attacker in attackers):
        healthy.append(get(port, "/healthz")[0])
        with process.client() as client:
            assert client.echo(b"hello") == b"hello"

    assert set(answers) <= {b"HTTP/1.1 431"}
    assert set(healthy) == {200}
    assert peak(process) - before < 32 * MIB


def test_silent_clients_don_t_starve_the_health_check(daemon: Start, connect: Peers) -> None:
    """However many wait at the status port, a new client is answered."""
    process = daemon("--status-port", "0")
    port = status_port(process)
    codes = []
    for _ in range(10):
        for _ in range(30):
            connect(port)
        codes.append(get(port, "/healthz")[0])
    connect.close()

    assert codes == [200] * 10


def test_threads_that_can_t_be_started_take_no_slots(daemon: Start, connect: Peers) -> None:
    """More failed starts than there are slots, and the next client is answered."""
    process = daemon("--status-port", "0", fault="threads:Thread/40")
    port = status_port(process)
    began = time.monotonic()
    for _ in range(40):
        with suppress(ConnectionError):
            assert not read_to_end(connect(port))
    code = get(port, "/healthz")[0]
    wait_until(lambda: sum(x.get("count", 1) for x in process.events("server.error")) == 40)
    lasted = time.monotonic() - began
    process.expect_errors = len(process.events("server.error"))

    assert code == 200
    assert process.expect_errors <= lasted + 2  # one a second, and the first at once


def test_without_a_thread_for_the_status_port_it_doesn_t_start(daemon: Start) -> None:
    """One line says what to do, the code is the system's."""
    process = daemon("--status-port", "0", fault="threads:status", started=False)
    process.expect_code = process.wait()
    process.expect_stderr = process.stderr

    assert process.expect_code == os.EX_OSERR
    assert process.stderr == (
        b"echod: serve: can't start new thread: "
        b"raise the limit on threads (ulimit -u, or the container's)\n"
    )


def test_a_status_listener_that_is_shut_from_outside_ends_the_daemon(tmp_path: Path) -> None:
    """A daemon without health says so and ends with a code, as one that is deaf does."""
    with listening() as sock, listening() as status, ExitStack() as stack:
        process = stack.enter_context(activated(tmp_path, {"status": status, "echo": sock}))
        with EchoClient(*sock.getsockname(), timeout=seconds(60)) as client:
            client.echo(b"hello")
        status.shutdown(socket.SHUT_RDWR)
        ended = outcome(process)
    lines = vocabulary.parse((tmp_path / "log").read_bytes())
    (error,) = [line for line in lines if line["event"] == "server.error"]

    assert ended == (os.EX_SOFTWARE, "")
    assert (error["where"], error["error"]) == ("status", "OSError: [Errno 22] Invalid argument")
    assert (lines[-1]["event"], lines[-1]["reason"]) == ("server.stopped", "error")
