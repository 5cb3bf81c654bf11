"""TLS for both ends: a socket that raises `BlockingIOError` as every other one does."""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from echo.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

    from _typeshed import ReadableBuffer, WriteableBuffer

T = TypeVar("T")

# Bytes of payload in a record at the most.
RECORD_BYTES = 16 * 1024
# Bytes that are read from the network at once: a whole record with all that is around
# it. OpenSSL's memory for what comes grows by as much.
RAW_BYTES = RECORD_BYTES + 512
# Reads in one step at the most, where each fills its buffer: two records are one step for a stream.
READS = 2
# Bytes that may come without a byte of payload in them, and bytes of answers that may wait for a
# peer to read them. A record holds up to 16 KiB that can't be decrypted before its last byte is
# there; key updates, alerts and empty records are short.
FRUITLESS_BYTES = 64 * 1024
# What Python puts around OpenSSL's words: the library and a name before, its own line after.
_DECORATION = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")
# For a file that it can't read, OpenSSL's text is the name of its own part.
_PLAINER = {"PEM lib": "not PEM, cut short, or locked with a passphrase"}
# What a `TlsSocket` passes on, to the socket and to the TLS layer. Whatever else a socket can
# do stays out of reach: it could send plain text.
_OF_SOCKET = frozenset(
    {"family", "getpeername", "getsockname", "getsockopt", "proto", "setsockopt", "type"}
)
_OF_TLS = frozenset(
    {"cipher", "context", "getpeercert", "selected_alpn_protocol", "session_reused", "version"}
)


class TlsError(ConnectionError):
    """The TLS layer broke or refused; the text is OpenSSL's or ours, never the peer's."""

    def __init__(self, error: ssl.SSLError | str) -> None:
        super().__init__(error if isinstance(error, str) else explain(error))


class TlsSocket:
    """TLS over a connected socket, which it owns from then on; used as a socket is.

    It blocks, times out or doesn't block as the socket did, and a time-out counts until there
    is payload, whatever else comes. What can't be done at the moment is a `BlockingIOError`,
    what TLS can't do at all a `TlsError`. A peer that sends `FRUITLESS_BYTES` without payload
    (key updates, requests for a renegotiation, empty records), or lets as many bytes of answers
    to such records wait, is a `TlsError`, too.

    OpenSSL works in memory here, and a step gives it `RAW_BYTES` of the network's at most twice: on
    a socket it would read on for as long as a peer sends records without payload. Reading never
    waits for room to write. Two threads may use it, one to send and one to receive.
    """

    _io_refs = 0  # socketserver's files over a socket count themselves there

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self._sock = sock
        self._timeout = sock.gettimeout()
        sock.setblocking(False)
        self._lock = threading.Lock()  # OpenSSL allows one thread at a time
        self._unsent = b""  # encrypted, and not yet taken by the kernel
        self._taken = 0  # bytes of payload in it
        self._fruitless = 0  # bytes that came since there was payload
        self._failure: OSError | None = None  # to be raised by each call from now on
        self._peer_ended = False
        self._ended = False

    def __repr__(self) -> str:
        return f"<TlsSocket {self._sock!r}>"

    def __getattr__(self, name: str) -> Any:
        if name in _OF_SOCKET:
            return getattr(self._sock, name)
        if name in _OF_TLS:
            return getattr(self._tls, name)
        raise AttributeError(f"a TlsSocket has no {name}")

    # -- as a socket --------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once it is closed."""
        return self._sock.fileno()

    def gettimeout(self) -> float | None:
        """Return the time-out in seconds; None blocks, 0 never does."""
        return self._timeout

    def settimeout(self, seconds: float | None) -> None:
        """Set the time-out of each call, in seconds; None blocks, 0 never does."""
        self._timeout = seconds

    def setblocking(self, flag: bool) -> None:
        """Block without a time-out, or not at all."""
        self._timeout = None if flag else 0.0

    def recv(self, bufsize: int = 1024, flags: int = 0) -> bytes:
        """Return payload, at most `bufsize` bytes of it; none is the end of the stream."""
        # OpenSSL may hold a record but for its last byte, and is given all that a step reads: with
        # room for both, nothing is left that the descriptor doesn't show.
        buffer = bytearray(min(bufsize, RECORD_BYTES + READS * RAW_BYTES))
        del buffer[self.recv_into(buffer, 0, flags) :]
        return bytes(buffer)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Put payload into `buffer` and return how much; 0 is the end of the stream."""
        _refuse(flags)
        room = memoryview(buffer).cast("B")[: nbytes or None]
        return self._repeat(lambda: self._receive(room), select.POLLIN)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Send some of `data`, and return how much of it the kernel has taken, encrypted.

        After a `BlockingIOError` the next call has to begin with the same data.
        """
        _refuse(flags)
        payload = memoryview(data).cast("B")
        return self._repeat(lambda: self._send(payload), select.POLLOUT)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send all of `data`."""
        left = memoryview(data).cast("B")
        while left:
            left = left[self.send(left, flags) :]

    def sendfile(self, file: BufferedReader, offset: int = 0, count: int | None = None) -> int:
        """Send `count` bytes of a file, or what there is; return how many it were."""
        file.seek(offset)
        sent = 0
        while piece := file.read(
            RECORD_BYTES if count is None else min(RECORD_BYTES, count - sent)
        ):
            self.sendall(piece)
            sent += len(piece)
        return sent

    def makefile(self, *arguments: Any, **more: Any) -> Any:
        """Return a file over this socket, as `socket.makefile` does."""
        make: Any = socket.socket.makefile  # which only uses methods that are here
        return make(self, *arguments, **more)

    def _decref_socketios(self) -> None:
        """Do nothing: no closing waits here for the files over this socket."""

    def pending(self) -> int:
        """Return a number above 0 where a read has something that the descriptor doesn't show."""
        decrypted = self._tls.pending() + self._incoming.pending
        return decrypted or int(self._failure is not None or self._peer_ended)

    def shutdown(self, how: int) -> None:
        """Send close_notify, TLS's end of stream; any `how` but `SHUT_WR` ends the connection.

        What the peer still sends can be read after it.
        """
        if how == socket.SHUT_WR:
            self._repeat(self._end, select.POLLOUT)
        else:
            self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket; again is nothing."""
        self._sock.close()

    # -- the handshake ------------------------------------------------------------------

    def do_handshake(self) -> None:
        """Do the handshake, or as much of it as can be done now."""
        self._repeat(self._shake_hands)

    @property
    def awaits(self) -> int:
        """What poll(2) is to wait for in the middle of a handshake: POLLIN or POLLOUT."""
        return select.POLLOUT if self._unsent else select.POLLIN

    # -- steps, each of which is bounded and never waits ----------------------------------

    def _repeat(self, step: Callable[[], T], event: int = 0) -> T:
        """Take a step again and again, until it has done something or the time is over."""
        deadline = None
        while True:
            try:
                with self._lock:
                    return step()
            except BlockingIOError:
                if self._timeout == 0:
                    raise
            except ssl.SSLError as error:
                raise TlsError(error) from error
            deadline = deadline or Deadline(self._timeout)
            poll = select.poll()
            poll.register(self._sock, event or self.awaits)
            left = None if self._timeout is None else deadline.left() * 1000
            if deadline.expired or not poll.poll(left):
                raise TimeoutError("timed out")

    def _receive(self, room: memoryview) -> int:
        """Decrypt what is here already, or else what a bounded number of reads brings."""
        if self._failure is not None:
            raise self._failure
        count = self._decrypt(room)
        reads = 0 if count or self._peer_ended or not room else READS
        while reads and self._failure is None:
            try:
                is_full = self._feed()
            except BlockingIOError:
                break
            except OSError as error:
                self._failure = error
                break
            count += self._decrypt(room[count:])
            # There is more where a read has filled its buffer.
            reads = reads - 1 if is_full and count < len(room) else 0
        if count:
            self._fruitless = 0
        if max(self._fruitless, len(self._unsent)) > FRUITLESS_BYTES:
            self._failure = self._failure or TlsError("records without payload")
        if not count and self._failure is not None:
            raise self._failure
        if not count and room and not self._peer_ended:
            raise BlockingIOError
        return count

    def _decrypt(self, room: memoryview) -> int:
        """Fill `room` from what OpenSSL has; an error is for who finds no more payload."""
        count = got = 0
        try:
            # A read that finds nothing would cost an exception of some microseconds.
            while (
                count < len(room)
                and not self._peer_ended
                and (self._incoming.pending or self._tls.pending())
            ):
                got = self._tls.read(len(room) - count, room[count:])  # type: ignore[assignment]
                self._peer_ended = not got  # its close_notify
                count += got
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the same, where ours is sent
            self._peer_ended = True
        except ssl.SSLError as error:
            self._failure = TlsError(error)
        try:
            self._flush()  # an alert, say
        except OSError as error:
            self._failure = self._failure or error
        return count

    def _feed(self) -> bool:
        """Read from the network once; return whether there may be more."""
        raw = bytearray(RAW_BYTES)  # always of one size: others would leave holes in the heap
        count = self._sock.recv_into(raw)
        self._peer_ended = not count  # without a close_notify
        self._incoming.write(memoryview(raw)[:count])
        self._fruitless += count
        return count == RAW_BYTES

    def _send(self, payload: memoryview) -> int:
        """Encrypt a record of `payload`; count it once the kernel has taken all of it."""
        if self._failure is not None:
            raise self._failure
        if self._ended:
            raise BrokenPipeError("the stream has ended")
        if self._flush() and payload and not self._taken:
            self._taken = self._tls.write(payload[:RECORD_BYTES])
            self._flush()
        if self._unsent:
            raise BlockingIOError
        taken, self._taken = self._taken, 0
        return taken

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            # Having sent ours, Python's TLS looks for the peer's close_notify, and complains of
            # anything else; or there was no handshake.
            with suppress(ssl.SSLError):
                self._tls.unwrap()
        if not self._flush():
            raise BlockingIOError

    def _shake_hands(self) -> None:
        for fed in False, True:
            if fed:
                self._feed()
                if self._peer_ended:
                    self._incoming.write_eof()
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            finally:
                self._flush()
            if not self._unsent:
                self._fruitless = 0
                return
        raise BlockingIOError

    def _flush(self) -> bool:
        """Send what is encrypted, as far as there is room; return whether that was all."""
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        while self._unsent:
            try:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
            except BlockingIOError:
                return False
        return True


def wrap(sock: socket.socket, context: ssl.SSLContext, *, server_hostname: str) -> TlsSocket:
    """Return `sock` with TLS as a client has it, hands shaken; where this fails, it is closed.

    Raises `TlsError`, or an `OSError` of the network's.
    """
    try:
        secure = TlsSocket(sock, context, server_hostname=server_hostname)
        secure.do_handshake()
    except BaseException:
        sock.close()
        raise
    return secure


def explain(error: ssl.SSLError) -> str:
    """Return what OpenSSL says, for people.

    >>> explain(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)"))
    'wrong version number'
    >>> explain(ssl.SSLError(9, "[SSL] PEM lib (_ssl.c:3905)"))
    'not PEM, cut short, or locked with a passphrase'
    """
    verdict = getattr(error, "verify_message", "")
    said = _DECORATION.sub("", str(error.args[-1])).partition(": ")[0]
    return f"{said}: {verdict}" if verdict else _PLAINER.get(said, said)


def _refuse(flags: int) -> None:
    if flags:
        raise ValueError("TLS takes no flags for a read or a write")
