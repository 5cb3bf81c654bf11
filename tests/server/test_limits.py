"""The third promise: every resource has a bound, and each bound its own reason in the log."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from itertools import count
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
    limits = Limits(idle_timeout=seconds(0.3))

    def is_echoed_and_ended() -> bool:  # by the first, unless the machine is busy
        came = []

        def use(sock: socket.socket) -> None:
            sock.sendall(b"hello")
            came.append(until_end(sock))

        closed = ended(serve, limits, use)
        assert closed["reason"] == "idle_timeout"
        assert closed["received_bytes"] == closed["sent_bytes"] == len(came[0])
        return came == [b"hello"]

    wait_until(is_echoed_and_ended)


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
            except ConnectionError:  # on a slow machine it was over a second ago
                return
        raise AssertionError("the session went on")

    closed = ended(serve, Limits(session_timeout=0.2, idle_timeout=idle_timeout), use)

    assert closed["reason"] == "session_timeout"
    assert closed["sent_bytes"] == closed["received_bytes"]


def test_a_session_that_never_waits_is_ended(serve: Serve) -> None:
    """Bytes without a pause don't keep a session beyond `session_timeout` either."""

    def use(sock: socket.socket) -> None:
        waiting = Waiter(sock)
        sock.setblocking(False)
        with suppress(ConnectionError):  # on a slow machine it was over a second ago
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
    sock.settimeout(seconds(30))
    with pytest.raises(ConnectionError):
        sock.sendall(bytes(100_000_000))


def test_the_write_timeout_lasts_as_long_as_it_says(serve: Serve) -> None:
    """A peer that reads nothing is ended so long after the last byte that its system took."""
    patience = seconds(2)

    def is_in_time() -> bool:  # the first, unless the machine is busy
        closed = ended(serve, Limits(write_timeout=patience), flood)
        assert closed["reason"] == "write_timeout"
        assert closed["sent_bytes"] < closed["received_bytes"]
        assert patience <= closed["duration_s"]
        return bool(closed["duration_s"] < 2 * patience)

    wait_until(is_in_time, what="an end after one time-out")


def test_a_blocked_send_ends_with_the_session(serve: Serve) -> None:
    """`session_timeout` counts while a send waits, too."""
    closed = ended(serve, Limits(write_timeout=10, session_timeout=0.2), flood)

    assert closed["reason"] == "session_timeout"


def test_refusals_that_wait_are_written_while_the_server_runs(serve: Serve) -> None:
    """What shares a line is written when it's due, without another refusal."""
    with serve(limits=Limits(max_sessions=1)) as server, EchoClient(*server.address) as only:
        only.echo(b"1")
        sums = count(3, 3)

        def counts() -> list[int]:
            return [line["count"] for line in server.log.named("session.refused")]

        def share_a_line() -> bool:  # the first three, unless the machine is busy
            for _ in range(3):
                with socket.create_connection(server.address, seconds(10)) as sock:
                    sock.recv(1)
            due = next(sums)
            wait_until(lambda: sum(counts()) == due, what="all are written")
            return max(counts()) > 1

        wait_until(share_a_line)


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
