"""The handler: what the server does for one client, from the first byte to the last."""

from __future__ import annotations

import math
import mmap
import socketserver
from functools import cached_property
from typing import TYPE_CHECKING

from echo.deadline import Deadline
from echo.events import SESSION_DATA, Reason
from echo.limits import FIRST_BUFFER, PREVIEW_BYTES
from echo.server.session import SessionEnd
from echo.server.sockets import unsent
from echo.server.waiting import Waiter

if TYPE_CHECKING:
    import socket

    from echo.server.server import EchoServer
    from echo.server.waiting import PollWaiter, SelectWaiter


class EchoHandler(socketserver.StreamRequestHandler):
    """Echoes one client's bytes until there is a reason to end.

    Reads at most `buffer_size` bytes and sends all of them back before it reads on, so that a
    client that doesn't read is not read from either. It ends when the peer has sent its end of
    stream, or with `SessionEnd` at a limit or a drain. The socket is used as it is: the base
    class's two files, `rfile` and `wfile`, are not made.
    """

    server: EchoServer
    request: socket.socket
    loop = "python"

    def handle(self) -> None:
        """Run the echo loop."""
        self.request.setblocking(False)
        while chunk := self.receive():
            self.send_back(chunk)

    def setup(self) -> None:
        """Prepare the session's buffer and its clocks."""
        limits = self.server.limits
        self.session = self.server.sessions[self.request]
        self.buffer = memoryview(bytearray(min(limits.buffer_size, FIRST_BUFFER)))
        self.idle_timeout = limits.idle_timeout or math.inf
        self.max_bytes = limits.max_bytes or math.inf
        self.deadline = Deadline(limits.session_timeout or None)

    @cached_property
    def waiter(self) -> PollWaiter | SelectWaiter:
        """What waits for the client, and for the bell that says it is time to drain."""
        return Waiter(self.request, self.server.bell)

    def receive(self) -> memoryview:
        """Wait for the peer's next bytes; none are its end of stream."""
        counts = self.session.counts
        while not self.server.draining:
            if counts.received_bytes >= self.max_bytes:
                raise SessionEnd(Reason.BYTE_LIMIT)
            self.wait_for_input()
            try:
                count = self.request.recv_into(self.room())
            except BlockingIOError:  # it was the bell, or the input went away
                continue
            counts.received_bytes += count
            chunk = self.buffer[:count]
            if self.server.log_payload and count:
                self.show(chunk)
            if count == len(self.buffer):
                self.enlarge()
            return chunk
        raise SessionEnd(Reason.DRAINED)

    def send_back(self, chunk: memoryview) -> None:
        """Send all of it: one `send` may take less than it was given."""
        while chunk:
            try:
                sent = self.request.send(chunk)
            except BlockingIOError:
                self.wait_for_room()
                continue
            self.session.counts.sent_bytes += sent
            chunk = chunk[sent:]

    def room(self) -> memoryview:
        """Give the buffer, or as much of it as `max_bytes` still allows."""
        left = self.max_bytes - self.session.counts.received_bytes
        return self.buffer if left >= len(self.buffer) else self.buffer[: int(left)]

    def enlarge(self) -> None:
        """Read on with the whole of `buffer_size`, if it isn't that already."""
        size = self.server.limits.buffer_size
        if len(self.buffer) < size:
            # Anonymous memory costs the pages that are touched, a bytearray all of them.
            self.buffer = memoryview(mmap.mmap(-1, size))

    def wait_for_input(self) -> None:
        """Wait until there is something to read, as long as the peer may stay silent."""
        left = self.deadline.left()
        if not left:
            raise SessionEnd(Reason.SESSION_TIMEOUT)
        if not self.waiter.readable(min(left, self.idle_timeout)):
            late = left < self.idle_timeout
            raise SessionEnd(Reason.SESSION_TIMEOUT if late else Reason.IDLE_TIMEOUT)

    def wait_for_room(self) -> None:
        """Wait until some more can be sent, as long as the peer may read nothing."""
        left, patience = self.deadline.left(), self.server.limits.write_timeout
        waiting = unsent(self.request)
        if self.waiter.writable(min(left, patience)):
            return
        if left < patience:
            raise SessionEnd(Reason.SESSION_TIMEOUT)
        # The system says that there is room when a third of its buffer is free: up to 1 MiB,
        # which a slow reader takes its time for. One that has read nothing is stuck.
        if unsent(self.request) >= waiting:
            raise SessionEnd(Reason.WRITE_TIMEOUT)

    def finish(self) -> None:
        """Leave the socket to the server, which knows how to close it."""

    def show(self, chunk: memoryview) -> None:
        """Log one read, for whoever asked to see the payload."""
        self.server.emit(
            SESSION_DATA,
            session_id=self.session.session_id,
            bytes=len(chunk),
            preview=preview(chunk),
        )


def preview(chunk: bytes | memoryview) -> str:
    r"""Write the beginning of a payload as printable ASCII, so that no peer can forge a line.

    >>> preview(b'line\n"quoted" \x1b[31m \xff')
    'line\\n"quoted" \\x1b[31m \\xff'
    """
    return repr(bytes(chunk[:PREVIEW_BYTES]))[2:-1]
