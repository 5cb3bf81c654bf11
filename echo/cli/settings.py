"""The settings of `echod serve`: flags, environment and file all come from here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from echo.cli.failure import CONFIG, USAGE, Failure
from echo.cli.networks import network
from echo.limits import LOG_FILE_BYTES, LOG_FILES_KEPT
from echo.server.proxy import Proxies
from echo.server.tls import BadCertificate, TlsConfig

# The options that most people look for: the help shows them first, with those of every command.
COMMON = Parameter(group=Group("Options", sort_key=0))

Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]


@dataclass(frozen=True, kw_only=True)
class Listen:
    """Where to listen, and how the daemon uses its CPUs."""

    # None where it is not given: a socket that is inherited then serves.
    host: Annotated[str | None, COMMON, Parameter(show_default="127.0.0.1")] = None
    """Address or name to listen on: 0.0.0.0 for every IPv4 interface, :: for IPv6 and IPv4."""

    port: Annotated[
        int | None,
        COMMON,
        Parameter(alias="-p", validator=Number(gte=0, lte=65535), show_default="9000"),
    ] = None
    """TCP port; 0 picks a free one, which is shown at the start."""

    reuse_port: Annotated[bool, Parameter(negative="")] = False
    """Share the port with other daemons that do the same; the kernel spreads the clients."""

    cpu: str = "auto"
    """CPU to run on: its number, none, or auto (one CPU; any on free-threaded Python or with
    --reuse-port)."""

    loop: Literal["auto", "compiled", "python"] = "auto"
    """Echo loop: compiled (where a C compiler was at the installation) or python; TLS is always
    python."""

    @property
    def address(self) -> tuple[str, int]:
        """Where to listen, if no socket is inherited."""
        return self.host or "127.0.0.1", 9000 if self.port is None else self.port

    @property
    def processor(self) -> str:
        """Where to stay, as `tune` takes it."""
        return "none" if self.reuse_port and self.cpu == "auto" else self.cpu

    @property
    def given(self) -> bool:
        """Whether the user said where or how to listen."""
        return self.host is not None or self.port is not None or self.reuse_port


@dataclass(frozen=True, kw_only=True)
class Logging:
    """What to log, and where to."""

    log_file: Annotated[
        Path | None,
        COMMON,
        Parameter(allow_leading_hyphen=True, show_default="logs/echo.jsonl"),
    ] = None
    """JSON log; - is standard output. Under systemd the default is in its LogsDirectory=."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], COMMON] = "info"
    """Lowest level that is logged; debug shows the beginning of each payload."""

    log_max_size: Annotated[int, Parameter(validator=Number(gte=0))] = LOG_FILE_BYTES
    """Size at which the log is rotated; 0 is never, for logrotate (HUP reopens the file)."""

    log_keep: Annotated[int, Parameter(validator=Number(gte=0, lte=1000))] = LOG_FILES_KEPT
    """Rotated log files to keep."""

    @property
    def target(self) -> str:
        """The log's path, or - for standard output."""
        folder = os.environ.get("LOGS_DIRECTORY", "").partition(":")[0] or "logs"
        return str(self.log_file or Path(folder) / "echo.jsonl")


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """Whether to speak TLS."""

    tls_cert: Annotated[Path | None, COMMON] = None
    """PEM file of the server's certificate chain; HUP reads it again."""

    tls_key: Annotated[Path | None, COMMON] = None
    """PEM file of the certificate's key, without a passphrase."""

    tls_client_ca: Path | None = None
    """PEM file of the authorities from which each client needs a certificate."""

    def certificates(self) -> TlsConfig | None:
        """Return the certificates to serve with; None without TLS."""
        if self.tls_cert is None or self.tls_key is None:
            if self.tls_cert or self.tls_key or self.tls_client_ca:
                raise Failure("serve: TLS needs both --tls-cert and --tls-key: give both", USAGE)
            return None
        try:
            return TlsConfig(self.tls_cert, self.tls_key, self.tls_client_ca)
        except BadCertificate as error:
            raise Failure(
                f"serve: can't use --tls-cert, --tls-key or --tls-client-ca: {error}; "
                "give PEM files that fit together and are in date, the key without a passphrase",
                CONFIG,
            ) from error


@dataclass(frozen=True, kw_only=True)
class Proxying:
    """Whether a load balancer reports the client addresses."""

    proxy_protocol: Annotated[bool, Parameter(negative="")] = False
    """Expect a PROXY header, version 1 or 2, on each connection; needs --proxy-from."""

    proxy_from: Annotated[tuple[str, ...], Parameter(negative="", metavar="NETWORK")] = ()
    """Address or network of a trusted proxy, such as 10.0.0.0/8; may be repeated. Connections
    from elsewhere are refused."""

    def proxies(self) -> Proxies | None:
        """Return the trusted proxies; None where no header is expected."""
        if self.proxy_protocol and not self.proxy_from:
            raise Failure(
                "serve: --proxy-protocol trusts no proxy by itself: name the proxy's address or "
                "network, as in --proxy-from 10.0.0.0/8",
                USAGE,
            )
        if self.proxy_from and not self.proxy_protocol:
            raise Failure(
                "serve: --proxy-from is of no use without --proxy-protocol: add it", USAGE
            )
        try:
            return Proxies(map(network, self.proxy_from)) if self.proxy_from else None
        except ValueError as error:
            raise Failure(f"serve: --proxy-from takes networks: {error}", USAGE) from error


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """Whether to serve the live page, /sessions, /metrics and /healthz over HTTP."""

    status_port: Annotated[Port | None, COMMON] = None
    """TCP port of the live page, /sessions, /metrics and /healthz; 0 picks a free one. Without
    it there is none of them."""

    status_host: str = "127.0.0.1"
    """Address or name to serve these pages on."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Where to serve them, if at all."""
        return None if self.status_port is None else (self.status_host, self.status_port)
