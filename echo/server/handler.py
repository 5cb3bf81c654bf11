"""The handler: what the server does for one client, from the first byte to the last."""

from __future__ import annotations

import codecs
import io
import math
import mmap
import socketserver
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from echo.events import SESSION_DATA, Reason
from echo.server.session import DRAINING, PAYLOAD, SessionEnd
from echo.server.sockets import unsent
from echo.server.waiting import Waiter

if TYPE_CHECKING:
    import socket

    from _typeshed import ReadableBuffer, WriteableBuffer

    from echo.server.server import EchoServer
    from echo.server.session import Session

# Until a read fills this many bytes, a session has no larger buffer: most messages are short,
# and a page for each idle session would be a sixth of what it costs.
FIRST_BUFFER = 1024
# Seconds of silence after which a session gives its large buffer back.
BUFFER_PATIENCE = 10.0
# A peer that takes nothing is looked at this many times before it is given up.
WRITE_LOOKS = 16
# Bytes of a read that `session.data` shows.
PREVIEW_BYTES = 64
_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class EchoHandler(socketserver.StreamRequestHandler):
    r"""Echoes one client's bytes until there is a reason to end.

    Reads at most `buffer_size` bytes and sends all of them back before it reads on, so that a
    client that doesn't read is not read from either. It ends when the peer has sent its end of
    stream, or with `SessionEnd` at a limit or a drain.

    A protocol of your own is a few lines on it: `receive` returns the peer's next bytes and
    `send_back` sends, both within the server's limits. `rfile` and `wfile` do the same as files.

    >>> import socket
    >>> from echo.testing import running_server
    >>> class ShoutHandler(EchoHandler):
    ...     def send_back(self, chunk):
    ...         super().send_back(bytes(chunk).upper())
    >>> class LengthHandler(EchoHandler):  # two bytes that say how long, then the message
    ...     def handle(self):
    ...         while head := self.rfile.read(2):
    ...             self.wfile.write(head + self.rfile.read(int.from_bytes(head)))
    >>> for handler, message in (ShoutHandler, b"hello"), (LengthHandler, b"\x00\x05hello"):
    ...     with running_server(handler=handler) as server:
    ...         with socket.create_connection(server.address) as client:
    ...             sent = client.send(message)
    ...             client.recv(100)
    b'HELLO'
    b'\x00\x05hello'
    """

    takes_session = True
    server: EchoServer
    request: socket.socket
    loop = "python"

    def __init__(self, session: Session, client_address: Any, server: EchoServer) -> None:
        """Serve a session; its socket is `self.request`, as in every handler."""
        self.session = session
        self.ends_at = session.started + (server.limits.session_timeout or math.inf)
        stream: Any = session.tls_socket or session.sock
        super().__init__(stream, client_address, server)

    def handle(self) -> None:
        """Run the echo loop."""
        while chunk := self.receive():
            self.send_back(chunk)
            del chunk  # it would keep the large buffer that a silent session gives back

    def setup(self) -> None:
        """Prepare the session's buffer and its limits."""
        limits = self.server.limits
        self.request.setblocking(False)
        self.buffer = memoryview(bytearray(min(limits.buffer_size, FIRST_BUFFER)))
        self.idle_timeout = limits.idle_timeout or math.inf
        self.max_bytes = limits.max_bytes or math.inf

    @cached_property
    def waiter(self) -> Waiter:
        """What waits for the client, and for the server's wakeup when it is time to drain."""
        return Waiter(self.request, self.server.wakeup)

    def receive(self) -> memoryview:
        """Wait for the peer's next bytes and return them; none are its end of stream.

        They are valid until the next call. Raises `SessionEnd` at a limit or a drain, `OSError`
        when the connection breaks.
        """
        flags, counts = self.server.flags, self.session.counts
        self.idle_at = time.monotonic() + self.idle_timeout
        while not flags[DRAINING]:
            left = self.max_bytes - counts.received_bytes
            if left <= 0:
                raise SessionEnd(Reason.BYTE_LIMIT)
            if counts.received_bytes:  # a client's first bytes are often there already
                self.wait_for_input()
            room = self.buffer if left >= len(self.buffer) else self.buffer[: int(left)]
            try:
                count = self.request.recv_into(room)
            except BlockingIOError:  # the wakeup, or under TLS something without payload
                self.wait_for_input()
                continue
            counts.received_bytes += count
            chunk = self.buffer[:count]
            self.session.peer_ended = not count
            if flags[PAYLOAD] and count:
                self.show(chunk)
            if count == len(self.buffer) < self.server.limits.buffer_size:
                self.enlarge()
            return chunk
        raise SessionEnd(Reason.DRAINED)

    def send_back(self, chunk: ReadableBuffer) -> None:
        """Send all of `chunk`: one `send` may take less than it was given."""
        chunk = memoryview(chunk).cast("B")
        while chunk:
            try:
                sent = self.request.send(chunk)
            except BlockingIOError:
                self.wait_for_room()
                continue
            self.session.counts.sent_bytes += sent
            chunk = chunk[sent:]

    def wait_for_input(self) -> None:
        """Wait until there is something to read, within the session's time and to `idle_at`.

        `receive` sets that once: what comes without payload is no end of a silence.
        """
        end = min(self.ends_at, self.idle_at)
        seconds = end - time.monotonic()
        if seconds > 0:
            if len(self.buffer) > FIRST_BUFFER and seconds > BUFFER_PATIENCE:
                if self.waiter.readable(BUFFER_PATIENCE):
                    return
                self.buffer = memoryview(bytearray(FIRST_BUFFER))
                seconds -= BUFFER_PATIENCE
            if self.waiter.readable(seconds):
                return
        late = end == self.ends_at
        raise SessionEnd(Reason.SESSION_TIMEOUT if late else Reason.IDLE_TIMEOUT)

    def wait_for_room(self) -> None:
        """Wait until some more can be sent, as long as the peer may take nothing.

        The system reports room once a third of its buffer is free, up to 1 MiB, for which a slow
        reader takes its time. So the progress that counts is that less is unsent than before.
        """
        patience = self.server.limits.write_timeout
        waiting, since = unsent(self.request), time.monotonic()
        while True:
            now = time.monotonic()
            if now >= self.ends_at:
                raise SessionEnd(Reason.SESSION_TIMEOUT)
            if now >= since + patience:
                raise SessionEnd(Reason.WRITE_TIMEOUT)
            end = min(self.ends_at, since + patience)
            if self.waiter.writable(min(end - now, patience / WRITE_LOOKS)):
                return
            if (left := unsent(self.request)) < waiting:
                waiting, since = left, time.monotonic()

    def enlarge(self) -> None:
        """Read on with the whole of `buffer_size`, or with the buffer as it is without memory."""
        try:
            # Anonymous memory costs the pages that are touched, a bytearray all of them.
            self.buffer = memoryview(mmap.mmap(-1, self.server.limits.buffer_size))
        except (OSError, MemoryError) as error:
            self.server.report(error, "enlarge")

    def finish(self) -> None:
        """Leave the socket to the server, which knows how to close it."""

    @cached_property
    def rfile(self) -> io.BufferedReader:  # type: ignore[override]
        """The peer's bytes as a file, within the limits; made when it is first used."""
        return io.BufferedReader(_Stream(self), self.server.limits.buffer_size)

    @cached_property
    def wfile(self) -> _Stream:  # type: ignore[override]
        """A file that sends all that is written to it at once."""
        return _Stream(self)

    def show(self, chunk: memoryview) -> None:
        """Log one read, where the payload is to be seen."""
        self.server.emit(
            SESSION_DATA,
            session_id=self.session.session_id,
            bytes=len(chunk),
            preview=preview(chunk),
        )


class _Stream(io.RawIOBase):
    """A handler's `receive` and `send_back` as an unbuffered file."""

    def __init__(self, handler: EchoHandler) -> None:
        self._handler = handler
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        room = memoryview(buffer).cast("B")
        chunk = self._rest or self._handler.receive()
        count = min(len(room), len(chunk))
        room[:count] = chunk[:count]
        self._rest = chunk[count:]
        return count

    def write(self, data: ReadableBuffer) -> int:
        self._handler.send_back(data)
        return memoryview(data).nbytes


def preview(chunk: bytes | memoryview) -> str:
    r"""Return the beginning of a payload, escaped so that no peer can forge a line.

    What is UTF-8 is shown as text, other bytes as hexadecimal escapes.

    >>> preview('안녕\n"quoted" \x1b[31m'.encode()), preview(b"caf\xe9")
    ('안녕\\n"quoted" \\x1b[31m', 'caf\\xe9')
    """
    start = bytes(chunk[:PREVIEW_BYTES])
    try:
        # A character that the bound cuts off is left out.
        text = _Utf8Decoder().decode(start, final=len(chunk) <= PREVIEW_BYTES)
    except UnicodeDecodeError:
        return repr(start)[2:-1]
    return repr(text)[1:-1]
