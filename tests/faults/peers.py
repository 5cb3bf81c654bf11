"""Clients that misbehave, on plain sockets."""

from __future__ import annotations

import os
import resource
import select
import selectors
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from echo.deadline import Deadline
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]


class Peers:
    """Connects from any address of the loopback, and closes what a test leaves open."""

    def __init__(self) -> None:
        self.socks: list[socket.socket] = []

    def __call__(self, port: int, source: str = "127.0.0.1") -> socket.socket:
        """Connect."""
        sock = socket_of(source)
        self.socks.append(sock)
        sock.settimeout(seconds(60))
        sock.connect(("127.0.0.1", port))
        return sock

    def close(self) -> None:
        """Close all of them."""
        while self.socks:
            self.socks.pop().close()


def socket_of(source: str) -> socket.socket:
    """Return a socket that connects from this address.

    Its port is chosen when it connects. Chosen now, it would have to be one that no connection has
    used within the last minute, and other tests may leave none of those.
    """
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((source, 0))
    return sock


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_to_end(sock: socket.socket) -> bytes:
    """Read all there is; a reset raises."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def echoes(sock: socket.socket, data: bytes = b"hello") -> bool:
    """Send a little, and see whether it comes back before anything else happens."""
    came = b""
    with suppress(ConnectionError):
        sock.sendall(data)
        # In a loop: with a time-out, MSG_WAITALL gives what there is.
        while len(came) < len(data) and (part := sock.recv(len(data) - len(came))):
            came += part
    return came == data


def fill(sock: socket.socket, server: int, most: int = 1 << 30) -> int:
    """Send until nothing moves any more, and return the number of bytes.

    The server, whose process id is `server`, is blocked in its send then. That nothing has moved
    for a while doesn't show that alone: it may wait for a processor.
    """
    sock.setblocking(False)
    deadline = Deadline(seconds(60))
    sent, at_rest = 0, False
    while sent < most:
        try:
            sent += sock.send(bytes(65536))
            at_rest = False
        except BlockingIOError:
            if at_rest:
                break
            assert not deadline.expired, "the server is never at rest"
            select.select((), (sock,), (), 0.3)
            at_rest = is_at_rest(server)
    sock.settimeout(seconds(60))
    return sent


def is_at_rest(pid: int) -> bool:
    """Return whether every thread of a process waits for something, but for the one that asks."""
    me = str(threading.get_native_id())
    tasks = (task for task in Path(f"/proc/{pid}/task").iterdir() if task.name != me)
    return all(_state(task) == "S" for task in tasks)


def _state(task: Path) -> str:
    with suppress(OSError):  # it has ended by now, and does nothing more
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    return "S"


def pause(count: float) -> None:
    """Let `count` seconds pass, where that is what a peer does."""
    threading.Event().wait(count)


class Crowd:
    """Many connections at once, looked after by one thread."""

    def __init__(self, port: int, count: int) -> None:
        need_descriptors(count + 100)
        self._port = port
        self.count = count
        self._selector = selectors.DefaultSelector()
        self.socks: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self.socks:
            sock.close()
        self._selector.close()

    def connect(self) -> None:
        """Begin all connections at once, then wait until each of them is there."""
        for number in range(self.count):
            # Of one source address, too few ports could be left by others' tests, or for them.
            sock = socket_of(f"127.0.{number % 8 + 1}.1")
            self.socks.append(sock)
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(("127.0.0.1", self._port))

        def connected(sock: socket.socket) -> bool:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            assert not error, os.strerror(error)
            return True

        self._each(selectors.EVENT_WRITE, connected)
        for sock in self.socks:
            sock.settimeout(seconds(60))

    def sent_again(self) -> int:
        """Count the packets that the system had to send once more; the first is after a second."""
        infos = [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104) for sock in self.socks]
        return sum(struct.unpack_from("I", info, TOTAL_RETRANS)[0] for info in infos)

    def echo(self, data: bytes, count: int = 1_000_000) -> None:
        """Let `count` of them send the same, then wait until each has it back."""
        some = self.socks[:count]
        for sock in some:
            sock.sendall(data)
        due = dict.fromkeys(some, data)

        def came_back(sock: socket.socket) -> bool:
            part = sock.recv(65536)
            assert part, "ended"
            assert due[sock].startswith(part), "not an echo"
            due[sock] = due[sock][len(part) :]
            return not due[sock]

        self._each(selectors.EVENT_READ, came_back, some)

    def end(self) -> None:
        """Let all of them send their end of stream, then wait for the server's ends."""
        for sock in self.socks:
            sock.shutdown(socket.SHUT_WR)
        self._each(selectors.EVENT_READ, lambda sock: not sock.recv(1))

    def _each(
        self,
        event: int,
        done: Callable[[socket.socket], bool],
        some: list[socket.socket] | None = None,
    ) -> None:
        """Wait until each has once been ready and done, for at most a minute."""
        deadline = Deadline(seconds(60))
        for sock in self.socks if some is None else some:
            self._selector.register(sock, event)
        while self._selector.get_map():
            ready = self._selector.select(deadline.left())
            assert ready, f"{len(self._selector.get_map())} of {self.count} are stuck"
            for key, _ in ready:
                if done(key.fileobj):  # type: ignore[arg-type]
                    self._selector.unregister(key.fileobj)


# Of linux/in.h; the socket module names it from Python 3.12 on.
IP_BIND_ADDRESS_NO_PORT = 24
# Where `tcpi_total_retrans` stands in the `tcp_info` of linux/tcp.h.
TOTAL_RETRANS = 100


def need_descriptors(count: int) -> None:
    """Raise this process's own limit on descriptors, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip(f"{count} descriptors are needed, {hard} are allowed")
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
