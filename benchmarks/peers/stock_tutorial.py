"""The tutorial that one finds: socketserver's stock classes, structlog over stdlib logging.

Two JSON lines a session in a file. Where a tutorial would show one more fault rather than a
figure, this one is spared it: the listen queue is 1,024 rather than 5 (a burst would measure how
long a client waits before it tries again), and Nagle's algorithm is off.
"""

import logging
import socketserver
import sys
import time

import structlog

log = structlog.get_logger()


class Handler(socketserver.StreamRequestHandler):
    """Echo what comes, as it comes, until the client closes."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Run one session."""
        peer_ip, peer_port = self.client_address
        began = time.monotonic()
        count = 0
        log.info("session.accepted", peer_ip=peer_ip, peer_port=peer_port)
        while data := self.request.recv(4096):
            self.request.sendall(data)
            count += len(data)
        duration = time.monotonic() - began
        log.info("session.closed", peer_ip=peer_ip, received_bytes=count, duration_s=duration)


class Server(socketserver.ThreadingTCPServer):
    """A thread for each client."""

    allow_reuse_address = True
    request_queue_size = 1024


def configure_log(path: str) -> None:
    """Send structlog's events through stdlib logging to a file, as JSON."""
    logging.basicConfig(filename=path, format="%(message)s", level=logging.INFO)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    configure_log(sys.argv[2])
    with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
