"""A peer that is gone without a word is found by keepalive."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from echo import EchoClient
from echo.server.sockets import KEEPALIVE
from tests.waiting import seconds

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from echo.testing import RunningServer
    from tests.faults.peers import Start

# Of the block that is for tests of networks.
HERE, THERE = (f"198.18.{os.getpid() % 256}.{host}" for host in (1, 2))
PEER = """
import socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
sock.sendall(b"hello")
assert sock.recv(5, socket.MSG_WAITALL) == b"hello"
print("echoed", flush=True)
sys.stdin.read()
"""


def options(sock: socket.socket) -> tuple[int, ...]:
    """Read a socket's keepalive options back."""
    import socket

    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    return tuple(sock.getsockopt(socket.IPPROTO_TCP, name) for name in names)


def test_each_session_looks_for_its_peer(server: RunningServer) -> None:
    """The kernel asks after 60 s of silence, then every 10 s, and gives up after six times."""
    import socket

    with EchoClient(*server.address, timeout=seconds(60)) as client:
        client.echo(b"hello")
        (session,) = server.server.sessions.live()
        is_on = session.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        found = options(session.sock)

    assert is_on == 1
    assert found == KEEPALIVE == (60, 10, 6)


def ip(*arguments: str) -> None:
    """Set a network up."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=seconds(60))


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Make a network namespace with a cable to it, where the peer lives."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and ip(8)")
    name = f"echo{os.getpid()}"
    with ExitStack() as undo:
        try:
            ip("netns", "add", name)
            undo.callback(ip, "netns", "delete", name)
            ip("link", "add", name, "type", "veth", "peer", "name", "cable", "netns", name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr!r}")
        # The namespace itself lives on for as long as the peer's kernel tries to reach us.
        undo.callback(ip, "link", "delete", name)
        ip("address", "add", f"{HERE}/30", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "address", "add", f"{THERE}/30", "dev", "cable")
        ip("-n", name, "link", "set", "cable", "up")
        yield name


@pytest.mark.long
def test_a_cut_cable_is_found(daemon: Start, elsewhere: str) -> None:
    """The link goes down under an idle session: it ends, for no other reason than that."""
    process = daemon("--host", HERE, "--idle-timeout", "0", fault="keepalive:1/1/2")
    peer = subprocess.Popen(
        ["ip", "netns", "exec", elsewhere, sys.executable, "-c", PEER, HERE, str(process.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert peer.stdout is not None
    echoed = peer.stdout.readline()
    ip("-n", elsewhere, "link", "set", "cable", "down")
    (closed,) = process.wait_for("session.closed")
    peer.communicate()

    assert echoed == b"echoed\n"
    assert (closed["peer_ip"], closed["reason"]) == (THERE, "reset")
    assert closed["received_bytes"] == closed["sent_bytes"] == 5
