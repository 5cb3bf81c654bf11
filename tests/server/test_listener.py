"""The accept loop: its end, whenever that is asked for, and errors that are one connection's."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import pytest

from echo import EchoHandler, EchoServer
from echo.server import listener
from echo.server.watchdog import Watchdog, WatchedThread
from echo.testing import EventList, running_server
from tests.waiting import seconds, wait_until


@pytest.fixture
def server() -> Any:
    """Return a server whose accept loop does not run."""
    with EchoServer(("127.0.0.1", 0), EchoHandler, log=EventList()) as server:
        yield server


def test_a_loop_that_was_shut_down_before_it_began_never_begins(server: EchoServer) -> None:
    """`serve_forever` returns at once after `shutdown`, also when all is closed by then."""
    server.shutdown()
    server.serve_forever()
    server.server_close()
    server.serve_forever()


def test_shutdown_and_the_beginning_of_the_loop_may_come_in_any_order() -> None:
    """Whichever comes first, the loop ends without an exception, and nothing listens."""
    for _ in range(50):
        server = EchoServer(("127.0.0.1", 0), EchoHandler, log=EventList())
        thread = WatchedThread("accept loop", server.serve_forever)
        thread.start()
        server.shutdown()
        server.server_close()
        thread.join(seconds(30))

        assert (thread.is_alive(), thread.failure) == (False, None)
        assert server.socket.fileno() == -1


def test_options_that_can_t_be_set_are_one_connection_s_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where sockets don't inherit them, a peer that has reset its connection ends nothing else."""
    failing = [True]

    def set_options(sock: socket.socket) -> None:
        del sock
        if failing.pop():
            raise OSError(22, "Invalid argument")  # as macOS answers for a reset connection

    with running_server() as running:
        monkeypatch.setattr(listener, "set_session_options", set_options)
        running.server.inherits_options = False
        with socket.create_connection(running.address, seconds(10)) as sock:
            end = sock.recv(1)
        failing.append(False)
        with socket.create_connection(running.address, seconds(10)) as sock:
            sock.sendall(b"x")
            answer = sock.recv(1)

    assert (end, answer) == (b"", b"x")


class Closing(EchoServer):
    """A server whose hook closes the socket past the slot."""

    def close_request(self, session: Any) -> None:
        """Close the socket only."""
        session.sock.close()


class Failing(EchoServer):
    """A server whose hook fails before anything is handed over."""

    def process_request(self, session: Any, client_address: Any) -> None:
        """Fail."""
        del session, client_address
        raise LookupError("no thread for you")


@pytest.mark.parametrize("kind", [Closing, Failing])
def test_a_slot_comes_back_whatever_a_hook_does(kind: type[EchoServer]) -> None:
    """A hook that forgets the slot, or fails, costs none."""
    with running_server(server_class=kind) as running:
        for _ in range(20):
            with socket.create_connection(running.address, seconds(10)) as sock:
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(1) == b""
        wait_until(lambda: running.server.slots.active == 0)


def test_the_same_failure_again_and_again_shares_lines() -> None:
    """A thousand failures of one kind are a few lines, whose counts add up."""
    with running_server(server_class=Failing) as running:
        for _ in range(200):
            with socket.create_connection(running.address, seconds(10)) as sock:
                sock.recv(1)
    lines = running.log.named("server.error")

    assert sum(line.get("count", 1) for line in lines) == 200
    assert len(lines) < 100


# -- the watchdog -------------------------------------------------------------------------


def test_a_thread_that_has_ended_is_found() -> None:
    """An end without an exception is an end, too."""
    thread = WatchedThread("worker", lambda: None)
    thread.start()
    thread.join()

    assert Watchdog([thread]).look() == ("worker", "the thread has ended")


def test_a_thread_without_a_heartbeat_is_given_up() -> None:
    """A thread whose number doesn't grow for ten looks is stuck; one that grows again is not."""
    over, beats = threading.Event(), [0]
    thread = WatchedThread("worker", over.wait, lambda: beats[0])
    thread.start()
    watchdog = Watchdog([thread])
    looks = [watchdog.look() for _ in range(10)]
    beats[0] += 1
    looks += [watchdog.look() for _ in range(10)]
    last = watchdog.look()
    over.set()

    assert set(looks) == {None}
    assert last == ("worker", "no sign of life for 10 s")


def test_the_standard_library_s_logger_takes_the_events(caplog: pytest.LogCaptureFixture) -> None:
    """`EchoServer(log=logging.getLogger(...))` logs each event with its fields."""
    caplog.set_level(logging.INFO, "mine")
    server = EchoServer(("127.0.0.1", 0), EchoHandler, log=logging.getLogger("mine"))
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with socket.create_connection(server.server_address, seconds(10)) as sock:
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)
        server.drain(seconds(10))
    messages = [record.getMessage() for record in caplog.records]

    assert [message.split()[0] for message in messages] == ["session.accepted", "session.closed"]
    assert "reason" in messages[1]
    assert server.log_failures == 0


class Raw(EchoServer):
    """A server whose hook returns the accepted socket itself."""

    def get_request(self) -> tuple[Any, Any]:
        """Accept as socketserver does."""
        return self.socket.accept()


class FailsLate(EchoServer):
    """A server whose hook fails after a session was handed over."""

    def process_request(self, session: Any, client_address: Any) -> None:
        """Hand it over, and fail."""
        super().process_request(session, client_address)
        wait_until(lambda: session.thread)
        raise LookupError("too late")


@pytest.mark.parametrize("kind", [Raw, FailsLate])
def test_a_hook_that_fails_ends_its_connection_only(kind: type[EchoServer]) -> None:
    """Whatever it returns or does, the connection ends, and the loop accepts the next."""
    with running_server(server_class=kind) as running:
        for _ in range(3):
            with socket.create_connection(running.address, seconds(10)) as sock:
                assert sock.recv(1) == b""
        wait_until(lambda: running.server.slots.active == 0)
        errors = running.log.wait_for("server.error")

    assert errors


def test_a_session_that_comes_after_the_drain_is_closed() -> None:
    """An accept thread that was held up hands nothing over once the drain has begun."""
    held, go_on = threading.Event(), threading.Event()

    class Slow(EchoServer):
        def verify_request(self, session: Any, client_address: Any) -> bool:
            held.set()
            go_on.wait(seconds(20))
            return super().verify_request(session, client_address)

    with running_server(server_class=Slow) as running:
        with socket.create_connection(running.address, seconds(10)) as sock:
            held.wait(seconds(10))
            drained = running.server.drain(seconds(10))
            go_on.set()
            end = sock.recv(1)
        wait_until(lambda: running.server.slots.active == 0)

    assert (drained, end, running.events) == (True, b"", [])
