"""`/sessions`: what it reports of the sockets is what the system, the clients and the log say."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from contextlib import ExitStack
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyprotocol.result import ProxyResultIPv4
from proxyprotocol.v2 import ProxyProtocolV2

from echo import EchoClient, Limits
from echo.events import SERVER_STATE, SESSION_CLOSED
from echo.server import EchoHandler, EchoServer
from echo.server.history import COARSE_POINTS, FINE_POINTS, THINNING, History
from echo.server.listener import BACKLOG
from echo.server.live import PIECE, Activity, Live, listening
from echo.server.proxy import Proxies
from echo.server.server import LAST_ENDS
from echo.server.status import STATUS_CONNECTIONS
from echo.testing import EventList, RunningServer, running_server
from tests.authority import Authority
from tests.process import ROOT
from tests.server.test_status import get, status_port, stuck_client
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]
    Snapshot = dict[str, Any]

# What docs/operations.md says of the page: its sections, and what each of the sessions has.
MANUAL = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
TABLE, _, DETAILS = MANUAL.partition("### What /sessions says")[2].partition("\n- ")
SECTIONS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", TABLE, re.MULTILINE))
SESSION, PROXY, TLS = re.split(
    "Behind a proxy|under TLS", DETAILS.partition("Each of `sessions` has")[2], maxsplit=2
)


def names(text: str) -> set[str]:
    """Return the fields that the first paragraph of a text names."""
    return {*re.findall(r"`(\w+)`", text.partition("\n-")[0])}


class QuietLog:
    """A log that has lost three lines."""

    dropped = 3
    problem = None


def snapshot(server: RunningServer) -> Snapshot:
    """Take a fresh snapshot of a server in this process."""
    found: Snapshot = json.loads(Live(server.server, QuietLog()).page("").body)
    return found


def ask(process: DaemonProcess) -> Snapshot:
    """Ask a daemon for its sessions."""
    code, kind, text = get(status_port(process), "/sessions")
    assert (code, kind) == (200, "application/json")
    found: Snapshot = json.loads(text)
    return found


def until(process: DaemonProcess, true_of: Callable[[Snapshot], Any]) -> Snapshot:
    """Ask until something is true of the snapshot, and return that one."""

    def look() -> Snapshot | None:
        found = ask(process)
        return found if true_of(found) else None

    return wait_until(look) or {}


# -- what it says -------------------------------------------------------------------------


def test_the_snapshot_has_its_documented_fields(server: RunningServer) -> None:
    """Fields are those of docs/operations.md; the oldest session and newest end come first."""
    with EchoClient(*server.address) as first, EchoClient(*server.address) as second:
        for client in (first, second):
            client.echo(b"hello")
        for number in (1, 2):
            with EchoClient(*server.address) as gone:
                gone.echo(b"gone")
            closed = server.log.wait_for("session.closed", number)
        wait_until(lambda: server.server.totals()["sent_bytes"] == 18)  # counted once it is sent
        wait_until(lambda: len(server.sessions) == 2)  # one goes after its last line
        found = snapshot(server)
        live = server.sessions

    assert set(found) == {*SECTIONS}
    for section in ("server", "listening", "refused"):
        assert set(found[section]) == names(SECTIONS[section])
    assert found["server"]["limits"] == Limits().as_dict()
    assert {*found["totals"], "uptime_s", "log_payload"} == {*SERVER_STATE.fields}
    assert found["totals"]["active_sessions"] == 2
    assert found["totals"]["log_dropped"] == 3
    assert found["totals"]["received_bytes"] == found["totals"]["sent_bytes"] == 18
    assert [set(row) for row in found["sessions"]] == [names(SESSION)] * 2
    assert [row["session_id"] for row in found["sessions"]] == [x.session_id for x in live]
    assert [row["received_bytes"] for row in found["sessions"]] == [5, 5]
    assert {row["state"] for row in found["sessions"]} <= {Activity.ECHOING, Activity.IDLE}
    assert set(found["ended"][0]) == {*SESSION_CLOSED.fields}
    assert [end["session_id"] for end in found["ended"]] == [
        line["session_id"] for line in reversed(closed)
    ]


def test_what_it_says_of_the_sockets_is_what_the_system_says(daemon: Start) -> None:
    """Descriptors are the process's sockets, ports the clients', threads run, bytes were sent."""
    process = daemon("--status-port", "0")
    with ExitStack() as stack:
        address = ("127.0.0.1", process.port)
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(3)]
        for number, client in enumerate(clients, 1):
            client.sendall(b"x" * number)
            client.recv(number, socket.MSG_WAITALL)
        found = until(process, lambda now: sum(row["sent_bytes"] for row in now["sessions"]) == 6)
        descriptors = [row["fd"] for row in [found["listening"], *found["sessions"]]]
        links = [_target(Path(f"/proc/{process.pid}/fd/{number}")) for number in descriptors]
        threads = [
            Path(f"/proc/{process.pid}/task/{row['thread']}").is_dir() for row in found["sessions"]
        ]
        ports = [client.getsockname()[1] for client in clients]

    assert found["server"]["pid"] == process.pid
    assert found["listening"]["port"] == process.port
    assert len(set(links)) == 4
    assert all(link.startswith("socket:") for link in links)
    assert threads == [True] * 3
    assert len({row["thread"] for row in found["sessions"]}) == 3
    assert [row["peer_port"] for row in found["sessions"]] == ports
    assert [row["sent_bytes"] for row in found["sessions"]] == [1, 2, 3]
    assert found["totals"]["active_sessions"] == 3
    assert until(process, lambda now: len(now["ended"]) == 3)["sessions"] == []


def _target(link: Path) -> str:
    return os.readlink(link)  # noqa: PTH115 - it is no path


def test_the_backlog_is_what_waits() -> None:
    """Connections that nobody accepts are counted; a closed socket can't tell."""
    with EchoServer(("127.0.0.1", 0), EchoHandler, log=EventList()) as server:
        before = listening(server)
        address = server.server_address
        with socket.create_connection(address), socket.create_connection(address):
            wait_until(lambda: listening(server)["backlog_used"] == 2)
    after = listening(server)

    assert before["backlog_used"] == 0
    assert before["backlog"] == min(BACKLOG, int(_somaxconn().read_text()))
    assert (after["fd"], after["backlog_used"], after["backlog"]) == (-1, None, BACKLOG)


def _somaxconn() -> Path:
    return Path("/proc/sys/net/core/somaxconn")


def test_a_session_that_exchanges_is_echoing_and_a_silent_one_idle(server: RunningServer) -> None:
    """The state follows from when the last byte came; a session without a byte is idle."""
    with EchoClient(*server.address) as client:
        wait_until(lambda: [x["state"] for x in snapshot(server)["sessions"]] == [Activity.IDLE])
        during = wait_until(lambda: client.echo(b"x") and busy(server))
        wait_until(lambda: not busy(server))

    assert during["received_bytes"] > 0


def busy(server: RunningServer) -> Snapshot | None:
    """Return the only session, if it is echoing."""
    (row,) = snapshot(server)["sessions"]
    return row if row["state"] == Activity.ECHOING else None


def test_a_session_whose_peer_does_not_read_waits_and_then_drains(daemon: Start) -> None:
    """Bytes that the peer doesn't take are visible in the state, and so is the stop."""
    process = daemon("--status-port", "0", "--drain-timeout", "60", "--socket-buffer", "4096")
    with stuck_client(process) as before:
        process.send(signal.SIGTERM)
        after = until(process, lambda now: now["sessions"][0]["state"] == Activity.DRAINING)
        process.send(signal.SIGTERM)
        process.wait()

    assert before["sessions"][0]["sent_bytes"] < before["sessions"][0]["received_bytes"]
    assert (before["server"]["draining"], after["server"]["draining"]) == (False, True)


def test_a_session_that_lingers_is_draining() -> None:
    """At a limit the session's last second is visible, and still its own."""
    with running_server(limits=Limits(max_bytes=1)) as server:

        def is_seen() -> bool:  # of the first, unless the machine is busy
            with EchoClient(*server.address) as client:
                client.echo(b"x")
                port = client.sock.getsockname()[1]
                while rows := snapshot(server)["sessions"]:
                    if (port, Activity.DRAINING) in [(x["peer_port"], x["state"]) for x in rows]:
                        return True
            return False

        wait_until(is_seen)


def test_a_proxy_is_named_beside_its_peer() -> None:
    """The peer is the one that the header names; until the header is read it is handshaking."""
    client, server_side = (ip_address("203.0.113.7"), 40000), (ip_address("192.0.2.1"), 9000)
    header = ProxyProtocolV2().pack(ProxyResultIPv4(client, server_side))
    proxies = Proxies([ip_network("127.0.0.1")], timeout=seconds(30))
    with running_server(proxies=proxies) as server:
        with socket.create_connection(server.address, seconds(10)) as sock:
            wait_until(
                lambda: [x["state"] for x in snapshot(server)["sessions"]] == ["handshaking"]
            )
            sock.sendall(header + b"x")
            assert sock.recv(1) == b"x"
            (row,) = snapshot(server)["sessions"]
            port = sock.getsockname()[1]

    assert set(row) == names(SESSION + PROXY)
    assert (row["peer_ip"], row["peer_port"]) == ("203.0.113.7", 40000)
    assert (row["proxy_ip"], row["proxy_port"]) == ("127.0.0.1", port)


def test_an_encrypted_session_says_how(tmp_path: Path) -> None:
    """The row has the log's fields once the handshake is over; before that it is handshaking."""
    authority = Authority(tmp_path)
    with running_server(tls=authority.certificates()) as server:
        with socket.create_connection(server.address):
            wait_until(
                lambda: [x["state"] for x in snapshot(server)["sessions"]] == ["handshaking"]
            )
        wait_until(lambda: not snapshot(server)["sessions"])
        with EchoClient(*server.address, tls=authority.trusting()) as client:
            client.echo(b"x")
            (row,) = snapshot(server)["sessions"]

    assert set(row) == names(SESSION + TLS)
    assert row["tls"]["tls_protocol"] == "TLSv1.3"
    assert row["fd"] > 0


# -- its bounds ---------------------------------------------------------------------------


def test_the_last_ends_are_bounded(server: RunningServer) -> None:
    """The snapshot has the last ends, up to a fixed number."""
    for number in range(LAST_ENDS + 5):
        with EchoClient(*server.address) as client:
            client.echo(b"x")
        closed = server.log.wait_for("session.closed", number + 1)
    found = snapshot(server)["ended"]

    assert len(found) == LAST_ENDS
    assert found[0]["session_id"] == closed[-1]["session_id"]


def test_more_than_one_piece_is_one_list(server: RunningServer) -> None:
    """However many there are, each is there once, the oldest first."""
    with ExitStack() as stack:
        for _ in range(PIECE + 10):
            stack.enter_context(EchoClient(*server.address)).echo(b"x")
        found = snapshot(server)["sessions"]
        live = [session.session_id for session in server.sessions]

    assert len(live) == PIECE + 10
    assert [row["session_id"] for row in found] == live


def test_a_session_that_goes_meanwhile_is_left_out(server: RunningServer) -> None:
    """A socket that is closed already has no descriptor to show."""
    with EchoClient(*server.address) as client:
        client.echo(b"x")
        session = server.sessions[0]
        server.server.slots.release(session)
        found = snapshot(server)["sessions"]

    assert found == []


def test_requests_of_one_moment_share_one_snapshot(server: RunningServer) -> None:
    """A second request at once gets the same bytes, a later one gets new ones."""
    live = Live(server.server, QuietLog())

    wait_until(lambda: live.page("").body is live.page("").body)  # the first, as a rule
    first = live.page("").body
    wait_until(lambda: live.page("").body is not first)


def test_a_point_is_noted_at_each_step(server: RunningServer) -> None:
    """Ticks between two steps add nothing."""
    live = Live(server.server, QuietLog())
    live.history = History(server.server, step=3600)
    with EchoClient(*server.address) as client:
        client.echo(b"hello")
        wait_until(lambda: server.server.totals()["sent_bytes"] == 5)  # counted once it is sent
        for _ in range(3):
            live.history.tick()
        (point,) = json.loads(live.page("").body)["history"]

    assert point[1:] == [1, 5, 5, 1, 0]
    assert 0 < point[0] <= server.server.uptime_s


def test_the_history_is_bounded_and_thinned_as_it_ages(server: RunningServer) -> None:
    """Old points stay at a coarser step, in order, for an hour."""
    history = History(server.server, step=0)
    for _ in range(FINE_POINTS + THINNING * (COARSE_POINTS + 2)):
        history.tick()
    times = [point[0] for point in history.points()]

    assert len(times) == COARSE_POINTS + FINE_POINTS
    assert times == sorted(times)


def test_refusals_are_counted_by_reason(daemon: Start) -> None:
    """The counts are those of the log."""
    process = daemon("--status-port", "0", "--max-sessions", "1")
    with process.client() as client:
        client.echo(b"x")
        with socket.create_connection(("127.0.0.1", process.port), seconds(10)) as refused:
            assert refused.recv(1) == b""
        found = until(process, lambda now: now["totals"]["refused"])

    assert found["refused"]["by_reason"] == {"max_sessions": 1}


def test_clients_of_the_status_page_take_nothing_from_sessions(daemon: Start) -> None:
    """Too many, too slow and incomplete requests leave the sessions' slots and time alone."""
    process = daemon("--status-port", "0", "--max-sessions", "1")
    address = ("127.0.0.1", status_port(process))
    with ExitStack() as stack:
        for _ in range(STATUS_CONNECTIONS + 5):
            visitor = stack.enter_context(socket.create_connection(address))
            visitor.sendall(b"GET /sess")
        with process.client() as client:
            assert client.echo(b"hello") == b"hello"
