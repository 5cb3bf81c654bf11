"""Reading a daemon's live sessions: snapshots, rates, sorting, filtering, and other answers."""

from __future__ import annotations

import json
import select
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from echo.client.snapshot import SORT_KEYS, BadAnswer, LiveSession, Snapshot, chosen, parsed
from echo.client.watch import MOST_BYTES, BadUrl, Poller, StatusPage
from echo.deadline import Deadline
from echo.limits import BEYOND_BUFFERS
from echo.server.status import Answer, StatusServer
from tests.client.test_client import one_session
from tests.server.test_status import status_port
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from echo.testing import RunningServer
    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]
    Page = dict[str, Any]

ROW = {
    "session_id": "a-1",
    "fd": 7,
    "peer_ip": "192.0.2.1",
    "peer_port": 40000,
    "thread": "4711",
    "duration_s": 1.5,
    "received_bytes": 100,
    "sent_bytes": 90,
    "state": "waiting for the peer",
}


def page(uptime_s: float = 1.0, *rows: Page, pid: int = 1, **totals: int) -> Page:
    """Return the facts of a daemon's page."""
    return {
        "server": {"pid": pid, "uptime_s": uptime_s, "version": "1", "loop": "python"},
        "listening": {"fd": 5, "host": "127.0.0.1", "port": 9000, "backlog": 7, "backlog_used": 0},
        "totals": {"accepted": 1, **totals},
        "sessions": list(rows),
        "ended": [],
    }


def snapshot(*facts: Any, **more: Any) -> Snapshot:
    """Return a snapshot of such a page."""
    return parsed(json.dumps(page(*facts, **more)).encode())


class Pages:
    """A status server whose page can be changed; `url` is where it is."""

    def __init__(self) -> None:
        self.body = json.dumps(page()).encode()
        self.server = StatusServer(
            ("127.0.0.1", 0), {"/sessions": lambda _accept: Answer(self.body)}
        )
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def pages() -> Iterator[Pages]:
    """Serve a page without a daemon."""
    found = Pages()
    with found.server:
        yield found


# -- what a daemon says -------------------------------------------------------------------


def test_a_daemon_s_sessions_are_read(daemon: Start) -> None:
    """Each session with its peer, its descriptor and its counts."""
    process = daemon("--status-port", "0")
    source = StatusPage(f"127.0.0.1:{status_port(process)}/", timeout=seconds(20))
    with process.client() as client:
        client.echo(b"hello")
        found = wait_until(lambda: [s for s in source.read().sessions if s.sent_bytes == 5])
        now = source.read()
        own = client.sock.getsockname()
    accepted = process.wait_for("session.accepted")[0]

    assert (found[0].peer_ip, found[0].peer_port) == own
    assert (found[0].fd, found[0].session_id) == (accepted["fd"], accepted["session_id"])
    assert now.listening["port"] == process.port
    assert (now.server["pid"], now.totals["accepted"]) == (process.pid, 1)


def test_what_comes_by_a_proxy_or_encrypted_says_so() -> None:
    """Both are in `via`; most sessions have neither."""
    row = {**ROW, "proxy_ip": "10.0.0.1", "proxy_port": 5, "tls": {"tls_protocol": "TLSv1.3"}}
    one, other = snapshot(1.0, row, ROW).sessions

    assert (one.via, other.via) == ("TLSv1.3 from 10.0.0.1:5", "")


# -- rates --------------------------------------------------------------------------------


def test_rates_come_from_two_snapshots_by_the_daemon_s_clock() -> None:
    """A session that is new has begun with nothing; totals have their rates, too."""
    before = snapshot(10.0, ROW, accepted=5)
    new = {**ROW, "session_id": "a-2", "received_bytes": 30}
    now = snapshot(12.0, {**ROW, "received_bytes": 300}, new, accepted=9).since(before)

    assert [s.received_rate for s in now.sessions] == [100.0, 15.0]
    assert [s.sent_rate for s in now.sessions] == [0.0, 45.0]
    assert now.rates == {"accepted": 2.0}


@pytest.mark.parametrize(
    "later", [snapshot(12.0, ROW, pid=2), snapshot(10.0, ROW), snapshot(9.0, ROW)]
)
def test_there_are_no_rates_between_two_daemons(later: Snapshot) -> None:
    """Nor within one snapshot, nor backwards in time."""
    now = later.since(snapshot(10.0, ROW))

    assert (now.rates, now.sessions[0].received_rate) == (None, None)


# -- order and choice ---------------------------------------------------------------------


def sessions() -> list[LiveSession]:
    """Return three sessions."""
    rows = [
        {**ROW, "session_id": "a-1", "peer_ip": "192.0.2.7", "fd": 9, "received_bytes": 5},
        {**ROW, "session_id": "a-2", "peer_ip": "192.0.2.8", "fd": 8, "received_bytes": 5},
        {**ROW, "session_id": "b-3", "peer_ip": "2001:db8::7", "fd": 7, "state": "idle"},
    ]
    return snapshot(1.0, *rows).sessions


@pytest.mark.parametrize("sort", SORT_KEYS)
def test_every_column_sorts(sort: str) -> None:
    """In both directions; equals stay as they came, the oldest first."""
    key = SORT_KEYS[sort]
    up = chosen(sessions(), "", sort, descending=False)
    down = chosen(sessions(), "", sort, descending=True)

    assert [key(s) for s in up] == sorted(map(key, sessions()))
    assert [key(s) for s in down] == [key(s) for s in up][::-1]
    assert [s.session_id for s in down if key(s) == key(down[0])] == sorted(
        s.session_id for s in down if key(s) == key(down[0])
    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", ["a-1", "a-2", "b-3"]),
        ("192.0.2.8", ["a-2"]),
        ("7]:40000", ["b-3"]),
        ("IDLE", ["b-3"]),
        ("a-", ["a-1", "a-2"]),
        ("nobody", []),
    ],
)
def test_a_part_of_a_peer_a_state_or_an_id_chooses(wanted: str, found: list[str]) -> None:
    """Capitals are all the same."""
    shown = chosen(sessions(), wanted, "fd", descending=True)

    assert [s.session_id for s in shown] == found


# -- whatever else answers ----------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://127.0.0.1", "http://", "http://127.0.0.1:99999", "http://127.0.0.1:x"),
        *("http://[::1", "http://me@127.0.0.1", "http://127.0.0.1/?a", "http://127.0.0.1/#a"),
    ],
)
def test_a_url_that_can_t_be_meant_is_refused(url: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(BadUrl):
        StatusPage(url)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"nonsense",
        json.dumps({**page(), "server": {}}).encode(),
        json.dumps({**page(), "server": {"pid": "x", "uptime_s": 1}}).encode(),
        json.dumps({**page(), "totals": []}).encode(),
        json.dumps({**page(), "listening": 5}).encode(),
        json.dumps(page(1.0, {"fd": 1})).encode(),
        json.dumps(page(1.0, {**ROW, "tls": 5})).encode(),
    ],
)
def test_an_answer_that_is_not_a_daemon_s_is_refused(pages: Pages, body: bytes) -> None:
    """Whatever JSON it is, or none."""
    pages.body = body
    with pytest.raises(BadAnswer, match="its answer is not a daemon's"):
        StatusPage(pages.url, timeout=seconds(20)).read()


def test_a_page_that_is_not_there_is_said(pages: Pages) -> None:
    """An older daemon has no such page."""
    with pytest.raises(BadAnswer, match="it answers 404 Not Found"):
        StatusPage(f"{pages.url}/below", timeout=seconds(20)).read()


def test_who_doesn_t_speak_http_is_refused(server: RunningServer) -> None:
    """As the echo port itself: it is easily mistaken for the status port."""
    with pytest.raises(BadAnswer, match="it doesn't answer in HTTP"):
        StatusPage(f"http://127.0.0.1:{server.port}", timeout=seconds(20)).read()


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "again"),
    [
        (b"", b""),
        (OK, b"A: b\r\n"),
        (OK + b"A: ", b"b"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Content-Length: 100000\r\n\r\n", b" "),
        (CHUNKED + b"1;", b"a"),
        (CHUNKED, b"1\r\n \r\n"),
        (CHUNKED + b"0\r\n", b"A: b\r\n"),
    ],
    ids=("silence", "headers", "a header", "100s", "body", "extension", "chunks", "trailers"),
)
def test_a_dripping_answer_ends_at_the_time_out(head: bytes, again: bytes) -> None:
    """The time-out is one deadline for the whole exchange, whichever part of it drips."""
    with one_session(dripping(head, again)) as address:
        with pytest.raises(TimeoutError, match="it took too long"):
            StatusPage(f"http://{address[0]}:{address[1]}", timeout=seconds(0.3)).read()


@pytest.mark.parametrize(
    ("head", "again"),
    [
        (OK + b"Content-Length: 400000000\r\n\r\n", b" " * 1_000_000),
        (CHUNKED, b"F4240\r\n" + b" " * 1_000_000 + b"\r\n"),
    ],
    ids=("body", "chunks"),
)
def test_a_huge_answer_is_not_read_to_its_end(head: bytes, again: bytes) -> None:
    """There is one bound for all that is read, whichever part of the answer is long."""
    sent: list[int] = []
    with one_session(dripping(head, again, sent)) as address:
        with pytest.raises(BadAnswer, match="longer than 32 MiB"):
            StatusPage(f"http://{address[0]}:{address[1]}", timeout=seconds(60)).read()

    assert sum(sent) < MOST_BYTES + BEYOND_BUFFERS


@pytest.mark.parametrize(
    "head",
    [
        OK + b"A: " + b"b" * 70_000,
        CHUNKED + b"1;" + b"a" * 70_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
    ],
    ids=("header", "extension", "101", "status"),
)
def test_what_is_no_answer_in_http_is_refused(head: bytes) -> None:
    """Headers and chunk extensions have a smaller bound of their own."""
    with one_session(dripping(head, b"")) as address:
        with pytest.raises(BadAnswer, match="it doesn't answer in HTTP"):
            StatusPage(f"http://{address[0]}:{address[1]}", timeout=seconds(20)).read()


def test_an_end_without_an_answer_is_refused() -> None:
    """As of a proxy that has nobody behind it."""
    with one_session(lambda sock: sock.recv(65536)) as address:
        with pytest.raises(BadAnswer, match="it doesn't answer in HTTP"):
            StatusPage(f"http://{address[0]}:{address[1]}", timeout=seconds(20)).read()


def dripping(
    head: bytes, again: bytes, sent: list[int] | None = None
) -> Callable[[socket.socket], None]:
    """Make a server that sends `head`, and `again` until the client has gone, or long enough."""

    def serve(sock: socket.socket) -> None:
        pause, deadline = threading.Event(), Deadline(seconds(60))
        with suppress(OSError):  # the client has gone
            sock.recv(65536)
            sock.sendall(head)
            while not deadline.expired:
                sock.sendall(again or b"")
                if not again and select.select([sock], [], [], 0.05)[0]:
                    return
                if sent is None:
                    pause.wait(0.01)
                else:
                    sent.append(len(again))

    return serve


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://foo..bar", "http://nobody.invalid"])
def test_nobody_there_is_an_error_of_the_network(url: str) -> None:
    """A refused connection, a name that is none, a name of nobody."""
    with pytest.raises(OSError, match=r"refused|not known|resolution"):
        StatusPage(url).read()


# -- again and again ----------------------------------------------------------------------


def test_a_poller_reads_on_through_everything(pages: Pages) -> None:
    """It has the newest snapshot, says what is wrong, and goes on when that is over."""
    changed = threading.Event()
    source = StatusPage(pages.url, timeout=seconds(20))
    first = source.read()
    with Poller(source, first, 0.01, changed.set) as poller:
        assert changed.wait(seconds(10))
        assert poller.snapshot is first  # the same snapshot again is no news

        pages.body = json.dumps(page(2.0, ROW)).encode()
        wait_until(lambda: poller.snapshot.sessions)
        assert poller.snapshot.sessions[0].received_rate == 100

        pages.body = b"nonsense"
        wait_until(lambda: poller.problem)
        assert poller.problem == "its answer is not a daemon's"
        assert poller.snapshot.sessions

        pages.body = json.dumps(page(3.0)).encode()
        wait_until(lambda: not poller.snapshot.sessions)
        assert poller.problem == ""

        pages.server.shutdown()
        pages.server.server_close()
        # A connection that was still in the backlog is reset; the ones after it are refused.
        wait_until(lambda: poller.problem == "Connection refused")
