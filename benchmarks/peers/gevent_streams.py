"""Greenlets: gevent's StreamServer, one greenlet for each client. No log."""

import socket
import sys

from gevent.server import StreamServer  # type: ignore[import-untyped]

BUFFER_SIZE = 32 * 1024


def echo(conn: socket.socket, _address: tuple[str, int]) -> None:
    """Echo what comes, as it comes, until the client closes."""
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := conn.recv(BUFFER_SIZE):
        conn.sendall(data)


if __name__ == "__main__":
    server = StreamServer(("127.0.0.1", int(sys.argv[1])), echo, backlog=1024)
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()
