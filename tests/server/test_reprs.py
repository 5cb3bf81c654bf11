"""What the server's objects show of themselves, as in a debugger."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from echo import EchoClient
from echo.server.history import History
from echo.server.proxy import Proxies
from echo.server.status import StatusServer
from echo.server.systemd import Notifier
from echo.testing import EventList, running_server

if TYPE_CHECKING:
    from tests.authority import Authority


def test_a_repr_shows_what_an_object_is_and_how_much_it_holds(authority: Authority) -> None:
    """Networks, files, addresses and counts are in the text."""
    with running_server() as running:
        history = History(running.server, step=0)
        history.tick()
        history.tick()
    with StatusServer(("127.0.0.1", 0), {}, log=EventList(), connections=4) as status:
        port = status.server_address[1]
        shown = repr(status)

    assert shown == f"<StatusServer 127.0.0.1:{port} 0/4 connections>"
    assert repr(history) == "<History 0 + 2 points>"
    assert repr(Proxies([ip_network("::1")])) == "<Proxies ::1/128>"
    assert repr(Notifier({})) == "<Notifier '', watchdog inf s>"
    assert "server.pem" in repr(authority.certificates())


def test_a_tls_socket_shows_the_socket_below(authority: Authority) -> None:
    """Its descriptor and addresses are in the text."""
    with running_server(tls=authority.certificates()) as server:
        with EchoClient(*server.address, tls=authority.trusting()) as client:
            client.echo(b"hello")

            assert repr(client.sock).startswith("<TlsSocket <socket.socket fd=")
            assert f"raddr=('127.0.0.1', {server.port})" in repr(client.sock)
