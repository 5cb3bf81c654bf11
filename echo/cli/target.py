"""What the commands that are clients share: where the server is, and whether to speak TLS."""

from __future__ import annotations

import socket
import ssl
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from echo.cli.failure import CONFIG, FAILED, USAGE, Failure
from echo.client.errors import EchoEnded, EchoMismatch
from echo.client.tls import trusting
from echo.errors import problem_of
from echo.tls import TlsError, explain

_FILES = "--tls-ca, --tls-client-cert or --tls-client-key"
# What OpenSSL says of an answer that is no TLS: an echo of its own first message, or a greeting.
_NOT_TLS = ("unexpected message", "wrong version number", "packet length too long")
_NO_ECHO = "is an echo server running there?"
# The first byte of a TLS alert.
_ALERT = 0x15

_Tls = Parameter(group=Group("TLS", sort_key=8))


@dataclass(frozen=True)
class Target:
    """The server that a command talks to."""

    host: str = "127.0.0.1"
    """Server's address or name, or HOST:PORT, as localhost:9000 or [::1]:9000."""

    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65535))] = 9000
    """Server's TCP port: a number, or a service's name such as echo."""

    _: KW_ONLY

    tls: Annotated[bool, Parameter(negative=""), _Tls] = False
    """Speak TLS; the server's certificate must be valid for HOST."""

    tls_ca: Annotated[Path | None, _Tls] = None
    """PEM file of the authorities to trust instead of the system's."""

    tls_client_cert: Annotated[Path | None, _Tls] = None
    """PEM file of the client's certificate, for a server that asks for one."""

    tls_client_key: Annotated[Path | None, _Tls] = None
    """PEM file of the key of that certificate."""

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"

    def context(self, command: str) -> ssl.SSLContext | None:
        """Return what `EchoClient` takes as `tls`; raise a `Failure` for unusable files."""
        if not self.tls:
            if self.tls_ca or self.tls_client_cert or self.tls_client_key:
                raise Failure(f"{command}: {_FILES} are of no use without --tls: add it", USAGE)
            return None
        if bool(self.tls_client_cert) != bool(self.tls_client_key):
            raise Failure(
                f"{command}: --tls-client-cert and --tls-client-key go together: give both", USAGE
            )
        return context_for(command, self.tls_ca, self.tls_client_cert, self.tls_client_key)

    def unreachable(self, command: str, error: OSError) -> Failure:
        """Return the failure of a connection: code 2 where there is no such host, else 1."""
        text = f"{command}: can't connect to {self}: {problem_of(error)}"
        code = USAGE if isinstance(error, socket.gaierror) else FAILED
        return Failure(self.explain(text, error, _NO_ECHO), code)

    def explain(self, text: str, error: Exception | None, otherwise: str = "") -> str:
        """Return `text` with what the user can look at after such an error, if that is known."""
        advice = self._advice(error) or otherwise
        return f"{text}; {advice}" if advice else text

    def _advice(self, error: Exception | None) -> str:
        if isinstance(error, socket.gaierror):
            return "check the name"
        if isinstance(error, TlsError):
            if str(error).startswith(_NOT_TLS):
                return "the server doesn't speak TLS: leave --tls out"
            return "see --tls-ca" if "certificate verify failed" in str(error) else ""
        if isinstance(error, EchoMismatch) and not error.offset:
            alert = error.got == _ALERT
            return "that is a TLS alert: add --tls" if alert else _NO_ECHO
        if isinstance(error, EchoEnded | EOFError) and not (
            self.tls or getattr(error, "offset", None)
        ):
            return "if it speaks TLS, add --tls"
        return ""


def context_for(
    command: str, ca: Path | None, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return a TLS context of these files; raise a `Failure` of `command` for unusable ones."""
    try:
        return trusting(ca, cert=cert, key=key)
    except OSError as error:
        why = explain(error) if isinstance(error, ssl.SSLError) else problem_of(error)
        raise Failure(f"{command}: can't use {_FILES}: {why}; name PEM files", CONFIG) from error
