"""Echo servers as tutorials write them, with a fault each, for the tools to find."""

from __future__ import annotations

import itertools
import socket
import socketserver
import struct
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from echo.client import EchoClient
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    Serve = Callable[[socket.socket], None]

READ = 65536
# Set once the test has done with its server: what a server does until then can't end too early.
OVER = threading.Event()


@contextmanager
def planted(serve: Serve) -> Iterator[tuple[str, int]]:
    """Run a server that lets `serve` do with each connection what it likes, in a thread."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(seconds(20))
            with suppress(OSError):
                serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 256

        def shutdown_request(self, request: object) -> None:
            self.close_request(request)  # type: ignore[arg-type] # how it ends is the fault's

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        OVER.clear()
        thread.start()
        try:
            yield server.server_address[:2]  # type: ignore[misc]
        finally:
            OVER.set()
            server.shutdown()
            thread.join(seconds(10))


def reads(sock: socket.socket, size: int = READ) -> Iterator[bytes]:
    """Return what comes, up to the end of the stream."""
    return iter(lambda: sock.recv(size), b"")


# -- right, and slow or not ----------------------------------------------------------------


def right(sock: socket.socket) -> None:
    """Echo."""
    for data in reads(sock):
        sock.sendall(data)


def stalls_once(pause: float) -> Serve:
    """Echo, but stand still for a while after the first exchanges, every session together."""
    free = threading.Lock()
    count = itertools.count()

    def serve(sock: socket.socket) -> None:
        for data in reads(sock):
            with free:
                if next(count) == 20:
                    threading.Event().wait(pause)
            sock.sendall(data)

    return serve


def holds(pause: float, held_ms: list[float]) -> Serve:
    """Echo after a pause, and note by a clock of its own how long each echo took."""

    def serve(sock: socket.socket) -> None:
        for data in reads(sock):
            began = time.perf_counter()
            threading.Event().wait(pause)
            held_ms.append((time.perf_counter() - began) * 1000)
            sock.sendall(data)

    return serve


# -- wrong ---------------------------------------------------------------------------------


def drops_nul(sock: socket.socket) -> None:
    """Take the payload for a C string's pieces."""
    for data in reads(sock):
        sock.sendall(data.replace(b"\0", b""))


def loses_after_half_close(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Answer once the client waits for that, and not at all once it has ended its stream.

    The client itself says that it waits: a server that judges by a pause takes a slow machine for
    a client that waits.
    """
    waiting: set[int] = set()
    receive = EchoClient.receive

    def waits(client: EchoClient, count: int) -> bytes:
        waiting.add(client.sock.getsockname()[1])
        return receive(client, count)

    def serve(sock: socket.socket) -> None:
        held, port = b"", sock.getpeername()[1]
        sock.settimeout(0.005)
        while True:
            try:
                data = sock.recv(READ)
            except TimeoutError:
                if port in waiting:
                    sock.sendall(held)
                    held = b""
                continue
            if not data:
                return
            held += data

    monkeypatch.setattr(EchoClient, "receive", waits)
    return serve


def breaks_beyond_4096(sock: socket.socket) -> None:
    """Have a buffer of 4,096 bytes for a whole session."""
    left = 4096
    for data in reads(sock):
        sock.sendall(data[:left])
        left -= min(left, len(data))


def prefixes_lines(sock: socket.socket) -> None:
    """Echo line by line, and say so."""
    rest = b""
    for data in reads(sock):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            sock.sendall(b"echo: " + line + b"\n")
    if rest:
        sock.sendall(b"echo: " + rest)


def swaps_under_load(sock: socket.socket) -> None:
    """Send the second KiB before the first when more than eight wait."""
    for data in reads(sock):
        if len(data) > 8192:
            sock.sendall(data[1024:2048] + data[:1024] + data[2048:])
        else:
            sock.sendall(data)


def flips_one_in(replies: int) -> Serve:
    """Turn one bit of one byte in every so many replies."""
    count = itertools.count(1)

    def serve(sock: socket.socket) -> None:
        for data in reads(sock):
            reply = bytearray(data)
            if next(count) % replies == 0:
                reply[len(reply) // 2] ^= 0x10
            sock.sendall(reply)

    return serve


def sends_more(sock: socket.socket) -> None:
    """Add a byte to each reply."""
    for data in reads(sock):
        sock.sendall(data + b"!")


def closes_at_once(sock: socket.socket) -> None:
    """Send nothing, read nothing."""
    del sock


def ends_early(sock: socket.socket) -> None:
    """End the stream after the first byte, without a reset."""
    sock.sendall(sock.recv(1))
    sock.shutdown(socket.SHUT_WR)
    for _ in reads(sock):
        pass


def resets_after(count: int) -> Serve:
    """Echo a number of bytes, then reset; a client that has ended by then meets no fault."""

    def serve(sock: socket.socket) -> None:
        left = count
        while left:
            data = sock.recv(left)
            if not data:
                return
            sock.sendall(data)
            left -= len(data)
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return serve


def never_answers(sock: socket.socket) -> None:
    """Take everything and say nothing."""
    for _ in reads(sock):
        pass


def never_ends(sock: socket.socket) -> None:
    """Echo, but not the end of the stream."""
    right(sock)
    OVER.wait(seconds(60))


class _Debtor:
    """A connection that breaks where its server reads on while it owes a part of the echo."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._owed = 0

    def recv(self, size: int) -> bytes:
        if self._owed:
            raise ConnectionAbortedError
        data = self._sock.recv(size)
        self._owed = len(data)
        return data

    def sendall(self, data: bytes) -> None:
        self._owed = max(0, self._owed - len(data))
        self._sock.sendall(data)


def hangs_up(serve: Serve) -> Serve:
    """Close the connection where `serve` would leave its client waiting for what never comes.

    A fault of this kind is found without a time-out, which a slow machine could be taken for.
    """
    return lambda sock: serve(_Debtor(sock))  # type: ignore[arg-type]


def only_one_session() -> Serve:
    """Close every connection after the first at once, with a reset."""
    numbers = itertools.count()

    def serve(sock: socket.socket) -> None:
        if next(numbers):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        right(sock)

    return serve
