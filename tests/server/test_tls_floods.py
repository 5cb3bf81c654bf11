"""Peers that send TLS records without payload: bounded, ended, and deaf to no limit meanwhile."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from echo import EchoClient, EchoHandler, Limits
from echo.testing import running_server
from echo.tls import TlsError, TlsSocket
from tests.server.hostile_tls import CLIENT_HELLO, HANDSHAKE, HostileTls
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.authority import Authority
    from tests.faults.peers import Start

    Connect = Callable[[Any], HostileTls]


class Flood:
    """Records without payload, of one kind and a version of TLS; `count` of them are a burst."""

    def __init__(self, version: str, count: int, record: Callable[[HostileTls], bytes]) -> None:
        self.version = version
        self.record = record
        self._count = count

    def burst(self, peer: HostileTls) -> bytes:
        """Return the next records."""
        return b"".join(self.record(peer) for _ in range(self._count))


def _empty(peer: HostileTls) -> bytes:
    return peer.record(b"")


pytestmark = pytest.mark.once  # a second each; test_tls.py has what each Python does

FLOODS = {
    "requests for a renegotiation": Flood(
        "TLSv1_2", 100, lambda peer: peer.record(CLIENT_HELLO, HANDSHAKE)
    ),
    "key updates": Flood("TLSv1_3", 100, HostileTls.key_update),
    # OpenSSL itself ends a peer that sends more than 32 of them in a row.
    "empty records of TLS 1.2": Flood("TLSv1_2", 30, _empty),
    "empty records of TLS 1.3": Flood("TLSv1_3", 30, _empty),
}


@pytest.fixture(params=FLOODS)
def flood(request: pytest.FixtureRequest) -> Flood:
    """Return each kind of flood."""
    return FLOODS[request.param]


class SinkHandler(socketserver.StreamRequestHandler):
    """A handler of socketserver's, which reads until the end of the stream."""

    def handle(self) -> None:
        """Read."""
        while self.request.recv(1000):
            pass


@pytest.fixture(params=[EchoHandler, SinkHandler])
def handler(request: pytest.FixtureRequest) -> type[socketserver.BaseRequestHandler]:
    """Return the handler that doesn't block, and one that does."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def connect(authority: Authority, flood: Flood, tmp_path: Path) -> Iterator[Connect]:
    """Connect hostile clients to an address."""
    socks = []

    def connect(address: tuple[str, int]) -> HostileTls:
        socks.append(socket.create_connection(address, seconds(10)))
        return HostileTls(socks[-1], authority.trusting(), flood.version, tmp_path)

    yield connect
    for sock in socks:
        sock.close()


@contextmanager
def flooding(peer: HostileTls, flood: Flood) -> Iterator[None]:
    """Send bursts, each with a byte of payload behind it, until the connection is over."""

    def send() -> None:
        with suppress(OSError):
            while True:
                peer.sock.sendall(flood.burst(peer) + peer.record(b"x"))
                peer.sock.recv(65536)  # what comes back isn't looked at

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        with suppress(OSError):
            peer.sock.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_flood_without_payload_is_ended(
    authority: Authority, flood: Flood, handler: Any, connect: Connect
) -> None:
    """A peer that sends nothing else is `tls_error`, after 64 KiB at the latest."""
    with running_server(tls=authority.certificates(), handler=handler) as server:
        peer, bursts = connect(server.address), 0
        with suppress(OSError):
            while bursts < 2000 and not server.log.named("session.closed"):
                peer.sock.sendall(flood.burst(peer))
                bursts += 1
        closed = server.log.wait_for("session.closed")[0]

    assert closed["reason"] == "tls_error"
    # The others are OpenSSL's words for its own bound on empty records: until 3.4, and since 3.5.
    ended_by_openssl = {"record too small", "record layer failure"}
    assert closed["detail"] in {"records without payload", *ended_by_openssl}
    assert closed["received_bytes"] == 0


def test_records_without_payload_are_silence(
    authority: Authority, flood: Flood, handler: Any, connect: Connect
) -> None:
    """One now and then doesn't keep a peer beyond the idle time-out."""
    limits = Limits(idle_timeout=seconds(0.3))
    tls = authority.certificates()
    with running_server(tls=tls, handler=handler, limits=limits) as server:
        peer, pause = connect(server.address), threading.Event()
        with suppress(OSError):
            for _ in range(30):  # fewer empty ones than OpenSSL allows, however late they are read
                peer.sock.sendall(flood.record(peer))
                pause.wait(seconds(0.15))
                if server.log.named("session.closed"):
                    break
            else:
                raise AssertionError("the session went on")
        closed = server.log.wait_for("session.closed")

    assert [line["reason"] for line in closed] == ["idle_timeout"]


def test_a_session_s_time_is_up_in_a_flood(
    authority: Authority, flood: Flood, connect: Connect
) -> None:
    """A flood with a byte of payload now and then ends with the session's time."""
    limits = Limits(session_timeout=seconds(1))
    with running_server(tls=authority.certificates(), limits=limits) as server:
        with flooding(connect(server.address), flood):
            closed = server.log.wait_for("session.closed")[0]

    assert closed["reason"] == "session_timeout"


def test_a_stop_drains_a_flood(
    daemon: Start, authority: Authority, flood: Flood, connect: Connect
) -> None:
    """Others are served beside a flood, and a TERM drains the flood instead of cutting it."""
    cert, key = authority.issue("server")
    process = daemon("--tls-cert", str(cert), "--tls-key", str(key), "--drain-timeout", "20")
    with flooding(connect(("127.0.0.1", process.port)), flood):
        with EchoClient("127.0.0.1", process.port, tls=authority.trusting()) as client:
            assert client.echo(b"hello" * 10_000) == b"hello" * 10_000
        process.wait_for("session.closed")
        code = process.stop()

    assert code == 0
    assert [line["reason"] for line in process.events("session.closed")] == ["eof", "drained"]


@contextmanager
def pair(authority: Authority, folder: Path) -> Iterator[tuple[HostileTls, TlsSocket]]:
    """Connect a hostile client with TLS 1.2 to a socket as the server has it."""
    here, there = socket.socketpair()
    with here, there:
        here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for end in here, there:
            end.settimeout(seconds(10))
        sock = TlsSocket(there, authority.certificates().context, server_side=True)
        shaking = threading.Thread(target=sock.do_handshake)
        shaking.start()
        peer = HostileTls(here, authority.trusting(), "TLSv1_2", folder)
        shaking.join()
        yield peer, sock


def test_answers_that_nobody_reads_are_bounded(authority: Authority, tmp_path: Path) -> None:
    """A peer whose requests have answers, and that reads none, is ended, payload or not."""
    flood = FLOODS["requests for a renegotiation"]
    with pair(authority, tmp_path) as (peer, sock):

        def go_on() -> None:
            for _ in range(500):
                peer.sock.sendall(flood.burst(peer) + peer.record(b"x"))
                assert sock.recv(10) == b"x"

        with pytest.raises(TlsError, match="without payload"):
            go_on()


@pytest.mark.parametrize("first", [1, 16_000, 16_400])
def test_a_large_read_leaves_nothing_that_poll_can_t_see(
    authority: Authority, tmp_path: Path, first: int
) -> None:
    """Who reads 64 KiB whenever poll says so gets all there is, however the records came."""
    sizes = [16_384] * 3 + [848]
    with pair(authority, tmp_path) as (peer, sock):
        data = b"".join(peer.record(bytes(size)) for size in sizes)
        sock.setblocking(False)
        poll, came = select.poll(), 0
        poll.register(sock, select.POLLIN)
        for piece in data[:first], data[first:]:
            peer.sock.sendall(piece)
            while poll.poll(0):
                with suppress(BlockingIOError):
                    came += len(sock.recv(65_536))

    assert came == sum(sizes)
