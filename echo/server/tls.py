"""TLS at the server's side: its certificate, the handshake, and the end of a session."""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from echo.deadline import Deadline
from echo.events import Reason
from echo.server.session import SessionEnd
from echo.server.sockets import LINGER_TIMEOUT
from echo.server.subject import subject_of
from echo.server.waiting import Waiter
from echo.tls import TlsSocket, explain

if TYPE_CHECKING:
    from pathlib import Path

    from echo.server.server import EchoServer
    from echo.server.session import Session

# Seconds: a handshake is two round trips and some arithmetic.
TLS_TIMEOUT = 10.0
# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_OUT_OF_DATE = frozenset({9, 10})


class BadCertificate(ValueError):
    """A certificate, its key or the clients' authority can't be used; the text says why."""


class TlsConfig:
    """The server's certificate and key, and the authority that clients need a certificate from.

    Paths of PEM files. All are read at once, here and by `reload`, which keeps what it had
    when it raises; a certificate that is out of date counts as one that can't be used.
    Sessions that are under way keep what they began with. A handshake may take `timeout`
    seconds. Raises `BadCertificate`.
    """

    def __init__(
        self, cert: Path, key: Path, client_ca: Path | None = None, *, timeout: float = TLS_TIMEOUT
    ) -> None:
        self.timeout = timeout
        self.cert = cert
        self.key = key
        self.client_ca = client_ca
        self.context = self._read()

    def __repr__(self) -> str:
        return f"<TlsConfig {self.cert}>"

    def reload(self) -> None:
        """Read the files again: new sessions use what is in them now."""
        self.context = self._read()

    def shake_hands(self, session: Session, server: EchoServer) -> None:
        """Put TLS over a session's socket, and do the handshake until a drain begins.

        Raises `SessionEnd` or `TlsError`, as for what is wrong with TLS later on.
        """
        session.sock.setblocking(False)
        stream = session.tls_socket = TlsSocket(session.sock, self.context, server_side=True)
        waiter = Waiter(stream, server.wakeup)
        deadline = Deadline(self.timeout)
        while not server.draining:
            try:
                stream.do_handshake()
                session.tls = _facts(stream)
                return
            except BlockingIOError:
                wait = waiter.writable if stream.awaits == select.POLLOUT else waiter.readable
                ready = wait(deadline.left())
            if not ready or deadline.expired:
                raise SessionEnd(Reason.TLS_ERROR, "no handshake in time")
        raise SessionEnd(Reason.DRAINED)

    def say_goodbye(self, session: Session) -> None:
        """Send the peer a close_notify, if that can be done soon."""
        if session.tls_socket is not None:
            session.tls_socket.settimeout(LINGER_TIMEOUT)
            with suppress(OSError):  # it is gone, or takes nothing
                session.tls_socket.shutdown(socket.SHUT_WR)

    def _read(self) -> ssl.SSLContext:
        try:
            context = _context(self.cert, self.key)
            _check_dates(context, self.cert)
        except ssl.SSLError as error:
            raise BadCertificate(f"{self.cert} with {self.key}: {explain(error)}") from error
        except OSError as error:
            raise BadCertificate(f"{self.cert} with {self.key}: {error.strerror}") from error
        if self.client_ca is not None:
            self._ask_for_theirs(context, self.client_ca)
        return context

    def _ask_for_theirs(self, context: ssl.SSLContext, authority: Path) -> None:
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError as error:
            raise BadCertificate(f"{authority}: {explain(error)}") from error
        except OSError as error:
            raise BadCertificate(f"{authority}: {error.strerror}") from error
        context.verify_mode = ssl.CERT_REQUIRED


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a request for one is answered with an alert
    context.load_cert_chain(cert, key, password="")  # a daemon has nobody to ask for one
    return context


def _check_dates(context: ssl.SSLContext, cert: Path) -> None:
    """Shake hands with ourselves, in memory, for the one opinion that matters on the dates."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.load_verify_locations(cert)
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(back, there)
    server = context.wrap_bio(there, back, server_side=True)
    try:
        for side in (client, server, client):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _OUT_OF_DATE:
            raise


def _facts(sock: TlsSocket) -> dict[str, str]:
    """Return what the handshake agreed on, by the log's names."""
    cipher, protocol, _ = sock.cipher() or ("", "", 0)
    facts = {"tls_protocol": sock.version() or protocol, "tls_cipher": cipher}
    certificate = sock.getpeercert(binary_form=True)
    return {**facts, "tls_subject": subject_of(certificate)} if certificate else facts
