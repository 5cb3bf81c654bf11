"""The third promise: every resource has a bound, and each bound its own reason in the log."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from echo import EchoClient, Limits
from echo.deadline import Deadline
from echo.limits import BadLimit
from echo.server.waiting import Waiter
from tests.conftest import check_events
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from typing import Any

    from tests.conftest import Serve


def ended(serve: Serve, limits: Limits, use: Any) -> dict[str, Any]:
    """Run a server, let `use` do something with a socket, and give the session's last line."""
    with serve(limits=limits) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            use(sock)
        closed = server.log.wait_for("session.closed")[0]
    check_events(server)
    return closed


def until_end(sock: socket.socket) -> bytes:
    """Read to the end of the stream."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_a_silent_peer_is_ended(serve: Serve) -> None:
    """A peer that says nothing for `idle_timeout` is ended with an end of stream."""

    def use(sock: socket.socket) -> None:
        sock.sendall(b"hello")
        assert until_end(sock) == b"hello"

    closed = ended(serve, Limits(idle_timeout=seconds(0.3)), use)

    assert closed["reason"] == "idle_timeout"
    assert closed["received_bytes"] == closed["sent_bytes"] == 5


@pytest.mark.parametrize("idle_timeout", [0, 5])
def test_a_session_that_never_idles_is_ended(serve: Serve, idle_timeout: float) -> None:
    """A byte now and then doesn't keep a session beyond `session_timeout`."""
    pause = threading.Event()

    def use(sock: socket.socket) -> None:
        sock.setblocking(False)
        deadline = Deadline(seconds(10))  # not a count: a quick echo is short
        while not deadline.expired:
            try:
                sock.send(b"x")
                if sock.recv(100) == b"":
                    return
            except BlockingIOError:
                pause.wait(0.01)
        raise AssertionError("the session went on")

    closed = ended(serve, Limits(session_timeout=0.2, idle_timeout=idle_timeout), use)

    assert closed["reason"] == "session_timeout"
    assert closed["sent_bytes"] == closed["received_bytes"]


def test_a_session_that_never_waits_is_ended(serve: Serve) -> None:
    """Bytes without a pause don't keep a session beyond `session_timeout` either."""

    def use(sock: socket.socket) -> None:
        waiting = Waiter(sock)
        sock.setblocking(False)
        while waiting.readable(0) is False or sock.recv(65536):
            with suppress(BlockingIOError):
                sock.send(bytes(65536))

    closed = ended(serve, Limits(session_timeout=0.2), use)

    assert closed["reason"] == "session_timeout"


def test_a_silent_session_is_ended_by_the_shorter_of_two_limits(serve: Serve) -> None:
    """Idle until its whole time is over, a session ends as timed out, not as idle."""
    closed = ended(serve, Limits(session_timeout=0.05, idle_timeout=5), until_end)

    assert closed["reason"] == "session_timeout"


def flood(sock: socket.socket) -> None:
    """Send, and read nothing, until the kernel takes no more and the server ends it."""
    sock.settimeout(seconds(10))
    with pytest.raises(ConnectionError):
        sock.sendall(bytes(100_000_000))


def test_a_peer_that_never_reads_is_ended(serve: Serve) -> None:
    """A peer that takes nothing for `write_timeout` is ended, and what it got is a prefix."""
    closed = ended(serve, Limits(write_timeout=0.1), flood)

    assert closed["reason"] == "write_timeout"
    assert closed["sent_bytes"] < closed["received_bytes"]


def test_the_write_timeout_lasts_as_long_as_it_says(serve: Serve) -> None:
    """It counts from the last byte that the peer's system took: not twice as long."""
    patience = seconds(2)
    limits = Limits(write_timeout=patience)
    with serve(limits=limits) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            flood(sock)
        closed = server.log.wait_for("session.closed")[0]

    assert closed["reason"] == "write_timeout"
    assert patience <= closed["duration_s"] < 2 * patience


def test_a_blocked_send_ends_with_the_session(serve: Serve) -> None:
    """`session_timeout` counts while a send waits, too."""
    closed = ended(serve, Limits(write_timeout=10, session_timeout=0.2), flood)

    assert closed["reason"] == "session_timeout"


@pytest.mark.parametrize("limit", [1, 10, 1000, 70_000])
def test_exactly_the_byte_limit_comes_back(serve: Serve, limit: int) -> None:
    """`max_bytes` come back, then the end of the stream, though the peer sends on."""

    def use(sock: socket.socket) -> None:
        sock.sendall(bytes(limit) + b"one too many")
        assert until_end(sock) == bytes(limit)

    closed = ended(serve, Limits(max_bytes=limit, buffer_size=512), use)

    assert closed["reason"] == "byte_limit"
    assert closed["received_bytes"] == closed["sent_bytes"] == limit


def test_a_reset_is_a_reset(serve: Serve) -> None:
    """A peer that resets ends its session with that reason."""

    def use(sock: socket.socket) -> None:
        sock.sendall(b"x")
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    closed = ended(serve, Limits(), use)

    assert closed["reason"] == "reset"


def test_no_more_sessions_than_allowed(serve: Serve) -> None:
    """Above `max_sessions` a connection is closed at once; a freed slot is usable at once."""
    with serve(limits=Limits(max_sessions=2)) as server:
        with EchoClient(*server.address) as first, EchoClient(*server.address) as second:
            first.echo(b"1")
            second.echo(b"2")
            with socket.create_connection(server.address, seconds(10)) as third:
                assert third.recv(1) == b""
            refused = server.log.wait_for("session.refused")[0]
            first.finish()
            with EchoClient(*server.address) as fourth:
                echo = fourth.echo(b"4")
    check_events(server)

    assert echo == b"4"
    assert refused["reason"] == "max_sessions"
    assert refused["count"] == 1


def test_no_more_sessions_of_one_peer_than_allowed(serve: Serve) -> None:
    """Beyond `max_sessions_per_peer` its connections are refused, another peer's are not."""
    with serve(limits=Limits(max_sessions_per_peer=1)) as server:
        with EchoClient(*server.address) as first:
            first.echo(b"1")
            with socket.create_connection(server.address, seconds(10)) as second:
                assert second.recv(1) == b""
            other = socket.create_connection(
                server.address, seconds(10), source_address=("127.0.0.2", 0)
            )
            with other:
                other.sendall(b"2")
                echo = other.recv(1)
        refused = server.log.wait_for("session.refused")[0]
        wait_until(lambda: server.server.slots.active == 0)
        with EchoClient(*server.address) as again:
            again.echo(b"3")
    check_events(server)

    assert echo == b"2"
    assert (refused["peer_ip"], refused["reason"]) == ("127.0.0.1", "max_sessions_per_peer")


def test_a_flood_of_refusals_has_few_lines_that_add_up(serve: Serve) -> None:
    """Every refusal is counted, and the lines stay few."""
    with serve(limits=Limits(max_sessions=1)) as server:
        with EchoClient(*server.address) as only:
            only.echo(b"1")
            for _ in range(200):
                with socket.create_connection(server.address, seconds(10)) as sock:
                    sock.recv(1)
    check_events(server)
    lines = server.log.named("session.refused")

    assert sum(line["count"] for line in lines) == server.server.refusals.total == 200
    assert len(lines) < 20


def test_refusals_that_wait_are_written_while_the_server_runs(serve: Serve) -> None:
    """What shares a line is written when it's due, without another refusal."""
    with serve(limits=Limits(max_sessions=1)) as server:
        with EchoClient(*server.address) as only:
            only.echo(b"1")
            for _ in range(3):
                with socket.create_connection(server.address, seconds(10)) as sock:
                    sock.recv(1)
            lines = server.log.wait_for("session.refused", 2)

    assert [line["count"] for line in lines] == [1, 2]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_sessions", 0),
        ("max_sessions", 10**9),
        ("idle_timeout", -1),
        ("idle_timeout", float("nan")),
        ("session_timeout", float("inf")),
        ("write_timeout", 0),
        ("buffer_size", 0),
    ],
)
def test_a_limit_that_can_t_be_meant_is_refused(field: str, value: float) -> None:
    """The error names the field."""
    with pytest.raises(BadLimit, match=field) as caught:
        Limits(**{field: value})  # type: ignore[arg-type]

    assert caught.value.field == field
