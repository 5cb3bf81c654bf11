"""Too many sessions, in all or of one peer: refused at once, and the slot is soon free again."""

from __future__ import annotations

import math
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.peers import echoes, read_to_end
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from tests.faults.peers import Peers, Start
    from tests.process import DaemonProcess


def refused(process: DaemonProcess) -> int:
    """Count the refusals that are in the log."""
    return sum(line["count"] for line in process.events("session.refused"))


@pytest.mark.parametrize(
    ("flag", "sources", "reason"),
    [
        ("--max-sessions", [f"127.0.0.{n}" for n in range(1, 9)], "max_sessions"),
        ("--max-sessions-per-peer", ["127.0.0.5"] * 8, "max_sessions_per_peer"),
    ],
)
def test_one_too_many(
    daemon: Start, connect: Peers, flag: str, sources: list[str], reason: str
) -> None:
    """Seven are served; the eighth has its end at once, and a slot as soon as another has left."""
    process = daemon(flag, "7")
    first = [connect(process.port, source) for source in sources[:7]]
    served = [echoes(sock) for sock in first]
    end = read_to_end(connect(process.port, sources[7]))
    others = echoes(connect(process.port, "127.0.0.99")) if "peer" in flag else True
    first[3].shutdown(socket.SHUT_WR)
    left = read_to_end(first[3])
    later = echoes(connect(process.port, sources[7]))
    lines = process.wait_for("session.refused")

    assert all(served)
    assert end == left == b""
    assert others
    assert later
    assert [line["count"] for line in lines] == [1]
    assert (lines[0]["reason"], lines[0]["peer_ip"]) == (reason, sources[7])


def test_one_peer_can_t_take_every_slot(daemon: Start, connect: Peers) -> None:
    """However one address tries, others are served."""
    process = daemon("--max-sessions", "10", "--max-sessions-per-peer", "5")
    for _ in range(50):
        connect(process.port, "127.0.0.7")
    others = [echoes(connect(process.port, f"127.0.0.{n}")) for n in range(11, 16)]

    assert all(others)
    assert read_to_end(connect(process.port, "127.0.0.16")) == b""


@pytest.mark.long
def test_a_flood_of_refusals(daemon: Start, connect: Peers) -> None:
    """However many are refused, the lines are few, and their counts add up."""
    process = daemon("--max-sessions", "1")
    assert echoes(connect(process.port))
    began = time.monotonic()
    for _ in range(1500):
        connect(process.port).close()
    wait_until(lambda: refused(process) == 1500)
    lasted = time.monotonic() - began

    assert len(process.events("session.refused")) <= math.ceil(lasted) + 2
    assert process.stop() == 0
    assert process.events("server.stopped")[0]["refused"] == 1500


def test_one_peer_by_two_kinds_of_address(daemon: Start) -> None:
    """On a dual-stack socket an IPv4 peer is one peer, and is written as IPv4."""
    process = daemon("--host", "::", "--max-sessions-per-peer", "1")
    with socket.create_connection(("127.0.0.1", process.port), seconds(60)) as first:
        assert echoes(first)
        with socket.create_connection(("127.0.0.1", process.port), seconds(60)) as second:
            end = read_to_end(second)
        with socket.create_connection(("::1", process.port), seconds(60)) as other:
            answer = echoes(other)
    process.wait_for("session.closed", 2)
    peers = {line["peer_ip"] for line in process.lines() if "peer_ip" in line}

    assert end == b""
    assert answer
    assert peers == {"127.0.0.1", "::1"}
