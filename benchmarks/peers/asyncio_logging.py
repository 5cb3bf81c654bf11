"""An event loop that logs as the daemon does: asyncio, two JSON lines a session by structlog.

What somebody would write who needs the same lines: structlog as its documentation sets it up for
speed, orjson, a file that is written without a flush for each line.
"""

import asyncio
import itertools
import sys
import time
from pathlib import Path

import orjson
import structlog
from asyncio_protocol import Echo, serve  # type: ignore[import-not-found]

log = structlog.get_logger()
numbers = itertools.count(1)


class LoggedEcho(Echo):  # type: ignore[misc]
    """Echo as `Echo` does; log who came, how a session ended, how long it was, how many bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Write the session's first line."""
        super().connection_made(transport)
        self.session_id = next(numbers)
        self.peer_ip, self.peer_port = transport.get_extra_info("peername")[:2]
        self.began = time.monotonic()
        self.count = 0
        log.info(
            "session.accepted",
            session_id=self.session_id,
            peer_ip=self.peer_ip,
            peer_port=self.peer_port,
        )

    def data_received(self, data: bytes) -> None:
        """Count what comes, and echo it."""
        self.count += len(data)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Write the session's last line."""
        log.info(
            "session.closed",
            session_id=self.session_id,
            peer_ip=self.peer_ip,
            peer_port=self.peer_port,
            reason="reset" if exc else "eof",
            received_bytes=self.count,
            sent_bytes=self.count,
            duration_s=round(time.monotonic() - self.began, 6),
        )


def configure_log(path: str) -> None:
    """Write structlog's events to a file, as JSON."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.BytesLoggerFactory(file=Path(path).open("wb")),  # noqa: SIM115 - it lives as long as the process,
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    configure_log(sys.argv[2])
    asyncio.run(serve(int(sys.argv[1]), LoggedEcho))
