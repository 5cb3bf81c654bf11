"""TLS for both ends: a socket that raises `BlockingIOError` as every other one does."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer, WriteableBuffer

# Python's decoration of OpenSSL's text: the library and a name before, its own line after.
_DECORATION = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")
# For a file that it can't read, OpenSSL's text is the name of its own part.
_PLAINER = {"PEM lib": "not PEM, cut short, or locked with a passphrase"}


class TlsError(ConnectionError):
    """The TLS layer broke or refused; the text is OpenSSL's, never the peer's."""

    def __init__(self, error: ssl.SSLError) -> None:
        super().__init__(explain(error))


class TlsSocket(ssl.SSLSocket):
    """An `SSLSocket` that works where a plain non-blocking socket does.

    What TLS can't do at the moment raises `BlockingIOError`, what it can't do at all `TlsError`.
    Reading never has to write, so that waiting for input is enough: renegotiation is off, and a
    key update is answered with the next write. `shutdown(SHUT_WR)` sends TLS's own end of stream
    (close_notify). Two threads may use it, one to send and one to receive: a lock keeps them
    apart, since OpenSSL allows one at a time.
    """

    _both_ended = False

    @cached_property
    def _lock(self) -> threading.Lock:
        return threading.Lock()

    @contextmanager
    def _one_call(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                raise BlockingIOError from error
            except ssl.SSLError as error:
                raise TlsError(error) from error

    def shake_hands(self) -> None:
        """Go on with the handshake; where that takes more input, raise `BlockingIOError`."""
        with self._one_call():
            self.do_handshake()

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Send some of `data`, and return how many bytes were taken."""
        with self._one_call():
            if self._both_ended:  # there is no TLS layer any more, and this must not go out plain
                raise BrokenPipeError("the stream has ended")
            return super().send(data, flags)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Return what has arrived, at most `buflen` bytes; nothing at the end of the stream."""
        data = b""
        with self._one_call(), suppress(ssl.SSLZeroReturnError):  # the end, where ours is sent
            data = b"" if self._both_ended else super().recv(buflen, flags)
        return data

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """Read what has arrived into `buffer`; return its length, 0 at the end of the stream."""
        count = 0
        with self._one_call(), suppress(ssl.SSLZeroReturnError):
            count = 0 if self._both_ended else super().recv_into(buffer, nbytes, flags)
        return count

    def shutdown(self, how: int) -> None:
        """Send close_notify; any `how` but `SHUT_WR` ends the connection below it, too.

        Python's TLS looks for the peer's own close_notify right away, and takes payload that is
        there instead for an error: call it when nothing more is due.
        """
        if how != socket.SHUT_WR:
            socket.socket.shutdown(self, how)
            return
        with self._lock:
            try:
                self._both_ended = self._both_ended or bool(self.unwrap())
            except ssl.SSLWantReadError:  # ours is sent, the peer's is still to come
                return
            except ssl.SSLWantWriteError as error:
                raise BlockingIOError from error
            except ssl.SSLError as error:
                raise TlsError(error) from error


def wrap(
    sock: socket.socket,
    context: ssl.SSLContext,
    *,
    do_handshake_on_connect: bool = True,
    **options: Any,
) -> TlsSocket:
    """Return `sock` with a TLS layer, which owns it from then on; where this fails, it is closed.

    The handshake happens here, unless it is not wanted yet. Raises `TlsError`, or an `OSError`
    of the network's.
    """
    try:
        wrapped = context.wrap_socket(sock, do_handshake_on_connect=False, **options)
    except ssl.SSLError as error:  # pragma: no cover - the peer sent something and left by now
        raise TlsError(error) from error
    # The class is the socket's alone: to set `context.sslsocket_class` would change the caller's
    # context for everything else that uses it.
    wrapped.__class__ = TlsSocket
    assert isinstance(wrapped, TlsSocket)
    if do_handshake_on_connect:
        try:
            wrapped.do_handshake()
        except OSError as error:
            socket.socket.close(wrapped)
            raise TlsError(error) if isinstance(error, ssl.SSLError) else error from error
    return wrapped


def explain(error: ssl.SSLError) -> str:
    """Return OpenSSL's text of an error, without Python's decoration.

    >>> explain(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)"))
    'wrong version number'
    >>> explain(ssl.SSLError(9, "[SSL] PEM lib (_ssl.c:3905)"))
    'not PEM, cut short, or locked with a passphrase'
    """
    verdict = getattr(error, "verify_message", "")
    said = _DECORATION.sub("", str(error.args[-1])).partition(": ")[0]
    return f"{said}: {verdict}" if verdict else _PLAINER.get(said, said)
