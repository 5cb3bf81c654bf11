"""However a peer behaves, its session ends within its limits, with one line and one reason."""

from __future__ import annotations

import socket
from contextlib import nullcontext, suppress
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from tests.faults.peers import echoes, fill, pause, read_to_end, reset
from tests.namespaces import own_loopback
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.peers import Peers, Start
    from tests.process import DaemonProcess


def reasons(process: DaemonProcess, count: int) -> list[str]:
    """Return the reasons of all ends, once there are `count`."""
    return [line["reason"] for line in process.wait_for("session.closed", count)]


# -- reset at each stage ----------------------------------------------------------------------


@pytest.mark.long
def test_connect_and_reset_at_once(daemon: Start, connect: Peers) -> None:
    """A connection that is gone before anybody looked is a session that was reset, or is none."""
    process = daemon()
    for _ in range(100):
        reset(connect(process.port))
    answer = echoes(connect(process.port))
    connect.close()
    wait_until(lambda: "eof" in reasons(process, 1))
    found = reasons(process, len(process.events("session.accepted")))

    assert answer
    assert set(found) == {"reset", "eof"}
    assert found.count("eof") == 1


def after_a_byte(sock: socket.socket, server: int) -> None:
    """Take an echo back: the session waits for input."""
    del server
    assert echoes(sock)


def with_an_echo_unread(sock: socket.socket, server: int) -> None:
    """Leave the echo in the peer's buffer."""
    del server
    sock.sendall(b"hello")
    sock.recv(1, socket.MSG_PEEK)


def in_a_blocked_send(sock: socket.socket, server: int) -> None:
    """Read nothing until the session can't send."""
    fill(sock, server)


@pytest.mark.parametrize("loop", ["python", "auto"])
def test_a_reset_at_each_stage(daemon: Start, connect: Peers, loop: str) -> None:
    """One closing line for each, and its reason is the reset."""
    process = daemon("--loop", loop)
    for stage in (after_a_byte, with_an_echo_unread, in_a_blocked_send):
        sock = connect(process.port)
        stage(sock, process.pid)
        reset(sock)

    assert reasons(process, 3) == ["reset"] * 3


def test_a_reset_after_the_peer_s_end(daemon: Start, connect: Peers) -> None:
    """Half-closed, then reset while the rest of its echo is on its way: not a clean end."""
    process = daemon()
    sock = connect(process.port)
    fill(sock, process.pid)
    sock.shutdown(socket.SHUT_WR)
    reset(sock)

    assert reasons(process, 1) == ["reset"]


def test_a_reset_while_it_lingers(daemon: Start, connect: Peers) -> None:
    """The reason stays what has ended the session: the limit came first."""
    process = daemon("--max-bytes", "5")
    sock = connect(process.port)
    sock.sendall(b"hello, world")
    sock.recv(5, socket.MSG_WAITALL)
    reset(sock)

    assert reasons(process, 1) == ["byte_limit"]


# -- limits -----------------------------------------------------------------------------------


@pytest.mark.long
def test_peers_that_never_end_are_ended(daemon: Start, connect: Peers) -> None:
    """Who never reads, who never writes and who trickles: each by its own limit, all at once."""
    # A daemon for each, so that no stall of the machine lets a peer run into another's limit.
    times = ("1", "60", "60"), ("60", "1", "60"), ("60", "60", "2.5")
    flags = ("--write-timeout", "--idle-timeout", "--session-timeout")
    processes = [daemon(*chain(*zip(flags, each, strict=True))) for each in times]
    stuck, idle, slow = (connect(process.port) for process in processes)
    with suppress(ConnectionError):  # after a stall it is over by now
        fill(stuck, processes[0].pid)
    pieces = 0
    while echoes(slow, b"x"):
        pieces += 1
        pause(0.2)
    lines = [process.wait_for("session.closed")[0] for process in processes]
    stuck_line, idle_line, slow_line = lines

    assert stuck_line["reason"] == "write_timeout"
    assert idle_line["reason"] == "idle_timeout"
    assert slow_line["reason"] == "session_timeout"
    assert slow_line["duration_s"] >= 2.5
    assert pieces > 0
    assert read_to_end(idle) == b""


@pytest.fixture(params=[65_536, 1500])
def mtu(request: pytest.FixtureRequest) -> Iterator[int]:
    """Return the size of a packet: the loopback's usual one, or Ethernet's in a network of its own.

    A test asks for it before `daemon`, which belongs to the network that it is started in.
    """
    with own_loopback(request.param) if request.param == 1500 else nullcontext():
        yield request.param


@pytest.mark.long
def test_a_slow_reader_is_not_a_stuck_one(mtu: int, daemon: Start, connect: Peers) -> None:
    """A peer that reads its receive buffer's worth within the time-out is served, not cut.

    Its system reports room in steps. They are as large as its receive buffer, which a fast
    transfer enlarges to 300 KB where packets are small.
    """
    processes = [daemon("--write-timeout", "4", "--loop", loop) for loop in ("python", "auto")]
    socks = [connect(process.port) for process in processes]
    due = [fill(sock, process.pid) for sock, process in zip(socks, processes, strict=True)]
    for _ in range(60):  # 6 s in which it reads far less than a third of a send buffer
        read = [len(sock.recv(8000 if mtu > 1500 else 24_000)) for sock in socks]
        due = [left - count for left, count in zip(due, read, strict=True)]
        pause(0.1)
    still = [process.events("session.closed") for process in processes]
    for sock in socks:
        sock.shutdown(socket.SHUT_WR)
    rest = [len(read_to_end(sock)) for sock in socks]

    assert still == [[], []]
    assert rest == due
    assert [reasons(process, 1) for process in processes] == [["eof"], ["eof"]]


@pytest.mark.parametrize("loop", ["python", "auto"])
@pytest.mark.long
def test_a_reader_slower_than_its_buffer_counts_as_stuck(
    mtu: int, daemon: Start, connect: Peers, loop: str
) -> None:
    """Reading without a pause is no sign of life until the peer's system has room again."""
    del mtu
    process = daemon("--write-timeout", "1", "--loop", loop)
    sock = connect(process.port)
    with suppress(ConnectionError):  # after a stall of the machine it is over by now
        fill(sock, process.pid)
    for _ in range(100):
        if process.events("session.closed"):
            break
        sock.recv(90)
        pause(0.1)

    assert reasons(process, 1) == ["write_timeout"]


@pytest.mark.parametrize("loop", ["python", "auto"])
@pytest.mark.parametrize("limit", [1, 1000, 100_000, 5_000_000])
@pytest.mark.long
def test_the_byte_limit_in_mid_stream(daemon: Start, connect: Peers, limit: int, loop: str) -> None:
    """Still sending, reading late: exactly the limit comes back, then the end, never a reset."""
    flags = ("--max-bytes", str(limit), "--buffer-size", "512", "--loop", loop)
    process = daemon(*flags, fault="lingering:60")
    sock = connect(process.port)
    # The server drops what is too much, or both ways are full.
    fill(sock, process.pid, limit + 2_000_000)
    got = len(read_to_end(sock))
    sock.close()
    (closed,) = process.wait_for("session.closed")

    assert closed["reason"] == "byte_limit"
    assert got == closed["received_bytes"] == closed["sent_bytes"] == limit


def test_the_byte_limit_met_exactly(daemon: Start, connect: Peers) -> None:
    """A stream of exactly the limit comes back whole, whether the peer ends it or waits."""
    process = daemon("--max-bytes", "1000", "--buffer-size", "1000")
    ending, waiting = connect(process.port), connect(process.port)
    for sock in (ending, waiting):
        sock.sendall(bytes(1000))
    ending.shutdown(socket.SHUT_WR)

    assert [len(read_to_end(sock)) for sock in (ending, waiting)] == [1000, 1000]
    assert reasons(process, 2) == ["byte_limit", "byte_limit"]
