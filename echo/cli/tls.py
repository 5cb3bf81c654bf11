"""The TLS flags of the commands that are clients."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from echo.cli.failure import CONFIG, USAGE, Failure, reason
from echo.client.tls import trusting
from echo.tls import explain

_FILES = "--tls-ca, --tls-client-cert or --tls-client-key"


@dataclass(frozen=True, kw_only=True)
class ClientTls:
    """Whether to speak TLS, and whom to trust."""

    tls: Annotated[bool, Parameter(negative="")] = False
    """Speak TLS; the server's certificate has to be valid for the name or address given."""

    tls_ca: Path | None = None
    """PEM file of the authorities to trust instead of the system's."""

    tls_client_cert: Path | None = None
    """PEM file of the client's own certificate, where the server asks for one."""

    tls_client_key: Path | None = None
    """PEM file of its key."""

    def context(self, command: str) -> ssl.SSLContext | None:
        """Give what `EchoClient` needs; raise a `Failure` of `command` for what can't be used."""
        if not self.tls:
            if self.tls_ca or self.tls_client_cert or self.tls_client_key:
                raise Failure(f"{command}: {_FILES} are of no use without --tls: add it", USAGE)
            return None
        if bool(self.tls_client_cert) != bool(self.tls_client_key):
            raise Failure(
                f"{command}: --tls-client-cert and --tls-client-key go together: give both", USAGE
            )
        return context_for(command, self.tls_ca, self.tls_client_cert, self.tls_client_key)


def context_for(
    command: str, ca: Path | None, cert: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Make a context of these files; raise a `Failure` of `command` for what can't be used."""
    try:
        return trusting(ca, cert=cert, key=key)
    except OSError as error:
        why = explain(error) if isinstance(error, ssl.SSLError) else reason(error)
        raise Failure(f"{command}: can't use {_FILES}: {why}; name PEM files", CONFIG) from error
