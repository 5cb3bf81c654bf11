"""Connecting: a name with several addresses, addresses in every form, ports that can't be."""

from __future__ import annotations

import errno
import socket
import struct
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from echo import EchoClient, EchoHandler, EchoServer
from echo.client.connecting import ATTEMPT_DELAY, open_connection
from echo.client.load import Load
from echo.client.plan import LoadPlan
from echo.testing import EventList, running_server
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


@contextmanager
def silent(host: str) -> Iterator[int]:
    """Listen with a full backlog: the system drops further connections."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((host, 0), family=family(host)))
        listener.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket(family(host)))
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        wait_until(lambda: backlog_used(listener), what="the backlog is full")
        yield listener.getsockname()[1]


@contextmanager
def refusing(host: str) -> Iterator[int]:
    """Keep a port at which nobody listens, and nobody else can."""
    with socket.socket(family(host)) as closed:
        closed.bind((host, 0))
        yield closed.getsockname()[1]


def backlog_used(listener: socket.socket) -> int:
    """Count the connections that wait to be accepted."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 28)
    return int(struct.unpack_from("=I", info, 24)[0])  # tcpi_unacked


def family(host: str) -> socket.AddressFamily:
    """Return an address's family."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make names of these addresses, in this order, as a name server of one's own would.

    An address may have a port of its own: one that is free at one address may be somebody's at
    another.
    """
    resolve = socket.getaddrinfo

    def make(*hosts: str | tuple[str, int]) -> str:
        def answers(host: str, port: int, *rest: Any, **options: Any) -> list[Any]:
            names = hosts if host == "name.example" else (host,)
            pairs = [(one, port) if isinstance(one, str) else one for one in names]
            return [each for pair in pairs for each in resolve(*pair, *rest, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", answers)
        return "name.example"

    return make


def test_a_silent_first_address_costs_a_moment(name: Callable[..., str]) -> None:
    """The second is tried a quarter of a second later, and its time is what connecting took."""
    with running_server() as server, silent("::1") as port:
        host = name(("::1", port), "127.0.0.1")
        client = EchoClient(host, server.port, timeout=seconds(20))
        began = time.perf_counter()
        took = client.connect()
        whole = time.perf_counter() - began
        with client:
            echo, peer = client.echo(b"hello"), client.sock.getpeername()[0]

    assert (echo, peer) == (b"hello", "127.0.0.1")
    assert 0 < took <= whole - ATTEMPT_DELAY


def test_a_refusing_first_address_costs_nothing(name: Callable[..., str]) -> None:
    """The second is tried as soon as the first has failed."""
    with running_server() as server, refusing("::1") as port:
        host = name(("::1", port), "127.0.0.1")
        with EchoClient(host, server.port, timeout=seconds(20)) as client:
            echo = client.echo(b"hello")

    assert echo == b"hello"


def test_a_load_goes_where_the_first_connection_went(name: Callable[..., str]) -> None:
    """All its sessions use the address that answers."""
    with running_server() as server, silent("::1") as port:
        host = name(("::1", port), "127.0.0.1")
        load = Load(host, server.port, LoadPlan(sessions=3, duration=0.1))
        load.run()

    assert load.errors == 0
    assert load.exchanges > 0


def test_an_address_that_stays_silent_is_a_time_out() -> None:
    """All of it together takes the time-out, not longer."""
    with silent("127.0.0.1") as port, pytest.raises(TimeoutError, match="timed out"):
        open_connection(("127.0.0.1", port), 0.3)


def test_a_refusal_beside_a_silent_address_waits_for_that(name: Callable[..., str]) -> None:
    """An address that has not answered yet may still do so."""
    with silent("127.0.0.1") as port, refusing("::1") as closed:
        host = name("127.0.0.1", ("::1", closed))
        with pytest.raises(TimeoutError, match="timed out"):
            open_connection((host, port), 0.5)


def test_all_addresses_refuse(name: Callable[..., str]) -> None:
    """The error is the last one's."""
    with refusing("::1") as one, refusing("127.0.0.1") as other:
        host = name(("::1", one), "127.0.0.1")
        with pytest.raises(ConnectionRefusedError):
            open_connection((host, other), seconds(10))


def test_an_address_without_a_route_is_an_error() -> None:
    """What the system refuses at once is raised."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - whichever it is
        open_connection(("255.255.255.255", 9), seconds(10))

    assert caught.value.errno in (errno.EACCES, errno.ENETUNREACH, errno.EPERM)


@pytest.mark.parametrize("port", [-1, 65536, 70000])
def test_a_port_that_can_t_be_is_no_other_port(port: int) -> None:
    """70000 modulo 65,536 would be a port that somebody else has."""
    with pytest.raises(OverflowError, match="port must be from 0 to 65535"):
        EchoClient("127.0.0.1", port).connect()
    with pytest.raises(OverflowError, match="port must be from 0 to 65535"):
        EchoServer(("127.0.0.1", port), EchoHandler, log=EventList())


def test_no_host_is_every_interface() -> None:
    """As in the standard library."""
    with EchoServer(("", 0), EchoHandler, log=EventList()) as server:
        host = server.server_address[0]

    assert host == "0.0.0.0"


def test_an_ipv6_server_s_address_goes_back_in() -> None:
    """Four fields, scope included, into a client and into another server."""
    with running_server(host="::1") as server:
        address = server.server.server_address
        with EchoClient(*address, timeout=seconds(10)) as client:  # type: ignore[arg-type]
            echo = client.echo(b"hello")
    with EchoServer(address, EchoHandler, log=EventList()) as again:  # type: ignore[arg-type]
        same = again.server_address

    assert len(address) == 4
    assert echo == b"hello"
    assert same == address


def test_a_link_local_address_keeps_its_scope() -> None:
    """The interface is a part of the address: without it there is no connection."""
    address = _link_local()
    with EchoServer(address, EchoHandler, log=EventList()) as server:  # type: ignore[arg-type]
        bound = server.socket.getsockname()
        with socket.socket(socket.AF_INET6) as reached:
            reached.connect(bound)
        sock, _ = open_connection(bound, seconds(10))
        with sock:
            peer = sock.getpeername()

    assert bound[3] == address[3] == peer[3] != 0


def _link_local() -> tuple[str, int, int, int]:
    for number, _ in socket.if_nameindex():
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("ff02::1", 9, 0, number))
                host, *_ = probe.getsockname()
            except OSError:
                continue
        if str(host).startswith("fe80"):
            return str(host).partition("%")[0], 0, 0, number
    pytest.skip("no interface has a link-local address here")


@pytest.mark.parametrize(
    ("hosts", "served"),
    [
        (("198.51.100.1", "127.0.0.1"), "127.0.0.1"),
        (("::1", "127.0.0.1"), "127.0.0.1"),
        (("2001:db8::1", "::1"), "::1"),
    ],
)
def test_a_name_is_served_where_this_machine_has_it(
    hosts: tuple[str, str], served: str, name: Callable[..., str]
) -> None:
    """Of a name's addresses the first of this machine; of both loopbacks the one for all."""
    with EchoServer((name(*hosts), 0), EchoHandler, log=EventList()) as server:
        host = server.server_address[0]

    assert host == served


def test_a_name_of_other_machines_can_t_be_served(name: Callable[..., str]) -> None:
    """Then the system's own error says so."""
    with pytest.raises(OSError, match="Cannot assign requested address"):
        EchoServer((name("198.51.100.1", "203.0.113.1"), 0), EchoHandler, log=EventList())
