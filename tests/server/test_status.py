"""The status pages: what Prometheus reads, what a load balancer asks, and bad visitors."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from echo import EchoClient, Limits
from echo.events import Reason, Refusal
from echo.limits import BEYOND_BUFFERS
from echo.server.assets import assets
from echo.server.live import Activity
from echo.server.metrics import Metrics
from echo.server.status import HEADERS, Answer, StatusServer, health_of
from echo.testing import EventList, RunningServer, running_server
from tests.faults.peers import read_to_end
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]
    Samples = dict[tuple[str, str], float]


class QuietLog:
    """A log that has lost three lines and has two to write."""

    dropped = 3
    problem = None
    queue_length = 2


def samples(text: str, parse: Any = text_string_to_metric_families) -> Samples:
    """Read a page as Prometheus does: each sample by its name and its reason or bound."""
    return {
        (sample.name, sample.labels.get("reason", sample.labels.get("le", ""))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def scrape(server: RunningServer) -> Samples:
    """Read the metrics of a server in this process."""
    return samples(Metrics(server.server, QuietLog()).page("").body.decode())


def get(port: int, path: str = "/metrics", **headers: str) -> tuple[int, str, str]:
    """Ask a status server for a page; give its code, its type and its text."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=seconds(30)) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


# -- the metrics --------------------------------------------------------------------------


def test_the_metrics_are_the_server_s_state() -> None:
    """Sessions, bytes, ends and refusals are counted as they happened."""
    limits = Limits(max_sessions_per_peer=2, max_bytes=10)
    with running_server(limits=limits) as server:
        with EchoClient(*server.address) as client:
            client.echo(b"hello")
            during = scrape(server)
            with EchoClient(*server.address) as other, EchoClient(*server.address):
                server.log.wait_for("session.refused")
                other.echo(b"0123456789")
            client.finish()
        server.log.wait_for("session.closed", 2)
        wait_until(lambda: not server.server.slots.active)
        after = scrape(server)

    assert during["echod_sessions_active", ""] == 1
    assert during["echod_received_bytes_total", ""] == 5
    assert after["echod_sessions_active", ""] == 0
    assert after["echod_sessions_limit", ""] == 10_000
    assert after["echod_sessions_accepted_total", ""] == 2
    assert after["echod_sessions_closed_total", "eof"] == 1
    assert after["echod_sessions_closed_total", "byte_limit"] == 1
    assert after["echod_sessions_refused_total", "max_sessions_per_peer"] == 1
    assert after["echod_received_bytes_total", ""] == after["echod_sent_bytes_total", ""] == 15
    assert after["echod_session_duration_seconds_count", ""] == 2
    assert after["echod_session_duration_seconds_bucket", "+Inf"] == 2
    assert after["echod_session_duration_seconds_sum", ""] > 0
    assert after["echod_log_dropped_total", ""] == 3
    assert after["echod_log_failing", ""] == 0
    assert after["echod_log_queue_length", ""] == 2
    assert after["echod_build_info", ""] == 1
    assert after["process_open_fds", ""] > 0


def test_every_reason_is_there_from_the_start_and_no_other_label() -> None:
    """A rate over a counter needs its zero; a label's values are from a closed list."""
    with running_server() as server:
        with EchoClient(*server.address) as client:
            client.echo(b"hello")
        found = scrape(server)
    labels = {name: set() for name, _ in found}
    for name, label in found:
        labels[name].add(label)

    assert labels["echod_sessions_closed_total"] == {*Reason}
    assert labels["echod_sessions_refused_total"] == {*Refusal}
    assert all(len(values) <= 11 for values in labels.values())


def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    """Prometheus asks for it by the Accept header."""
    with running_server() as server:
        answer = Metrics(server.server, QuietLog()).page("application/openmetrics-text")
        found = samples(answer.body.decode(), parse_openmetrics)

    assert "openmetrics" in answer.content_type
    assert found["echod_sessions_active", ""] == 0


def test_a_format_that_nobody_knows_is_answered_with_the_plain_one() -> None:
    """Whatever stands in the Accept header, there is a page."""
    with running_server() as server:
        answer = Metrics(server.server, QuietLog()).page("application/openmetrics-text; version=x")

    assert answer.content_type.startswith("text/plain")
    assert samples(answer.body.decode())["echod_sessions_active", ""] == 0


# -- the pages of a daemon ----------------------------------------------------------------


def status_port(process: DaemonProcess) -> int:
    """Return the port of a daemon's status pages, as its first line says."""
    assert process.started["status_host"] == "127.0.0.1"
    return int(process.started["status_port"])


def test_a_daemon_serves_its_metrics_and_its_health(daemon: Start) -> None:
    """The pages are there, HEAD gives the head, and all that is not there is 404."""
    process = daemon("--status-port", "0")
    port = status_port(process)
    with process.client() as client:
        client.echo(b"hello")
        code, kind, text = get(port)
    head = socket.create_connection(("127.0.0.1", port), seconds(10))
    head.sendall(b"HEAD /metrics HTTP/1.0\r\n\r\n")
    answer = b"".join(iter(lambda: head.recv(65536), b""))
    head.close()

    assert (code, kind.partition(";")[0]) == (200, "text/plain")
    assert samples(text)["echod_sessions_active", ""] == 1
    assert re.search(r'echod_build_info\{python="3\.\d+\.\d+",version="[^"]+"\} 1\.0', text)
    assert get(port, "/healthz?verbose")[:3:2] == (200, "ok\n")
    assert get(port, "/nothing") == (
        404,
        "text/plain; charset=utf-8",
        "no such page; there is\n/\n/healthz\n/metrics\n/sessions\n",
    )
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


def test_the_health_page_says_that_it_drains(daemon: Start) -> None:
    """A load balancer sees 503 while sessions are being ended."""
    process = daemon("--status-port", "0", "--drain-timeout", "60", "--socket-buffer", "4096")
    with stuck_client(process):
        process.send(signal.SIGTERM)
        process.wait_for("server.draining")
        during = get(status_port(process), "/healthz")[:3:2]
        process.send(signal.SIGTERM)
        process.wait()

    assert during == (503, "draining\n")


@contextmanager
def stuck_client(process: DaemonProcess) -> Iterator[Any]:
    """Open a session that waits for its peer for ever; give what `/sessions` says by then.

    The daemon has to have small buffers. What they can't hold is with this end's kernel at once,
    so that it needs nobody to send it.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(seconds(30))
        sock.connect(("127.0.0.1", process.port))
        assert sock.send(bytes(1_000_000)) > 100_000

        def waiting() -> Any:
            found = json.loads(get(status_port(process), "/sessions")[2])
            states = [row["state"] for row in found["sessions"]]
            return found if states == [Activity.WAITING] else None

        yield wait_until(waiting)


def test_health_is_a_page_of_its_own() -> None:
    """It is 200 until a drain begins."""
    with running_server() as server:
        page = health_of(server.server)
        before = page("")
        server.server.start_draining()
        after = page("")

    assert (before.code, after.code) == (200, 503)


def test_a_status_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    """One line, EX_UNAVAILABLE, and no daemon without its pages."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ["--port", "0", "--status-port", str(port), "--log-file", str(tmp_path / "log")]
        command = [sys.executable, "-m", "echo", "serve", *flags]
        ended = subprocess.run(
            command, capture_output=True, check=False, text=True, timeout=seconds(60)
        )

    assert ended.returncode == os.EX_UNAVAILABLE
    assert ended.stderr == (
        f"echod: serve: can't listen on 127.0.0.1 port {port}: Address already in use; another "
        "program has the port: stop it, or choose another with --status-port (0 picks one)\n"
    )


# -- bad visitors -------------------------------------------------------------------------


# More than the socket buffers of both ends take.
BIG = bytes(BEYOND_BUFFERS)


@pytest.fixture
def log() -> EventList:
    """Return a log for a status server."""
    return EventList()


@pytest.fixture
def status(log: EventList) -> Iterator[StatusServer]:
    """Run a small status server."""
    with small(log) as server:
        yield server


def small(log: EventList) -> StatusServer:
    """Return a status server that has room for four."""
    pages = {
        "/": lambda _: Answer(b"hello"),
        "/broken": broken,
        "/unreadable": unreadable,
        "/big": lambda _: Answer(BIG),
    }
    address = ("127.0.0.1", 0)
    return StatusServer(address, pages, log=log, connections=4, timeout=seconds(30))


def unreadable(accept: str) -> Answer:
    """Fail as a page does whose file has gone."""
    del accept
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def broken(accept: str) -> Answer:
    """Be a page that fails."""
    raise ZeroDivisionError(accept)


@pytest.mark.parametrize(
    ("begin", "rest", "body"),
    [
        (b"", b"GET / HTTP/1.0\r\n\r\n", b"hello"),
        (b"GET / HTTP/1.1\r\nHost: ", b"\r\n\r\n", b"hello"),
        (b"GET /big HTTP/1.0\r\n\r\n", b"", BIG),
    ],
    ids=["silent", "slow", "stuck"],
)
def test_clients_that_keep_the_server_waiting_keep_nobody_out(
    log: EventList, begin: bytes, rest: bytes, body: bytes
) -> None:
    """Each new client is served: the oldest that waits yields, and the newest is served."""
    with small(log) as status, ExitStack() as stack:
        socks = []

        def is_served() -> bool:
            """Keep it waiting, and ask beside that: at once, unless the machine is busy."""
            socks.append(stack.enter_context(connect(status)))
            socks[-1].sendall(begin)
            return ask(status, b"GET / HTTP/1.0\r\n\r\n").endswith(b"hello")

        def newest_is_served() -> bool:
            is_served()
            with suppress(ConnectionError):
                socks[-1].sendall(rest)
                return read_to_end(socks[-1]).endswith(body)
            return False

        for _ in range(20):
            wait_until(is_served)
        with suppress(ConnectionResetError):
            assert not read_to_end(socks[0]).endswith(body)
        wait_until(newest_is_served)

    assert log.events == []


def test_one_peer_can_t_take_every_slot(log: EventList) -> None:
    """One whose requests keep pages busy is refused at three quarters; another is served."""
    asked, go_on = threading.Semaphore(0), threading.Event()

    def slow(accept: str) -> Answer:
        asked.release()
        go_on.wait(seconds(20))
        return Answer(accept.encode())

    pages = {"/": lambda _: Answer(b"hello"), "/slow": slow}
    with (
        StatusServer(
            ("127.0.0.1", 0), pages, log=log, connections=4, timeout=seconds(30)
        ) as status,
        ExitStack() as stack,
    ):
        stack.callback(go_on.set)
        socks = []
        for _ in range(3):
            sock = stack.enter_context(connect(status, "127.0.0.9"))
            socks.append(sock)
            sock.sendall(b"GET /slow HTTP/1.0\r\nAccept: yes\r\n\r\n")
            assert asked.acquire(timeout=seconds(10))
        refused = ask(status, b"GET / HTTP/1.0\r\n\r\n", "127.0.0.9")
        served = ask(status, b"GET / HTTP/1.0\r\n\r\n")
        go_on.set()
        answers = [read_to_end(sock) for sock in socks]

    assert refused == b""
    assert served.endswith(b"hello")
    assert [answer.endswith(b"yes") for answer in answers] == [True] * 3


def test_a_client_that_drips_is_ended(log: EventList) -> None:
    """The time is for the whole connection, however busy it seems."""
    with StatusServer(("127.0.0.1", 0), {}, log=log, timeout=seconds(0.5)) as status:
        with connect(status) as sock, pytest.raises(OSError):  # noqa: PT011 - a reset or a broken pipe
            _drip(sock)

    assert log.events == []


def _drip(sock: socket.socket) -> None:
    sock.settimeout(0.02)
    while True:
        sock.sendall(b"G")
        try:
            if not sock.recv(100):
                raise ConnectionResetError
        except TimeoutError:
            continue


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\n123", b"405 Method Not Allowed"),
        (b"GET /".ljust(65_537, b"x"), b"431"),
        (b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.0\r\n" + (b"a:\r" * 21_800 + b"\n") * 98 + b"\r\n", b"431"),
        (b"GET / HTTP/1.0\r\n" + b"a:\r" * 50 + b"\n\r\n", b"400"),
        (b"\x16\x03\x01 junk\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: x\r\n\r\n", b"501"),
        (b"GET http://[/ HTTP/1.0\r\n\r\n", b"404"),
        (b"CONNECT a:1 HTTP/1.0\r\n\r\n", b"405"),
        (b"BREW /nothing HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
    ],
    ids=[
        *("post", "long", "headers", "bare-cr", "few-bare-cr", "tls", "no-host", "two-hosts"),
        *("coding", "address", "connect", "foreign-first"),
    ],
)
def test_bad_requests_are_answered_and_nothing_more(
    status: StatusServer, log: EventList, capfd: Any, request_: bytes, answer: bytes
) -> None:
    """Each gets its error, however much it sends; stderr and the log have nothing of it."""
    got = answer_to(status, request_)

    assert got.startswith(b"HTTP/1.1 " + answer)
    assert (b"\r\nAllow: GET, HEAD\r\n" in got) == answer.startswith(b"405")
    assert capfd.readouterr() == ("", "")
    assert log.events == []


def test_a_visitor_that_goes_away_is_nothing_to_report(
    status: StatusServer, log: EventList
) -> None:
    """A reset in the middle leaves no line."""
    for _ in range(5):
        client = EchoClient(*status.server_address[:2])
        client.connect()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        client.reset()

    assert b"hello" in answer_to(status, b"GET / HTTP/1.0\r\n\r\n")
    assert log.events == []


def test_a_page_that_fails_is_one_line_in_the_log(status: StatusServer, log: EventList) -> None:
    """Its client is told so, and the log has a traceback."""
    answer = answer_to(status, b"GET /broken HTTP/1.0\r\n\r\n")
    error = log.wait_for("server.error")[0]

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert error["where"] == "page /broken"
    assert "ZeroDivisionError" in error["exception"]


def test_a_system_s_error_in_a_page_is_not_the_client_s(
    status: StatusServer, log: EventList
) -> None:
    """It is reported, and what is asked for again and again shares a line."""
    answers = [answer_to(status, b"GET /unreadable HTTP/1.0\r\n\r\n") for _ in range(5)]
    status.flush_shared_lines()
    errors = log.named("server.error")

    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 500"}
    assert {(error["where"], error["error"]) for error in errors} == {
        ("page /unreadable", "FileNotFoundError: [Errno 2] No such file or directory")
    }
    assert len(errors) <= 3
    assert sum(error.get("count", 1) for error in errors) == 5


# -- browsers, and who sends them -----------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.0", b"GET /nothing HTTP/1.0", b"PUT / HTTP/1.0"]
)
def test_every_answer_says_what_a_browser_may_do_with_it(
    status: StatusServer, request_: bytes
) -> None:
    """Pages, refusals and the framework's own errors: nothing from elsewhere, no frame, no copy."""
    head = answer_to(status, request_ + b"\r\n\r\n").partition(b"\r\n\r\n")[0].decode()

    for name, value in HEADERS.items():
        assert f"{name}: {value}" in head.splitlines()
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in head


@pytest.mark.parametrize(
    ("host", "code"),
    [
        *(("127.0.0.1:9001", 200), ("[::1]:9001", 200), ("localhost", 200), ("a.localhost:1", 200)),
        *(("LOCALHOST:80", 200), ("192.0.2.7", 200), ("", 200), ("known.example", 200)),
        *(("evil.example:9001", 421), ("localhost.evil.example", 421), ("[::1", 421)),
        *(("127.0.0.1.evil.example", 421), ("evil.example@127.0.0.1", 421), ("x y", 421)),
    ],
)
def test_a_loopback_address_is_not_asked_for_by_a_stranger_s_name(host: str, code: int) -> None:
    """A page whose name leads here is no page of ours (DNS rebinding); addresses can't do that."""
    pages = {"/": lambda _: Answer(b"hello")}
    with StatusServer(("127.0.0.1", 0), pages, names={"known.example"}) as server:
        answer = answer_to(server, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    assert int(answer.split()[1]) == code
    assert (b"hello" in answer) == (code == 200)


def test_any_name_is_good_where_others_may_ask() -> None:
    """On an address that is no loopback, names are how it is found."""
    pages = {"/": lambda _: Answer(b"hello")}
    with StatusServer(("0.0.0.0", 0), pages) as server:
        answer = answer_to(server, b"GET / HTTP/1.1\r\nHost: echo.example\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "path",
    [
        *("/page/", "/page", "/page/../live.py", "/page/..%2flive.py"),
        *("/page/main.js/", "/etc/passwd", "/page/%00", "/Page/main.js", "page/main.js"),
    ],
)
def test_no_path_is_a_file_s_name(path: str) -> None:
    """What isn't one of the fixed paths isn't there."""
    with StatusServer(("127.0.0.1", 0), assets()) as server:
        answer = answer_to(server, f"GET {path} HTTP/1.0\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 404")


def test_the_page_and_all_it_asks_for_are_there() -> None:
    """Each file that a file names is served, as what it is, and none is from another host."""
    pages = assets()
    texts = {path: page("").body.decode() for path, page in pages.items()}
    named = set(re.findall(r'(?:src|href)="(page/[^"]+)"', texts["/"]))
    named |= {f"page/{name}" for text in texts.values() for name in re.findall(r'"\./(\S+)"', text)}

    assert {f"/{name}" for name in named} | {"/"} == set(pages)
    assert pages["/page/main.js"]("").content_type == "text/javascript; charset=utf-8"
    code = {path: re.sub(r"/\*!.*?\*/", "", text) for path, text in texts.items()}
    assert not [
        path for path, text in code.items() if re.search(r"https?://(?!www\.w3\.org)", text)
    ]


def connect(status: StatusServer, source: str = "127.0.0.1") -> socket.socket:
    """Connect to a status server."""
    address = ("127.0.0.1", status.server_address[1])
    return socket.create_connection(address, seconds(10), (source, 0))


def ask(status: StatusServer, request_: bytes, source: str = "127.0.0.1") -> bytes:
    """Send a request as it is, and return all that comes back: nothing where there is no room."""
    answer = b""
    with connect(status, source) as sock:
        with suppress(ConnectionError):
            sock.sendall(request_)
        with suppress(ConnectionError):
            while part := sock.recv(65536):
                answer += part
    return answer


def answer_to(status: StatusServer, request_: bytes) -> bytes:
    """Return the answer to a request, which is made again where there was no room for it.

    Those that are over, or wait in the backlog, take room until their threads have ended.
    """
    return wait_until(lambda: ask(status, request_))
