"""TLS at the server's side: its certificate, and the handler of an encrypted session."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from echo.deadline import Deadline
from echo.events import Reason
from echo.limits import LINGER_TIMEOUT, TLS_TIMEOUT
from echo.server.handler import EchoHandler
from echo.server.session import SessionEnd
from echo.tls import TlsError, TlsSocket, explain, wrap

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_OUT_OF_DATE = frozenset({9, 10})
# What would end a value of a subject, or escape its end.
_SPECIAL = re.compile(r"[\\,=+]")


class BadCertificate(ValueError):
    """A certificate, its key or the clients' authority can't be used; the text says why."""


class Certificates:
    """The server's certificate and key, and the authority that clients need one from.

    Paths of PEM files. All are read at once, here and by `reload`, which keeps what it had
    when it raises; a certificate that is out of date counts as one that can't be used.
    Sessions that are under way keep what they began with. Raises `BadCertificate`.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        self.cert = cert
        self.key = key
        self.client_ca = client_ca
        self.context = self._read()

    def __repr__(self) -> str:
        return f"<Certificates {self.cert}>"

    def reload(self) -> None:
        """Read the files again: new sessions use what is in them now."""
        self.context = self._read()

    def handler(self, timeout: float = TLS_TIMEOUT) -> type[TlsEchoHandler]:
        """Give the handler whose sessions show this certificate.

        A handshake may take `timeout` seconds.
        """
        members = {"certificates": self, "handshake_timeout": timeout}
        return type("TlsEchoHandler", (TlsEchoHandler,), members)

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
    context.options |= ssl.OP_NO_RENEGOTIATION
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


class TlsEchoHandler(EchoHandler):
    """Echoes as `EchoHandler` does, through TLS; `Certificates.handler` makes it.

    The bytes that are counted are payload. What is wrong with the TLS layer ends the session
    as `tls_error`. However it ends, the peer gets a close_notify where one can still be sent.
    """

    certificates: Certificates
    handshake_timeout: float
    request: TlsSocket

    def setup(self) -> None:
        """Put the TLS layer on the socket; the handshake comes later."""
        session = self.server.sessions[self.request]
        self.request.setblocking(False)
        try:
            self.request = wrap(
                self.request,
                self.certificates.context,
                server_side=True,
                do_handshake_on_connect=False,
            )
        except TlsError as error:  # the peer has been here, and is gone
            raise SessionEnd(Reason.RESET) from error
        self.server.sessions.exchange(session, self.request)
        super().setup()

    def handle(self) -> None:
        """Shake hands, then run the echo loop."""
        try:
            self.shake_hands()
            self.session.tls = _facts(self.request)
            super().handle()
        except TlsError as error:
            raise SessionEnd(Reason.TLS_ERROR, str(error)) from error

    def finish(self) -> None:
        """Tell the peer that this was all, if that can be done soon."""
        with suppress(OSError, ValueError):  # it is gone, or there was no handshake
            try:
                self.request.shutdown(socket.SHUT_WR)
            except BlockingIOError:
                self.waiter.writable(LINGER_TIMEOUT)
                self.request.shutdown(socket.SHUT_WR)
        super().finish()

    def shake_hands(self) -> None:
        """Do the handshake, however many turns it takes, until its deadline or a drain."""
        deadline = Deadline(self.handshake_timeout)
        while not self.server.draining:
            try:
                return self.request.do_handshake()
            except ssl.SSLWantReadError:
                ready = self.waiter.readable(deadline.left())
            except ssl.SSLWantWriteError:
                ready = self.waiter.writable(deadline.left())
            except ssl.SSLError as error:
                raise TlsError(error) from error
            if not ready or deadline.expired:
                raise SessionEnd(Reason.TLS_ERROR, "no handshake in time")
        raise SessionEnd(Reason.DRAINED)

    def wait_for_input(self) -> None:
        """Wait, unless a part of what has come is decrypted already: poll can't see that."""
        if not self.request.pending():
            super().wait_for_input()


def _facts(sock: TlsSocket) -> dict[str, str]:
    """Say what the handshake agreed on, by the log's names."""
    cipher, protocol, _ = sock.cipher() or ("", "", 0)
    facts = {"tls_protocol": sock.version() or protocol, "tls_cipher": cipher}
    certificate = sock.getpeercert()
    return {**facts, "tls_subject": subject_of(certificate)} if certificate else facts


def subject_of(certificate: Mapping[str, Any]) -> str:
    r"""Write a certificate's subject in one line that can be read in one way only.

    >>> subject_of({"subject": ((("organizationName", "a, b=c"),), (("commonName", "me"),))})
    'organizationName=a\\, b\\=c,commonName=me'
    """
    pairs = [pair for relative in certificate.get("subject", ()) for pair in relative]
    return ",".join(f"{name}={_SPECIAL.sub(_escape, value)}" for name, value in pairs)


def _escape(match: re.Match[str]) -> str:
    return f"\\{match.group()}"
