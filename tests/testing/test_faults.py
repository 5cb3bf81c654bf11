"""Faults on request: each does what it says, can be switched, and obeys the limits."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

import echo.testing
from echo import EchoClient, EchoHandler, Limits
from echo.client import EchoEnded, EchoMismatch, EchoTimeout
from echo.server.faults import FaultyHandler, FaultyServer, parse_faults
from echo.testing import Faults, running_server
from tests.conftest import check_events
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from echo.testing import RunningServer
    from tests.process import DaemonProcess


def connect(server: RunningServer) -> EchoClient:
    """Return a client."""
    return EchoClient(*server.address, timeout=seconds(60))


def closing_line(server: RunningServer) -> dict[str, Any]:
    """Wait for the end of a server's first session, and return its last event."""
    return server.log.wait_for("session.closed", timeout=seconds(60))[0]


def took(client: EchoClient, data: bytes) -> float:
    """Echo, and give the seconds that took."""
    began = time.monotonic()
    client.echo(data)
    return time.monotonic() - began


# -- each fault ----------------------------------------------------------------------------


def test_without_faults_it_is_an_echo_server() -> None:
    """A server with no fault set echoes everything."""
    with running_server(faults=Faults()) as server, connect(server) as client:
        echo = client.echo(bytes(300_000))
        assert server.received_bytes == 300_000
        wait_until(lambda: [session.sent_bytes for session in server.sessions] == [300_000])
        assert (server.host, server.port) == server.address
        client.finish()
    check_events(server)

    assert echo == bytes(300_000)
    assert server.events[-1]["reason"] == "eof"


def test_delay_and_jitter_come_before_each_echo() -> None:
    """An echo takes at least the delay; jitter adds to it."""
    with running_server(faults=Faults(delay=0.1, jitter=0.05)) as server, connect(server) as client:
        times = [took(client, b"x") for _ in range(3)]

    assert min(times) >= 0.1


def test_throttle_bounds_the_rate() -> None:
    """An echo takes at least as long as its size and the rate make it."""
    with running_server(faults=Faults(throttle=10_000)) as server, connect(server) as client:
        time_taken = took(client, bytes(3000))

    assert time_taken >= 0.25


def test_fragment_sends_byte_by_byte() -> None:
    """Each byte is a send of its own."""
    pieces = []
    with running_server(faults=Faults(fragment=True, throttle=1)) as server:
        with socket.create_connection(server.address, seconds(60)) as sock:
            sock.sendall(b"piecemeal")
            while b"".join(pieces) != b"piecemeal":
                pieces.append(sock.recv(65536))
                # Another fault ends the second that would pass before the next byte.
                server.faults = Faults(fragment=True, throttle=1)

    assert len(pieces) > 4


@pytest.mark.parametrize("offset", [0, 3, 40_000])
def test_corrupt_changes_one_byte(offset: int) -> None:
    """The byte at the offset differs, and no other."""
    with running_server(faults=Faults(corrupt=offset)) as server, connect(server) as client:
        with pytest.raises(EchoMismatch) as caught:
            client.echo(bytes(50_000))

    assert (caught.value.offset, caught.value.got) == (offset, 0xFF)


@pytest.mark.parametrize("count", [0, 1, 40_000])
def test_close_ends_the_stream_after_so_many(count: int) -> None:
    """The given count of bytes comes back, then the end of the stream."""
    with running_server(faults=Faults(close_after=count)) as server:
        with connect(server) as client, pytest.raises(EchoEnded) as caught:
            client.echo(bytes(count + 1))
        closed = closing_line(server)

    assert (caught.value.offset, caught.value.missing) == (count, 1)
    assert "ended" in str(caught.value)
    assert (closed["reason"], closed["sent_bytes"]) == ("byte_limit", count)


@pytest.mark.parametrize("count", [0, 1, 40_000])
def test_reset_breaks_the_connection_after_so_many(count: int) -> None:
    """The given count of bytes comes back, then a reset."""
    with running_server(faults=Faults(reset_after=count)) as server:
        # Before a byte has come back, connecting may already see the reset.
        with pytest.raises((EchoEnded, ConnectionResetError)) as caught:
            with connect(server) as client:
                client.echo(bytes(count + 1))
        closed = closing_line(server)

    assert re.search("broke|reset", str(caught.value))
    assert (closed["reason"], closed["sent_bytes"]) == ("reset", count)


def test_stall_accepts_and_never_answers() -> None:
    """A stalled session reads nothing and sends nothing."""
    with running_server(faults=Faults(stall=True)) as server, connect(server) as client:
        server.log.wait_for("session.accepted", timeout=seconds(60))
        client.timeout = 0.2
        with pytest.raises(EchoTimeout):
            client.echo(b"x")
        (session,) = server.sessions
        assert session.received_bytes == 0
    check_events(server)


def test_refuse_refuses() -> None:
    """Connections are refused, from the beginning, and again once switched on again."""
    with running_server(faults=Faults(refuse=True)) as server:
        with pytest.raises(ConnectionRefusedError):
            connect(server).connect()
        for _ in range(2):
            server.faults = Faults()
            with connect(server) as client:
                assert client.echo(b"x") == b"x"
                server.faults = Faults(refuse=True)
                with pytest.raises(ConnectionRefusedError):
                    connect(server).connect()
                assert client.echo(b"still") == b"still"
            wait_until(lambda: not server.sessions)


# -- switching -----------------------------------------------------------------------------


def test_a_stall_that_is_switched_off_goes_on() -> None:
    """A stalled session answers when the fault is taken away, and stalls again when it is back."""
    with running_server(faults=Faults(stall=True)) as server, connect(server) as client:
        client.send(b"one")
        server.faults = Faults(delay=0.01)
        assert client.receive(3) == b"one"
        server.faults = Faults(stall=True, close_after=10**9)
        client.send(b"two")
        server.faults = Faults()
        assert client.receive(3) == b"two"


def test_a_delay_that_is_switched_off_ends() -> None:
    """A delay ends when the fault is taken away."""
    with running_server(faults=Faults(delay=3600)) as server, connect(server) as client:
        client.send(b"x")
        wait_until(lambda: server.received_bytes == 1)
        server.faults = Faults()

        assert client.receive(1) == b"x"


def test_an_end_that_is_already_passed_comes_with_the_next_byte() -> None:
    """A session that has had more than the new fault allows ends at its next chance."""
    with running_server(faults=Faults()) as server, connect(server) as client:
        client.echo(bytes(100))
        server.faults = Faults(close_after=50)
        with pytest.raises(EchoEnded) as caught:
            client.echo(b"x")

    assert caught.value.offset == 100


# -- limits and stops ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "faults", "reason"),
    [
        (Limits(idle_timeout=0.1), Faults(stall=True), "idle_timeout"),
        (Limits(session_timeout=0.1), Faults(stall=True), "session_timeout"),
        (Limits(session_timeout=0.1), Faults(delay=60), "session_timeout"),
        (Limits(session_timeout=0.1), Faults(throttle=1), "session_timeout"),
        (Limits(max_bytes=1), Faults(fragment=True), "byte_limit"),
    ],
)
def test_the_limits_hold(limits: Limits, faults: Faults, reason: str) -> None:
    """A fault keeps no session longer than it may last."""
    with running_server(limits=limits, faults=faults) as server:
        with socket.create_connection(server.address, seconds(60)) as sock:
            sock.sendall(b"hello")
            while sock.recv(100):
                pass
        closed = closing_line(server)
    check_events(server)

    assert closed["reason"] == reason


@pytest.mark.parametrize("faults", [Faults(stall=True), Faults(delay=3600), Faults(throttle=1)])
def test_a_stop_is_not_kept_waiting(faults: Faults) -> None:
    """A drain wakes every fault; what was read is echoed, unless it was stalled."""
    with running_server(faults=Faults()) as server:
        with connect(server) as client:
            client.echo(b"x")
            server.faults = faults
            client.send(bytes(1000))
            if not faults.stall:
                wait_until(lambda: server.received_bytes == 1001)
            client.half_close()  # nothing more comes, so that nothing is lingered for
            drained = server.server.drain(seconds(60))  # the faults would take much longer
    check_events(server)
    closed = server.log.named("session.closed")[0]

    assert drained
    assert closed["reason"] == "drained"
    assert closed["sent_bytes"] == closed["received_bytes"]


def test_a_port_in_use_gives_everything_back() -> None:
    """A faulty server that can't listen leaves nothing behind."""
    with running_server() as server, pytest.raises(OSError, match="in use"):
        FaultyServer(server.address)


# -- asking for them -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [{"delay": -1}, {"jitter": float("nan")}, {"throttle": -1}, {"reset_after": -1}]
)
def test_faults_that_can_t_be_meant_are_refused(values: dict[str, Any]) -> None:
    """The error names the fault."""
    with pytest.raises(ValueError, match=next(iter(values))):
        Faults(**values)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["explode"], "'explode' is none of delay, jitter"),
        (["delay"], "delay takes a value"),
        (["stall=1"], "stall takes no value"),
        (["corrupt=x"], "corrupt must be a size such as 512, 64k or 1.5M, not x"),
        (["delay=-1"], "delay must be from 0"),
    ],
)
def test_words_that_make_no_sense_are_refused(words: list[str], problem: str) -> None:
    """The error says what is wrong with which word."""
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse_faults(words)


def test_an_ordinary_server_has_no_faults() -> None:
    """A server without faults has no `faults`; asking for them raises."""
    with running_server() as server:
        with pytest.raises(TypeError, match="faults=Faults"):
            server.faults = Faults()
        handler = server.server.RequestHandlerClass

    assert handler is EchoHandler


def test_a_handler_of_one_s_own_is_kept() -> None:
    """Faults and a handler go together, where the handler knows faults."""

    class Loud(FaultyHandler):
        """One's own."""

    with running_server(faults=Faults(), handler=Loud) as server:
        handler = server.server.RequestHandlerClass

    assert handler is Loud


def test_an_unknown_name_is_an_error() -> None:
    """An attribute that `echo.testing` lacks is an AttributeError."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        echo.testing.nothing  # noqa: B018


# -- echod serve --fault -------------------------------------------------------------------


@pytest.mark.parametrize("stop_with_client", [True, False])
def test_the_daemon_does_wrong_on_request(
    daemon: Callable[..., DaemonProcess], stop_with_client: bool
) -> None:
    """`--fault` may be repeated; the daemon's log and its stop are those of every daemon."""
    process = daemon("--fault", "close-after=3", "--fault", "delay=0.05")
    with process.client() as client:
        with pytest.raises(EchoEnded) as caught:
            client.echo(b"hello")
        if stop_with_client:
            process.stop()
    process.wait_for("session.closed")

    assert caught.value.offset == 3


def test_the_daemon_stalls_and_stops_in_time(daemon: Callable[..., DaemonProcess]) -> None:
    """A stop ends stalled sessions at once."""
    process = daemon("--fault", "stall", "--drain-timeout", "1000")
    with process.client() as client:
        process.wait_for("session.accepted")
        client.timeout = 0.2
        with pytest.raises(EchoTimeout):
            client.echo(b"x")
        code = process.stop()

    assert code == 0
    assert process.events("session.closed")[0]["reason"] == "drained"


def test_every_fault_is_a_word() -> None:
    """Each field can be asked for on a command line."""
    words = {
        field.name: field.name.replace("_", "-") + ("" if field.default is False else "=1")
        for field in fields(Faults)
    }

    assert set(parse_faults(words.values()).active()) == set(words)
