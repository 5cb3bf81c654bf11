"""A model of many clients against a real server: after each step they agree."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)

from echo import EchoClient
from echo.testing import running_server
from tests.conftest import check_events, handler_of
from tests.waiting import seconds, wait_until


class Peer:
    """A client, and what the model knows about its session."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.client = EchoClient(*address, timeout=seconds(10))
        self.client.connect()
        self.port = self.client.sock.getsockname()[1]
        self.sent = 0
        self.unread = b""


class Clients(RuleBasedStateMachine):
    """Connect, send, receive, half-close, reset, close, in any order and any number."""

    loop = "python"
    open_peers = Bundle("open_peers")
    half_closed = Bundle("half_closed")

    def __init__(self) -> None:
        super().__init__()
        self._context = running_server(handler=handler_of(self.loop))
        self.running = self._context.__enter__()
        self.peers: list[Peer] = []
        self.live: dict[int, Peer] = {}
        self.reasons: list[str] = []

    def teardown(self) -> None:
        """Close what is open, then hold the server's log against the vocabulary."""
        for peer in self.peers:
            peer.client.close()
        self._context.__exit__(None, None, None)
        check_events(self.running)

    @rule(target=open_peers)
    def connect(self) -> Peer:
        """Open a session."""
        peer = Peer(self.running.address)
        self.peers.append(peer)
        self.live[peer.port] = peer
        return peer

    @rule(peer=open_peers, data=st.binary(max_size=70_000))
    def send(self, peer: Peer, data: bytes) -> None:
        """Send, reading only what is in the way."""
        peer.client.send(data)
        peer.sent += len(data)
        peer.unread += data

    @rule(peer=st.one_of(open_peers, half_closed), part=st.floats(0, 1))
    def receive(self, peer: Peer, part: float) -> None:
        """Receive a part of what is due, from an open or a half-closed session."""
        count = int(len(peer.unread) * part)

        assert peer.client.receive(count) == peer.unread[:count]

        peer.unread = peer.unread[count:]

    @rule(target=half_closed, peer=consumes(open_peers))
    def half_close(self, peer: Peer) -> Peer:
        """Send the end of the stream; the server ends the session when all is echoed."""
        peer.client.half_close()
        self.expect(peer, "eof")
        return peer

    @rule(peer=consumes(half_closed))
    def finish(self, peer: Peer) -> None:
        """Read to the end: all of the rest, then the server's own end of stream."""
        assert peer.client.finish() == peer.unread

        peer.client.close()

    @rule(peer=consumes(open_peers))
    def reset(self, peer: Peer) -> None:
        """Reset a session, whatever is under way."""
        self.settle(peer)
        peer.client.reset()
        self.expect(peer, "reset")

    @rule(peer=consumes(open_peers))
    def close(self, peer: Peer) -> None:
        """Close a session whose echo has come back whole."""
        assert peer.client.receive(len(peer.unread)) == peer.unread
        peer.client.close()
        self.expect(peer, "eof")

    def settle(self, peer: Peer) -> None:
        """Wait until the server has sent all: a reset then finds it waiting for input."""
        wait_until(lambda: self.counts().get(peer.port) == (peer.sent, peer.sent))

    def expect(self, peer: Peer, reason: str) -> None:
        """Expect a session's one closing line."""
        del self.live[peer.port]
        self.reasons.append(reason)

    def counts(self) -> dict[int, tuple[int, int]]:
        """Return received and sent bytes of the server's live sessions, by the peer's port."""
        return {
            session.peer_port: (session.received_bytes, session.sent_bytes)
            for session in self.running.server.sessions.live()
        }

    @invariant()
    def agree(self) -> None:
        """Hold the server's sessions, their bytes and its closing lines against the model."""
        model = {port: (peer.sent, peer.sent) for port, peer in self.live.items()}
        wait_until(lambda: self.counts() == model, what=f"{self.counts()} is not {model}")

        closed = [line["reason"] for line in self.running.log.named("session.closed")]

        assert sorted(closed) == sorted(self.reasons)
        assert self.running.server.slots.active == len(self.live)


class CompiledClients(Clients):
    """The same against the compiled loop."""

    loop = "compiled"


TestClients = Clients.TestCase
TestCompiledClients = CompiledClients.TestCase
for case in (TestClients, TestCompiledClients):
    case.settings = settings(
        max_examples=15,
        stateful_step_count=20,
        # A rule whose bundle is empty counts as filtered, and a session ends only once.
        suppress_health_check=[HealthCheck.filter_too_much],
    )
