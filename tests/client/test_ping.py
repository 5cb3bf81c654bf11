"""Pings: what is measured, and what is said of each that fails."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from echo.client.ping import Pinger
from tests import planted
from tests.waiting import seconds

if TYPE_CHECKING:
    from tests.planted import Serve

# Seconds for a reply that never comes, and for one that does.
PATIENCE = seconds(0.4)
PLENTY = seconds(20)


def test_a_reply_has_its_time() -> None:
    """A reply's time is not longer than the call that measured it; the connect time is apart."""
    with planted.planted(planted.right) as address, Pinger(*address) as pinger:
        pinger.ping()
        began = time.perf_counter_ns()
        reply = pinger.ping()
        whole_ms = (time.perf_counter_ns() - began) / 1e6

    assert reply.number == 2
    assert reply.ms is not None
    assert 0 < reply.ms <= whole_ms
    assert pinger.connects.count == 1
    assert repr(pinger).endswith("2/2>")


def test_a_new_connection_each_time() -> None:
    """With `reconnect` each ping has a connection of its own."""
    with planted.planted(planted.right) as address, Pinger(*address, reconnect=True) as pinger:
        replies = [pinger.ping() for _ in range(3)]

    assert all(reply.ms for reply in replies)
    assert pinger.connects.count == 3


def test_a_large_ping_comes_back_whole() -> None:
    """A ping beyond the socket buffers is read while it is written."""
    with (
        planted.planted(planted.right) as address,
        Pinger(*address, size=8 * 1024 * 1024) as pinger,
    ):
        reply = pinger.ping()

    assert reply.problem == ""


@pytest.mark.parametrize(
    ("serve", "problem", "mismatches"),
    [
        (planted.resets_after(0), "broke the stream at offset 0", 0),
        (planted.sends_more, "expected no more bytes, got 0x21", 1),
        (planted.closes_at_once, "stream at offset 0", 0),
        (planted.ends_early, "ended the stream at offset 1, with 63 bytes missing", 0),
        (
            planted.never_answers,
            f"no echo for {PATIENCE:g} s at offset 0, with 64 bytes missing",
            0,
        ),
    ],
)
def test_what_went_wrong_is_said(serve: Serve, problem: str, mismatches: int) -> None:
    """A ping that is not answered rightly is lost, and its reply says why."""
    timeout = PATIENCE if serve is planted.never_answers else PLENTY
    with planted.planted(serve) as address, Pinger(*address, timeout=timeout) as pinger:
        reply = pinger.ping()

    assert reply.ms is None
    assert problem in reply.problem
    assert (pinger.received, pinger.lost, pinger.mismatches) == (0, 1, mismatches)


def test_a_slow_reply_has_a_deadline_in_all() -> None:
    """A server that sends a byte now and then does not keep the ping waiting for ever."""
    pace = threading.Event()

    def drip(sock: socket.socket) -> None:
        for byte in sock.recv(64):
            sock.sendall(bytes([byte]))
            pace.wait(seconds(0.1))

    # Time for a byte to come on a machine that stands still meanwhile, and not for all of them.
    with planted.planted(drip) as address, Pinger(*address, timeout=seconds(2)) as pinger:
        reply = pinger.ping()

    assert f"not over after {seconds(2):g} s, but at offset" in reply.problem


def test_after_a_loss_the_next_one_connects_anew() -> None:
    """After a lost ping the next one succeeds."""
    with (
        planted.planted(planted.resets_after(64)) as address,
        Pinger(*address, timeout=PLENTY) as pinger,
    ):
        problems = [bool(pinger.ping().problem) for _ in range(4)]

    assert problems == [False, True, False, True]
    assert pinger.connects.count == 2


def test_a_refused_connection_is_a_loss_an_unknown_host_is_an_error() -> None:
    """A refused connection is a lost ping; a name that doesn't exist is an error."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with Pinger(*closed.getsockname()) as refused:
            reply = refused.ping()
    with Pinger("a..b", 9000) as unknown, pytest.raises(socket.gaierror):
        unknown.ping()

    assert reply.problem == "Connection refused"
    assert refused.as_dict()["connect_ms"] is None


def test_a_name_that_is_lost_later_is_a_loss() -> None:
    """After a first connection, a name that can't be resolved is a lost ping."""
    with (
        planted.planted(planted.right) as (host, port),
        Pinger(host, port, reconnect=True) as pinger,
    ):
        replies = [pinger.ping()]
        pinger.host = "a..b"
        replies.append(pinger.ping())
        pinger.host = host
        replies.append(pinger.ping())

    assert [bool(reply.problem) for reply in replies] == [False, True, False]
    assert "not known" in replies[1].problem


def test_times_lie_between_the_server_s_clock_and_ours() -> None:
    """Each is at least what the server took, by its own clock, and all are less than the whole."""
    held: list[float] = []
    with planted.planted(planted.holds(0.005, held)) as address, Pinger(*address) as pinger:
        began = time.perf_counter()
        for _ in range(20):
            pinger.ping()
        whole_ms = (time.perf_counter() - began) * 1000
    figures = pinger.as_dict()

    assert len(held) == figures["received"] == 20
    assert sum(held) < pinger.received * (figures["avg_ms"] or 0) < whole_ms
    assert sorted(held)[9] <= (figures["p50_ms"] or 0) * 1.001
    assert (figures["min_ms"] or 0) >= min(held)
    assert max(held) <= (figures["max_ms"] or 0) <= whole_ms - sum(held) + max(held)
