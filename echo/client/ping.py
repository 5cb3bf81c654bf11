"""Round-trip times: sends one small payload after another, and verifies and times each echo."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echo.client.client import EchoClient
from echo.client.errors import EchoError, EchoMismatch
from echo.client.latency import NS_PER_MS, Latencies
from echo.errors import problem_of

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of one ping: its time in milliseconds, or the error where it was lost."""

    number: int
    ms: float | None = None
    error: Exception | None = None

    @property
    def problem(self) -> str:
        """The error in words, empty for a reply."""
        return "" if self.error is None else problem_of(self.error)


class Pinger:
    """Pings one server, over one connection, or with `reconnect` over a new one each time.

    `size` is in bytes; `timeout` in seconds, for connecting and for each reply. With `tls` the
    connection is encrypted, and connecting includes the handshake. After a lost reply the next
    ping uses a new connection. `latencies` and `connects` are the times so far, `mismatches`
    counts the replies that were not what was sent. Use it in a `with` block, or call `close`.

    >>> from echo.testing import running_server
    >>> with running_server() as server, Pinger(*server.address, size=64) as pinger:
    ...     replies = [pinger.ping() for _ in range(3)]
    >>> [reply.number for reply in replies], pinger.received, pinger.lost
    ([1, 2, 3], 3, 0)
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        size: int = 64,
        timeout: float = 10.0,
        reconnect: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.size = size
        self.timeout = timeout
        self.reconnect = reconnect
        self.tls = tls
        self.sent = 0
        self.mismatches = 0
        self.latencies = Latencies()
        self.connects = Latencies()
        self._client: EchoClient | None = None

    def __repr__(self) -> str:
        return f"<Pinger {self.host}:{self.port} {self.received}/{self.sent}>"

    def __enter__(self) -> Pinger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def received(self) -> int:
        """Number of replies that were complete and right."""
        return self.latencies.count

    @property
    def lost(self) -> int:
        """Number of pings without such a reply."""
        return self.sent - self.received

    def ping(self) -> Reply:
        """Send one ping, wait for its reply, and return it.

        Raises `socket.gaierror` where there is no such host; once there has been a connection,
        a name that can't be resolved counts as a loss.
        """
        self.sent += 1
        try:
            client = self._connected()
            took = client.round_trip(os.urandom(self.size), self.timeout)
            client.check_silence()
        except (EchoError, OSError) as error:
            self.close()
            if isinstance(error, socket.gaierror) and not self.connects.count:
                raise
            self.mismatches += isinstance(error, EchoMismatch)
            return Reply(self.sent, error=error)
        if self.reconnect:
            self.close()
        self.latencies.add(took)
        return Reply(self.sent, took / NS_PER_MS)

    def _connected(self) -> EchoClient:
        if self._client is None:
            self._client = EchoClient(self.host, self.port, timeout=self.timeout, tls=self.tls)
            self.connects.add(round(self._client.connect() * 1e9))
        return self._client

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def as_dict(self) -> dict[str, int | float | None]:
        """Return the figures, by the names that `--json` shows; None where nothing came back."""
        return {
            "sent": self.sent,
            "received": self.received,
            "lost": self.lost,
            "min_ms": self.latencies.min_ms,
            "avg_ms": self.latencies.avg_ms,
            "p50_ms": self.latencies.percentile(50),
            "p95_ms": self.latencies.percentile(95),
            "p99_ms": self.latencies.percentile(99),
            "max_ms": self.latencies.max_ms,
            "stddev_ms": self.latencies.stddev_ms,
            "connect_ms": self.connects.avg_ms,
        }
