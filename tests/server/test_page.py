"""The live page in a real browser: what tests open appears, counts and goes."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import subprocess
import tarfile
from contextlib import ExitStack, closing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from echo import EchoClient, Limits
from echo.events import Reason
from echo.server.assets import assets
from echo.server.live import Live
from echo.server.status import Answer, StatusServer
from echo.testing import RunningServer, running_server
from tests.browser import Browser
from tests.server.test_live import QuietLog
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

# A browser costs seconds, and the page is no Python: one Python's run says it for all.
pytestmark = pytest.mark.long

AXE = "axe-core@4.14.1"
AXE_SHA512 = (
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)
TILES = "document.querySelectorAll('.socket:not([data-state=ended])').length"
ROWS = "[...document.querySelectorAll('#table tbody:not(.space) tr')]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start one browser for all the tests."""
    with closing(Browser(tmp_path_factory.mktemp("browser"))) as running:
        yield running


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fetch the checker of accessibility, and hold it against its known sum."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm") or pytest.skip("npm is not installed")
    command = [npm, "pack", AXE, "--silent", "--prefer-offline"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, check=False, text=True, timeout=60
    )
    if done.returncode:
        pytest.skip(f"npm can't fetch {AXE}: {done.stderr[-200:]}")
    (packed,) = folder.glob("*.tgz")
    assert base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() == AXE_SHA512
    with tarfile.open(packed) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member
        return member.read().decode()


class Shown:
    """A server, its status pages, and the address of the live one."""

    def __init__(self, server: RunningServer, status: StatusServer) -> None:
        self.server = server
        self.status = status
        self.url = f"http://127.0.0.1:{status.server_address[1]}/"


def serve_pages(server: RunningServer, port: int = 0, **more: Any) -> StatusServer:
    """Make the status pages of a server, as the daemon has them."""
    live = Live(server.server, QuietLog())
    pages = {**assets(), "/sessions": live.page, **more}
    return StatusServer(("127.0.0.1", port), pages, each_turn=live.history.tick)


@pytest.fixture
def shown(browser: Browser) -> Iterator[Shown]:
    """Run a server whose page is open in the browser, which has nothing to complain of."""
    limits = Limits(max_sessions_per_peer=10_000)
    with running_server(limits=limits) as server, serve_pages(server) as status:
        found = Shown(server, status)
        browser.problems.clear()
        browser.prefer()
        browser.open(found.url)
        browser.until("document.getElementById('status').textContent === 'serving'")
        yield found
        browser.open("about:blank")
        assert browser.problems == []


def connect(stack: ExitStack, server: RunningServer, data: bytes, ip: str = "") -> socket.socket:
    """Open a session that has exchanged some bytes."""
    sock = stack.enter_context(socket.socket())
    sock.settimeout(seconds(10))
    sock.bind((ip, 0))
    sock.connect(server.address)
    sock.sendall(data)
    sock.recv(len(data), socket.MSG_WAITALL)
    return sock


def tile(fd: int) -> str:
    """Give the script that finds a socket's tile by its descriptor."""
    find = f"t => t.querySelector('[data-is=fd]').textContent === '{fd}'"
    return f"[...document.querySelectorAll('.socket')].find({find})"


# -- the picture --------------------------------------------------------------------------


def test_sockets_appear_count_and_go(browser: Browser, shown: Shown) -> None:
    """Three sockets hang from the listening one, by client; the one that ends says why."""
    with ExitStack() as stack:
        browser.until("!document.getElementById('empty').hidden")
        connect(stack, shown.server, b"x" * 1234)
        connect(stack, shown.server, b"x")
        last = connect(stack, shown.server, b"x", "127.0.0.7")
        browser.until(f"{TILES} === 3")
        first = shown.server.sessions[0]
        numbers = [session.sock.fileno() for session in shown.server.sessions]
        text = browser.run(f"{tile(numbers[0])}.innerText")
        clients = browser.run("[...document.querySelectorAll('.client h3')].map(h => h.innerText)")
        listening = browser.run("document.getElementById('listening').innerText")
        title = browser.run("document.title")
        rows = browser.run(f"{ROWS}.map(row => row.innerText.split(/\\t/))")
        last.close()
        browser.until(f"{tile(numbers[2])}?.dataset.state === 'ended'")
        farewell = browser.run(f"{tile(numbers[2])}.querySelector('[data-is=state]').textContent")
        browser.until("document.querySelectorAll('.socket').length === 2")
        end = browser.run("document.querySelector('#ends tbody tr').innerText")

    assert f":{shown.server.port} ⇄ 127.0.0.1:{first.peer_port}" in text
    assert "1.23 kB" in text
    assert [line.split() for line in clients] == [
        ["client", "127.0.0.1", "2", "sockets"],
        ["client", "127.0.0.7", "1", "socket"],
    ]
    assert f"fd {shown.server.server.socket.fileno()}" in listening
    assert title == f"3 · echod 127.0.0.1:{shown.server.port}"
    assert [row[0] for row in rows] == [str(number) for number in numbers]
    assert farewell == "eof"
    assert "the client said that it was done" in end
    browser.until(f"{TILES} === 0")


def test_bytes_move(browser: Browser, shown: Shown) -> None:
    """A session that exchanges has a rate, and the charts have points."""
    with ExitStack() as stack:
        sock = connect(stack, shown.server, b"x" * 1000)

        def exchange() -> Any:
            sock.sendall(b"y" * 5000)
            sock.recv(5000, socket.MSG_WAITALL)
            return browser.run("document.querySelector('.moving [data-is=rate]')?.textContent")

        moving = wait_until(exchange)
        browser.until("document.querySelector('#chart-bytes .line').getAttribute('d').length > 20")
        label = browser.run("document.querySelector('#chart-sessions svg').ariaLabel")

    assert moving.endswith("B/s")
    assert label.startswith("Sessions: 1 now, between 0 and 1 in the last")


def test_every_reason_has_its_words() -> None:
    """The page says what each reason of the closed list means, and no other's."""
    script = assets()["/page/ends.js"]("").body.decode()
    words = script.partition("MEANINGS = {")[2].partition("}")[0]

    assert {line.split(":")[0].strip() for line in words.splitlines() if ":" in line} == {*Reason}


# -- thousands ----------------------------------------------------------------------------


def many(count: int) -> Answer:
    """Say that there are so many sessions, without any: the page can't tell."""
    facts = {"duration_s": 9.5, "received_bytes": 5, "sent_bytes": 5, "thread": 1}
    rows = [
        {
            "session_id": f"made-up-{number}",
            "fd": number + 10,
            **facts,
            "peer_ip": f"10.0.{number % 7}.1",
            "peer_port": 60_000 - number,
            "state": "sending" if number % 1000 == 999 else "reading",
        }
        for number in range(count)
    ]
    with running_server() as server:
        found = json.loads(Live(server.server, QuietLog()).page("").body)
    return Answer(json.dumps({**found, "sessions": rows}).encode(), "application/json")


def test_thousands_are_a_field_and_a_table_of_few_rows(browser: Browser) -> None:
    """The document has the rows that can be seen, sorted, filtered and scrolled to."""
    answer = many(5000)
    browser.problems.clear()
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: answer}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/")
        browser.until("document.getElementById('found').textContent === '5,000 shown'")
        kept = browser.run(f"{ROWS}.length")
        tiles = browser.run("document.querySelectorAll('.socket').length")
        dots = browser.run("document.getElementById('dots').ariaLabel")
        browser.run("document.querySelectorAll('#table th button')[0].click()")
        lowest = browser.run(f"{ROWS}[0].cells[0].textContent")
        browser.run("document.querySelectorAll('#table th button')[0].click()")
        highest = browser.run(f"{ROWS}[0].cells[0].textContent")
        sort = browser.run("document.querySelector('#table th').ariaSort")
        browser.run("document.getElementById('scroll').scrollTop = 1e6")
        browser.until(f"{ROWS}.at(-1).cells[0].textContent === '10'")
        index = browser.run(f"{ROWS}.at(-1).ariaRowIndex")
        browser.run("document.getElementById('find').focus()")
        browser.type("10.0.3.1:")
        found = browser.run("document.getElementById('found').textContent")
        browser.run(
            "{const s = document.getElementById('state'); s.value = 'sending';"
            "s.dispatchEvent(new Event('change'))}"
        )
        both = browser.run("document.getElementById('found').textContent")
        browser.open("about:blank")

    assert kept < 60
    assert tiles == 0
    assert dots == "5,000 sockets of 7 clients: 4,995 reading, 5 sending, 0 draining."
    assert (lowest, highest, sort, index) == ("10", "5009", "descending", "5001")
    assert found == "714 of 5,000 match"
    assert both == "1 of 5,000 match"
    assert browser.problems == []


# -- when the daemon goes, and comes back ---------------------------------------------------


def test_the_page_says_when_the_daemon_is_gone_and_comes_back(
    browser: Browser, shown: Shown
) -> None:
    """A notice says so plainly; when there is an answer again it goes by itself."""
    port = int(shown.status.server_address[1])
    shown.status.shutdown()
    shown.status.server_close()
    browser.until("!document.getElementById('notice').hidden")
    notice = browser.run("document.getElementById('notice').innerText")
    status = browser.run("document.getElementById('status').textContent")
    with serve_pages(shown.server, port):
        browser.until("document.getElementById('notice').hidden")
        after = browser.run("document.getElementById('status').textContent")
    browser.problems.clear()  # the questions without an answer, each a line of its console

    assert notice.startswith("The daemon doesn't answer. This page asks again every second")
    assert status.startswith("no answer for")
    assert after == "serving"


def test_an_answer_that_is_none_is_said_so(browser: Browser) -> None:
    """A code that says no is told from silence."""
    no = Answer(b"no", code=HTTPStatus.SERVICE_UNAVAILABLE)
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: no}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/")
        notice = browser.until("document.getElementById('notice').innerText")
        browser.open("about:blank")

    assert notice.startswith("The daemon can't be asked: it answers 503.")


# -- everybody's --------------------------------------------------------------------------


@pytest.mark.usefixtures("shown")
def test_it_can_be_used_by_keyboard_alone(browser: Browser) -> None:
    """Tab leads to everything in the order of the page; Space pauses, Enter sorts."""
    reached = []
    for _ in range(8):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.id || document.activeElement.innerText"))
        if reached[-1] == "pause":
            browser.press("Space")
            paused = browser.run("document.getElementById('pause').ariaPressed")
            browser.press("Space")
        if reached[-1] == "peer":
            browser.press("Enter")
    sort = browser.run("document.querySelectorAll('#table th')[1].ariaSort")
    name = browser.run("document.getElementById('pause').innerText")

    assert reached[:3] == ["Skip to the table", "pause", "find"]
    assert reached[3:7] == ["state", "scroll", "fd", "peer"]
    assert (paused, sort, name) == ("true", "ascending", "Pause")


def test_pausing_holds_the_page_still(browser: Browser, shown: Shown) -> None:
    """What comes meanwhile is shown once it goes on."""
    browser.run("document.getElementById('pause').click()")
    with ExitStack() as stack:
        connect(stack, shown.server, b"x")
        browser.run("document.dispatchEvent(new Event('visibilitychange'))")
        during = browser.run(TILES)
        browser.run("document.getElementById('pause').click()")
        browser.until(f"{TILES} === 1")

    assert during == 0


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_axe_finds_nothing(
    browser: Browser, shown: Shown, axe: str, scheme: str, width: int
) -> None:
    """No violation of any rule, in each colour scheme, wide and narrow; nothing sticks out."""
    with ExitStack() as stack:
        browser.prefer(color_scheme=scheme, reduced_motion="reduce")
        browser.open(shown.url, width=width, height=800)
        for ip in ("127.0.0.1", "127.0.0.1", "127.0.0.7"):
            connect(stack, shown.server, b"x", ip)
        with EchoClient(*shown.server.address) as client:
            client.echo(b"x")
        browser.until(f"{TILES} === 3 && document.querySelectorAll('#ends .reason').length")
        broken = violations(browser, axe)
        overflow = browser.run("document.documentElement.scrollWidth - innerWidth")

    assert broken == []
    assert overflow <= 0


def test_axe_finds_nothing_among_thousands(browser: Browser, axe: str) -> None:
    """The field and the table of which only a part is there are as good."""
    answer = many(300)
    browser.prefer(color_scheme="dark")
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: answer}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/")
        browser.until("document.getElementById('found').textContent === '300 shown'")
        broken = violations(browser, axe)
        browser.open("about:blank")

    assert broken == []


def violations(browser: Browser, axe: str) -> list[tuple[str, str]]:
    """Give each rule that the open page breaks, with the first place."""
    browser.run(axe)
    report = browser.run("axe.run().then(found => found.violations)")
    return [(rule["id"], rule["nodes"][0]["html"]) for rule in report]


def test_what_a_peer_says_stays_text(browser: Browser) -> None:
    """A subject, a detail or an address that looks like markup is shown as it is written."""
    evil = "<img src=x onerror=alert(1)>"
    end = {"session_id": evil, "peer_ip": evil, "peer_port": 1, "reason": "tls_error"}
    end |= {"detail": evil, "received_bytes": 0, "sent_bytes": 0, "duration_s": 1.0}
    row = {"fd": 5, "thread": 1, "state": "reading", "tls": {"tls_protocol": evil}, **end}
    found = json.loads(many(0).body)
    answer = Answer(json.dumps({**found, "sessions": [row], "ended": [end]}).encode())
    browser.problems.clear()
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: answer}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/")
        browser.until(f"{TILES} === 1")
        images = browser.run("[...document.images].map(image => image.getAttribute('src'))")
        text = browser.run("document.querySelector('#ends tbody').textContent")
        browser.open("about:blank")

    assert images == ["page/icon.svg"]
    assert evil in text
    assert browser.problems == []
