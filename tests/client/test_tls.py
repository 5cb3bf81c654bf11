"""The tools through TLS: the same figures, and a server that isn't trusted is said at once."""

from __future__ import annotations

import json
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from echo import EchoClient, Limits
from echo.cli import main
from echo.client.load import Load
from echo.client.ping import Pinger
from echo.client.plan import LoadPlan
from echo.client.tls import trusting
from echo.testing import RunningServer, running_server
from tests.authority import Authority
from tests.client.test_load import LongLoad
from tests.conftest import check_events
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server(authority: Authority) -> Iterator[RunningServer]:
    """Run a server that speaks TLS, and check its events at the end."""
    with running_server(tls=authority.certificates()) as running:
        yield running
    check_events(running)


def test_pings_go_through_tls(server: RunningServer, authority: Authority) -> None:
    """With one connection and with a new one each time; connecting includes the handshake."""
    for reconnect in (False, True):
        with Pinger(*server.address, reconnect=reconnect, tls=authority.trusting()) as pinger:
            replies = [pinger.ping() for _ in range(3)]

        assert [reply.problem for reply in replies] == ["", "", ""]


def test_half_closing_takes_in_what_is_due_first(
    server: RunningServer, authority: Authority
) -> None:
    """All of the echo is there, however much was under way when the end was sent."""
    data = bytes(range(256)) * 2000
    with EchoClient(*server.address, tls=authority.trusting()) as client:
        client.send(data)

        assert client.finish() == data


def test_a_stranger_s_pings_say_why(server: RunningServer) -> None:
    """Each reply reports a certificate that isn't trusted."""
    with Pinger(*server.address, tls=trusting()) as pinger:
        reply = pinger.ping()

    assert "certificate verify failed" in reply.problem


def test_a_load_goes_through_tls(server: RunningServer, authority: Authority) -> None:
    """Many sessions, new ones all the time, records of every size, and no error."""
    load = LongLoad(
        *server.address,
        enough=lambda load: load.exchanges > 8 * 3,
        tls=authority.trusting(),
        sessions=8,
        duration=0.5,
        size="1-40000",
        churn=3,
    )
    load.run()
    count = len(server.log.named("session.accepted"))
    closed = server.log.wait_for("session.closed", count, seconds(30))

    assert (load.errors, load.first_error) == (0, None)
    assert load.exchanges > 8
    assert {line["tls_protocol"] for line in closed} == {"TLSv1.3"}
    assert {line["reason"] for line in closed} == {"eof"}


def test_a_load_on_a_stranger_fails_at_once(server: RunningServer) -> None:
    """Nothing is loaded where the first connection can't be trusted."""
    with pytest.raises(OSError, match="certificate verify failed"):
        Load(*server.address, LoadPlan(duration=60), tls=trusting()).run()


def test_handshakes_that_fail_later_are_counted(tmp_path: Path) -> None:
    """A server that changes its certificate for one of another authority refuses, from then on."""
    authority, stranger = Authority(tmp_path / "one"), Authority(tmp_path / "two")
    certificates = authority.certificates()
    other = stranger.certificates()
    context = authority.trusting()
    with running_server(tls=certificates) as server:
        load = LongLoad(
            *server.address, enough=lambda load: load.errors > 0, tls=context, sessions=2, churn=1
        )
        has_finished = load.has_finished

        def then_change(session: object) -> None:
            certificates.context = other.context
            has_finished(session)  # type: ignore[arg-type]

        load.has_finished = then_change  # type: ignore[method-assign]
        load.run()

    assert load.exchanges >= 1
    assert load.errors > 0
    assert "certificate verify failed" in str(load.first_error)


def test_connections_that_end_before_their_handshake_are_counted(authority: Authority) -> None:
    """A connection that is closed before its handshake counts as refused."""
    limits = Limits(max_sessions=1)
    with running_server(tls=authority.certificates(), limits=limits) as server:
        load = LongLoad(
            *server.address,
            enough=lambda load: load.errors > 0 and load.exchanges > 0,
            tls=authority.trusting(),
            sessions=4,
        )
        load.run()

    assert load.exchanges > 0
    assert load.errors == load.failures["refused"] > 0


@pytest.mark.parametrize(
    "command",
    [["ping", "--count", "2", "--interval", "0"], ["load", "--duration", "0.2", "--timeout", "30"]],
)
def test_the_commands_take_the_flags(
    server: RunningServer,
    authority: Authority,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
) -> None:
    """`--tls --tls-ca` does it for `ping` and `load`; without the authority they fail."""
    host, port = server.address
    line = [command[0], host, str(port), *command[1:], "--json", "--tls"]
    code = main([*line, "--tls-ca", str(authority.ca)])
    figures = json.loads(capsys.readouterr().out)
    without = main(line)

    assert code == 0
    assert figures.get("received") or figures["received_bytes"]
    assert without == 1
    assert "certificate verify failed" in capsys.readouterr().err


def test_the_caller_s_context_stays_as_it_is(server: RunningServer, authority: Authority) -> None:
    """What else uses it gets the sockets that it made before."""
    context = authority.trusting()
    with EchoClient(*server.address, timeout=seconds(10), tls=context) as client:
        echo = client.echo(b"hello")

    assert echo == b"hello"
    assert context.sslsocket_class is ssl.SSLSocket
    with socket.create_connection(server.address) as sock:
        with context.wrap_socket(sock, server_hostname="127.0.0.1") as plain:
            assert type(plain) is ssl.SSLSocket
