"""A load's session on its own: what it does when its connection does not do as it should."""

from __future__ import annotations

import selectors
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from echo.client.plan import NS, Schedule
from echo.client.sessions import READ, WRITE, FailureKind, LoadSession, LoadState
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


class Owner:
    """Keeps what a session tells."""

    def __init__(self) -> None:
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.host = "127.0.0.1"
        self.tls = None
        self.timeout_ns = 10 * NS
        self.told: list[object] = []

    def is_free(self, session: LoadSession) -> None:
        """Note that a session is free."""
        self.told.append(session)

    def has_finished(self, session: LoadSession) -> None:
        """Note that an exchange is over."""
        self.told.append(session.size)

    def has_ended(self, session: LoadSession) -> None:
        """Note that a session is over."""
        self.told.append(session.state)

    def has_failed(self, session: LoadSession, kind: FailureKind, error: Exception) -> None:
        """Note that a session has failed."""
        self.told.append((session.state, kind, type(error)))


@pytest.fixture
def owner() -> Iterator[Owner]:
    """Return an owner whose selector is closed in the end."""
    owner = Owner()
    yield owner
    owner.selector.close()


@pytest.fixture
def pair(owner: Owner) -> Iterator[tuple[LoadSession, socket.socket]]:
    """Return a session that is connected, and the other end of its connection."""
    session = LoadSession(1, owner)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        session.adopt(socket.create_connection(listener.getsockname()))
        peer, _ = listener.accept()
    with peer:
        session.ready(WRITE)
        yield session, peer
        session.close()


def reset(peer: socket.socket, owner: Owner) -> None:
    """Reset a connection, and wait until that has arrived."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    assert owner.selector.select(seconds(10))


def test_an_exchange_from_its_beginning_to_its_end(
    owner: Owner, pair: tuple[LoadSession, socket.socket]
) -> None:
    """Free, busy until every byte is back, ending until the peer has ended, too."""
    session, peer = pair
    states = [session.state]
    session.begin(b"hello")
    states.append(session.state)
    peer.sendall(peer.recv(100))
    wait_until(lambda: owner.selector.select(0))
    session.ready(READ)
    session.end()
    states.append(session.state)
    peer.close()
    wait_until(lambda: owner.selector.select(0))
    session.ready(READ)

    assert states == [LoadState.FREE, LoadState.BUSY, LoadState.ENDING]
    assert owner.told == [session, 5, LoadState.CLOSED]
    assert repr(session) == "<LoadSession 1 CLOSED>"


def test_readiness_that_goes_away_changes_nothing(
    owner: Owner, pair: tuple[LoadSession, socket.socket]
) -> None:
    """Nothing to read and no room to write, though the selector said so."""
    session, _ = pair
    session.begin(bytes(64 * 1024 * 1024))
    session.ready(READ)
    for _ in range(50):  # until the buffers are full, and then some more
        session.ready(WRITE)

    assert session.state is LoadState.BUSY
    assert owner.told == [session]


def test_a_reset_before_the_exchange_is_a_refusal(
    owner: Owner, pair: tuple[LoadSession, socket.socket]
) -> None:
    """Sending into a connection that is reset fails at once."""
    session, peer = pair
    reset(peer, owner)
    session.begin(b"hello")

    assert owner.told[1:] == [(LoadState.CLOSED, FailureKind.REFUSED, ConnectionResetError)]


def test_a_reset_before_the_end_is_counted(
    owner: Owner, pair: tuple[LoadSession, socket.socket]
) -> None:
    """A connection that is gone can't be half-closed."""
    session, peer = pair
    reset(peer, owner)
    session.end()

    assert owner.told[1:] == [(LoadState.CLOSED, FailureKind.REFUSED, ConnectionResetError)]


def test_an_address_that_can_t_be_had_fails_at_once(owner: Owner) -> None:
    """A connection that the system refuses at once is a failure at once."""
    session = LoadSession(1, owner)
    session.connect(socket.AF_INET, ("255.255.255.255", 9))

    assert session.closed
    ((_, kind, error),) = owner.told  # type: ignore[misc]
    assert kind in (FailureKind.OTHER, FailureKind.REFUSED)
    assert issubclass(error, OSError)


def test_a_schedule_shows_how_far_it_is() -> None:
    """The exchanges taken and those left add up."""
    schedule = Schedule(10, 0, NS)
    schedule.take(4)

    assert repr(schedule) == "<Schedule 4 taken, 6 left>"
