"""The first promise: the echo is a prefix of what was sent; after a clean end it is all of it."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, suppress
from itertools import pairwise
from time import sleep
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from echo import EchoClient, Limits
from echo.client.errors import EchoError
from echo.testing import running_server
from tests.conftest import check_events, handler_of
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.testing import RunningServer
    from tests.conftest import Serve

BUFFER = 1024
LOOPBACK_SEGMENT = 65_483
SIZES = st.one_of(
    st.sampled_from([0, 1, 2, BUFFER - 1, BUFFER, BUFFER + 1, 4096, 4097]),
    st.sampled_from([LOOPBACK_SEGMENT - 1, LOOPBACK_SEGMENT, LOOPBACK_SEGMENT + 1]),
    st.integers(0, 3 * BUFFER),
    st.integers(0, 3 * 1024 * 1024),
)


@pytest.fixture
def server(serve: Serve) -> Iterator[RunningServer]:
    """Run a server with each of the two loops."""
    with serve() as running:
        yield running
    check_events(running)


@pytest.fixture(scope="module", params=["python", "compiled"])
def shared(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """Run one server for all examples, with a buffer that is small enough to be in the way."""
    limits = Limits(buffer_size=BUFFER, max_sessions_per_peer=10_000)
    with running_server(limits=limits, handler=handler_of(request.param)) as server:
        yield server
    check_events(server)


def payload(size: int, seed: int) -> bytes:
    """Return bytes in which a lost, repeated or swapped piece shows."""
    block = bytes((seed + i * 7 + i // 251) % 256 for i in range(min(size, 64_007)))
    return (block * (size // max(len(block), 1) + 1))[:size]


def pieces(data: bytes, cuts: list[float]) -> list[bytes]:
    """Split a payload at fractions of its length; pieces may be empty."""
    marks = [0, *sorted(int(cut * len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(marks)]


@settings(max_examples=60)
@given(
    size=SIZES,
    seed=st.integers(0, 255),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    pause=st.sampled_from([0, 0, 0, 0.001, 0.02]),
    half_close=st.booleans(),
)
@example(size=0, seed=0, cuts=[], pause=0, half_close=True)
@example(size=8 * 1024 * 1024, seed=1, cuts=[], pause=0, half_close=True)
def test_any_payload_in_any_pieces_comes_back(
    shared: RunningServer, size: int, seed: int, cuts: list[float], pause: float, half_close: bool
) -> None:
    """Whatever is sent, in whatever pieces, at whatever pace, comes back exactly."""
    data = payload(size, seed)
    waits = threading.Event()
    with EchoClient(*shared.address, timeout=seconds(10)) as client:
        for piece in pieces(data, cuts):
            client.send(piece)
            waits.wait(pause)

        got = client.finish() if half_close else client.receive(size)

    assert got == data


@settings(max_examples=15)
@given(payloads=st.lists(st.binary(max_size=5000), min_size=2, max_size=12), data=st.data())
def test_sessions_at_once_don_t_mix(
    shared: RunningServer, payloads: list[bytes], data: st.DataObject
) -> None:
    """Several sessions, each interleaved with the others, each get their own bytes back."""
    order = data.draw(st.permutations(range(len(payloads))))
    with ExitStack() as stack:
        clients = [
            stack.enter_context(EchoClient(*shared.address, timeout=seconds(10))) for _ in payloads
        ]
        for client, sent in zip(clients, payloads, strict=True):
            client.send(sent)

        echoes = {i: clients[i].finish() for i in order}

    assert [echoes[i] for i in range(len(payloads))] == payloads


@pytest.mark.parametrize("buffer_size", [1, 2, 4096, 32 * 1024])
def test_every_buffer_size_echoes(serve: Serve, buffer_size: int) -> None:
    """The bound of a read changes the number of reads, never the bytes."""
    data = payload(20_000, 3)
    with (
        serve(limits=Limits(buffer_size=buffer_size)) as server,
        EchoClient(*server.address) as client,
    ):
        echo = client.echo(data)

    assert echo == data


def test_a_client_that_takes_its_time(server: RunningServer) -> None:
    """Quick ones and slow ones in turn: however the loop waits, each gets its echo."""
    with EchoClient(*server.address) as client:
        for turn in range(60):
            sleep(0.07 if turn % 20 == 19 else 0)
            data = payload(turn, turn)

            assert client.echo(data) == data


def test_a_talk_ends_with_the_drain(serve: Serve) -> None:
    """A client that never pauses doesn't hold up a drain."""
    with serve() as server, EchoClient(*server.address) as client:
        for _ in range(100):
            client.echo(b"again")
        draining = threading.Thread(target=server.server.drain, args=[seconds(20)])
        draining.start()
        with suppress(EchoError):
            while client.echo(b"again"):
                pass
        draining.join()

    assert server.log.named("session.closed")[0]["reason"] == "drained"


def test_a_half_close_still_gets_all(server: RunningServer) -> None:
    """A peer that sends all, then its end of stream, and only then reads gets every byte."""
    data = payload(100_000, 5)
    with socket.create_connection(server.address) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        got = b"".join(iter(lambda: sock.recv(65536), b""))

    assert got == data


@pytest.mark.parametrize(
    ("host", "peers"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("::", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1", "::1"]),
    ],
)
def test_each_kind_of_address_serves(host: str, peers: list[str]) -> None:
    """IPv4, IPv6, a name, and `::`, which takes IPv4 connections as well."""
    reach = "127.0.0.1" if host == "::" else host
    with running_server(host=host) as server, EchoClient(reach, server.address[1]) as client:
        echo = client.echo(b"over here")
        accepted = server.log.wait_for("session.accepted")[0]

    assert echo == b"over here"
    assert accepted["peer_ip"] in peers


def test_an_urgent_byte_is_a_byte_of_the_stream(server: RunningServer) -> None:
    """What is sent out of band comes back in its place."""
    with socket.create_connection(server.address) as sock:
        sock.sendall(b"ab")
        sock.send(b"C", socket.MSG_OOB)
        sock.sendall(b"de")
        sock.shutdown(socket.SHUT_WR)
        got = b"".join(iter(lambda: sock.recv(65536), b""))

    assert got == b"abCde"


def test_one_listening_socket_plus_one_for_each_client(server: RunningServer) -> None:
    """Each session has a socket of its own: descriptors differ, and the listener's stays."""
    listener = server.server.fileno()
    with EchoClient(*server.address) as first, EchoClient(*server.address) as second:
        first.echo(b"1")
        second.echo(b"2")
        accepted = server.log.wait_for("session.accepted", 2)

    assert len({listener, *(line["fd"] for line in accepted)}) == 3
    assert sorted(line["active_sessions"] for line in accepted) == [1, 2]  # each by its own thread
    assert {line["peer_ip"] for line in accepted} == {"127.0.0.1"}
