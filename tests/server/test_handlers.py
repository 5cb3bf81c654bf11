"""Handlers of one's own: any `StreamRequestHandler` gets what it expects, and the limits hold."""

from __future__ import annotations

import errno
import socket
import socketserver
import threading
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from echo import EchoHandler, EchoServer, Limits
from echo.testing import running_server
from tests.conftest import check_events
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from echo.testing import RunningServer
    from tests.authority import Authority


class LineHandler(socketserver.StreamRequestHandler):
    """The standard library's own example: a line comes in, and goes out in upper case."""

    def handle(self) -> None:
        """Answer each line."""
        for line in self.rfile:
            self.wfile.write(line.upper())


class SocketHandler(socketserver.BaseRequestHandler):
    """A handler that only knows its socket, and sends all that it can at once."""

    def handle(self) -> None:
        """Answer what comes."""
        while data := self.request.recv(1000):
            self.request.sendall(data)


class FileHandler(socketserver.StreamRequestHandler):
    """A handler that sends a file."""

    path: Path

    def handle(self) -> None:
        """Read a line, then send the file."""
        self.rfile.readline()
        with self.path.open("rb") as file:
            self.request.sendfile(file)


def talk(server: RunningServer, data: bytes) -> bytes:
    """Send `data` and the end of the stream, and return all that comes back."""
    with socket.create_connection(server.address, seconds(10)) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def closing_line(server: RunningServer, count: int = 1) -> dict[str, Any]:
    """Return the latest of `count` closing lines."""
    return server.log.wait_for("session.closed", count)[-1]


def test_a_handler_of_the_standard_library_has_its_files() -> None:
    """`rfile` and `wfile` work as in socketserver, and their bytes are counted."""
    with running_server(handler=LineHandler) as server:
        answer = talk(server, b"hello\nworld\n")
        closed = closing_line(server)
    check_events(server)

    assert answer == b"HELLO\nWORLD\n"
    assert (closed["reason"], closed["received_bytes"], closed["sent_bytes"]) == ("eof", 12, 12)


def test_a_handler_that_uses_its_socket_is_counted() -> None:
    """`recv` and `sendall` count as the echo loop's reads and sends do."""
    data = bytes(range(256)) * 1000
    with running_server(handler=SocketHandler) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            sender = threading.Thread(target=sock.sendall, args=(data,))
            sender.start()
            back = b""
            while len(back) < len(data):
                back += sock.recv(65536)
            sender.join()
        closed = closing_line(server)

    assert back == data
    assert (closed["received_bytes"], closed["sent_bytes"]) == (len(data), len(data))


def test_a_file_that_is_sent_is_counted(tmp_path: Path) -> None:
    """`sendfile` is counted once, whichever way it is done."""
    FileHandler.path = tmp_path / "file"
    FileHandler.path.write_bytes(b"x" * 100_000)
    with running_server(handler=FileHandler) as server:
        answer = talk(server, b"please\n")

    assert answer == b"x" * 100_000
    assert closing_line(server)["sent_bytes"] == 100_000


def test_the_standard_handler_speaks_tls_as_well(authority: Authority) -> None:
    """Under TLS the handler reads plain text, of which the bytes are counted."""
    with running_server(handler=LineHandler, tls=authority.certificates()) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            with authority.trusting().wrap_socket(sock, server_hostname="127.0.0.1") as tls:
                tls.sendall(b"hello\n")
                answer = tls.recv(100)
        closed = closing_line(server)

    assert answer == b"HELLO\n"
    assert (closed["received_bytes"], closed["sent_bytes"]) == (6, 6)


def test_an_idle_time_out_ends_any_handler() -> None:
    """A peer that says nothing doesn't keep a handler's thread."""
    limits = Limits(idle_timeout=0.2)
    with running_server(handler=LineHandler, limits=limits) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            end = sock.recv(1)
        closed = closing_line(server)

    assert (end, closed["reason"]) == (b"", "idle_timeout")


@pytest.mark.parametrize("handler", [LineHandler, SocketHandler])
def test_a_drain_ends_any_handler(handler: type[socketserver.BaseRequestHandler]) -> None:
    """Its input ends, so that it can answer what it has read; nothing has to be cut."""
    with running_server(handler=handler) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            sock.sendall(b"one\n")
            first = sock.recv(100)
            drained = server.server.drain(seconds(10))
            end = sock.recv(100)
        closed = closing_line(server)

    assert (first.lower(), end, drained) == (b"one\n", b"", True)
    assert closed["reason"] == "drained"


def test_a_slot_limit_holds_for_any_handler() -> None:
    """The next client is refused while the first is served, and served afterwards."""
    with running_server(handler=LineHandler, limits=Limits(max_sessions=1)) as server:
        with socket.create_connection(server.address, seconds(10)):
            server.log.wait_for("session.accepted")
            with socket.create_connection(server.address, seconds(10)) as refused:
                end = refused.recv(1)
        server.log.wait_for("session.closed")
        answer = talk(server, b"again\n")

    assert (end, answer) == (b"", b"AGAIN\n")


class WakesLate(EchoHandler):
    """A handler that no shutdown of its socket wakes, and that fails when it wakes."""

    wake = threading.Event()
    woken = threading.Event()

    def handle(self) -> None:
        """Sleep, and fail."""
        try:
            self.wake.wait()
            raise KeyError("too late")
        finally:
            self.woken.set()


def test_a_handler_that_wakes_after_its_session_was_cut_says_nothing() -> None:
    """The stop has written the last line: no error comes after it, and no second one."""
    before = set(threading.enumerate())
    with running_server(handler=WakesLate) as server:
        with socket.create_connection(server.address, seconds(10)):
            server.log.wait_for("session.accepted")
            server.server.drain(0)
            server.server.server_close()
        WakesLate.wake.set()
        WakesLate.woken.wait(seconds(10))
        wait_until(lambda: set(threading.enumerate()) - before <= {threading.current_thread()})

    assert [line["event"] for line in server.events] == ["session.accepted", "session.closed"]
    assert closing_line(server)["reason"] == "cut"


class Greeter(EchoHandler):
    """A protocol on `EchoHandler` whose server speaks first."""

    def handle(self) -> None:
        """Greet, then answer messages that say how long they are."""
        self.send_back(b"hello\n")
        while head := self.rfile.read(2):
            self.wfile.write(self.rfile.read(int.from_bytes(head))[::-1])


def test_a_protocol_on_the_echo_handler_has_files_within_the_limits() -> None:
    """What its files read and write is counted and bounded."""
    with running_server(handler=Greeter, limits=Limits(max_bytes=12)) as server:
        answer = talk(server, b"\x00\x05hello\x00\x03abc!!!!")
        closed = closing_line(server)

    assert answer == b"hello\nollehcba"
    assert (closed["received_bytes"], closed["sent_bytes"]) == (12, 14)
    assert closed["reason"] == "byte_limit"


def test_a_protocol_on_the_echo_handler_drains() -> None:
    """A drain ends it between two messages, as it ends the echo loop."""
    with running_server(handler=Greeter) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            sock.recv(6)
            assert server.server.drain(seconds(10))
            with suppress(ConnectionError):
                assert sock.recv(1) == b""

    assert closing_line(server)["reason"] == "drained"


class Refuses(EchoHandler):
    """A handler that answers and returns, whatever the peer still sends."""

    def handle(self) -> None:
        """Answer the first bytes with more than fits into a buffer."""
        self.receive()
        self.send_back(b"x" * 2_000_000)


class StockRefuses(socketserver.StreamRequestHandler):
    """The same for socketserver's own."""

    def handle(self) -> None:
        """Answer the first bytes."""
        self.rfile.read1(1)
        self.wfile.write(b"x" * 2_000_000)


@pytest.mark.parametrize("handler", [Refuses, StockRefuses])
def test_an_answer_is_not_lost_when_a_handler_returns_early(
    handler: type[socketserver.BaseRequestHandler],
) -> None:
    """Input that nobody reads is dropped, so that no reset destroys what was sent."""
    with running_server(handler=handler) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            sock.sendall(bytes(100_000))
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        closed = closing_line(server)

    assert len(answer) == 2_000_000
    assert (closed["reason"], closed["sent_bytes"]) == ("eof", 2_000_000)


class Wide(EchoHandler):
    """A handler that sends a buffer whose items are larger than a byte."""

    def handle(self) -> None:
        """Send it once."""
        self.send_back(array("i", range(1_000_000)))


def test_a_buffer_of_any_items_is_sent_whole() -> None:
    """Bytes count, not items."""
    with running_server(handler=Wide) as server:
        answer = talk(server, b"")

    assert answer == array("i", range(1_000_000)).tobytes()


class EverySocketCall(socketserver.BaseRequestHandler):
    """A handler that uses what a socket has beside `recv` and `send`."""

    def handle(self) -> None:
        """Receive and send in every way."""
        buffer = bytearray(3)
        with self.request as sock:
            sock.recv_into(buffer, nbytes=3)
            sock.recvfrom(3)
            sock.recvfrom_into(buffer)
            sock.recvmsg(3)
            sock.recvmsg_into([buffer])
            sock.sendmsg([b"abc", b"def"])
            sock.sendto(b"ghi", self.client_address)


def test_every_call_of_a_socket_is_counted() -> None:
    """Whichever calls a handler uses, the log has the bytes."""
    with running_server(handler=EverySocketCall) as server:
        answer = talk(server, b"x" * 15)
        closed = closing_line(server)

    assert answer == b"abcdefghi"
    assert (closed["received_bytes"], closed["sent_bytes"]) == (15, 9)


class Backend(socketserver.BaseRequestHandler):
    """A handler whose own business fails as a network does."""

    error: OSError

    def handle(self) -> None:
        """Fail."""
        raise self.error


@pytest.mark.parametrize(
    "error", [TimeoutError("the database"), ConnectionRefusedError(errno.ECONNREFUSED, "refused")]
)
def test_an_error_that_is_not_the_session_s_is_an_error(error: OSError) -> None:
    """A time-out or a refusal of something else is no end of the peer's."""
    Backend.error = error
    with running_server(handler=Backend) as server:
        talk(server, b"")
        (reported,) = server.log.wait_for("server.error")
        closed = closing_line(server)

    assert closed["reason"] == "error"
    assert type(error).__name__ in reported["error"]


class NeverReads(socketserver.BaseRequestHandler):
    """A handler that sends without end."""

    def handle(self) -> None:
        """Send."""
        while True:
            self.request.sendall(bytes(65536))


def test_a_peer_that_takes_nothing_is_a_write_time_out() -> None:
    """A send of a handler's own that stalls is named as what it is."""
    with running_server(handler=NeverReads, limits=Limits(idle_timeout=0.3)) as server:
        with socket.create_connection(server.address, seconds(10)):
            closed = closing_line(server)

    assert closed["reason"] == "write_timeout"


class Leaves(EchoServer):
    """A server whose report of an error ends the thread."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """End."""
        del request, client_address
        raise SystemExit


class Fails(EchoHandler):
    """A handler that fails at once."""

    def handle(self) -> None:
        """Fail."""
        raise LookupError


def test_a_report_that_ends_the_thread_leaves_no_session() -> None:
    """The last line is written, and the register is empty, whatever `handle_error` raises."""
    with running_server(handler=Fails, server_class=Leaves) as server:
        talk(server, b"")
        closed = closing_line(server)
        wait_until(lambda: not server.sessions)

    assert closed["reason"] == "error"


def test_the_compiled_loop_refuses_tls(authority: Authority) -> None:
    """It would echo what is encrypted."""

    class Compiled(EchoHandler):
        loop = "compiled"

    with pytest.raises(ValueError, match="can't speak TLS"):
        EchoServer(("127.0.0.1", 0), Compiled, tls=authority.certificates())
