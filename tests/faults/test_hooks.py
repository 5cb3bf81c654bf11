"""An exception in any hook: that connection ends, the next is served, one event tells of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.faults.peers import echoes
from tests.faults.test_stop import stop

if TYPE_CHECKING:
    from tests.faults.peers import Peers, Start

# The first of these has no session yet, the others' sessions end for the reason that is named.
BEFORE = ["get_request", "verify_request", "process_request", "service_actions"]
WITHIN = [
    "process_request_thread",
    "finish_request",
    "setup",
    "handle",
    "finish",
    "shutdown_request",
    "close_request",
]


@pytest.mark.parametrize("name", BEFORE)
def test_a_hook_of_the_accept_loop(daemon: Start, connect: Peers, name: str) -> None:
    """Without a session there are no lines of one, and its slot is free."""
    process = daemon("--max-sessions", "1", fault=f"hook:{name}")
    process.expect_errors = 1
    if name in ("verify_request", "process_request"):
        with suppress(ConnectionError):
            assert connect(process.port).recv(1) == b""
    answer = echoes(connect(process.port))
    error = process.wait_for("server.error")[0]

    assert answer
    assert error["where"] in (name, "bad")
    assert "in bad\n" in error["exception"]
    assert len(process.wait_for("session.accepted")) == 1


@pytest.mark.parametrize("name", WITHIN)
def test_a_hook_of_a_session(daemon: Start, connect: Peers, name: str) -> None:
    """The session has both its lines; its slot, its thread and its descriptor are given back."""
    process = daemon("--max-sessions", "1", fault=f"hook:{name}")
    process.expect_errors = 1
    with connect(process.port) as sock:
        echoes(sock)
    process.wait_for("session.closed")
    answer = echoes(connect(process.port))
    connect.close()
    first, second = process.wait_for("session.closed", 2)
    (error,) = process.events("server.error")

    assert answer
    assert (first["reason"], second["reason"]) == ("error", "eof")
    assert "in bad\n" in error["exception"]


def test_the_hook_that_reports_the_others(daemon: Start, connect: Peers) -> None:
    """When the report itself fails, one event tells of both."""
    process = daemon(fault="hook:handle+hook:handle_error")
    process.expect_errors = 1
    with connect(process.port) as sock:
        echoes(sock)
    process.wait_for("session.closed")
    answer = echoes(connect(process.port))
    (error,) = process.events("server.error")

    assert answer
    assert error["where"] == "handle_error"
    assert error["exception"].count("in bad\n") == 2


def test_a_handler_that_hangs(daemon: Start, connect: Peers) -> None:
    """A handler that no shutdown of its socket wakes has its closing line all the same."""
    process = daemon("--drain-timeout", "0.2", fault="deaf")
    connect(process.port)
    process.wait_for("session.accepted")
    code = stop(process, 0.2)

    assert code == 0
    assert process.events("session.closed")[0]["reason"] == "cut"
