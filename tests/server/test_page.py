"""The live page in a real browser: sessions that tests open appear, count and go."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import socket
import struct
import subprocess
import tarfile
from contextlib import ExitStack, closing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from echo import EchoClient, Limits
from echo.cli import main
from echo.events import Reason
from echo.server.assets import assets
from echo.server.live import Activity, Live
from echo.server.status import Answer, StatusServer
from echo.testing import RunningServer, running_server
from tests.browser import Browser
from tests.logs.making import Maker
from tests.process import free_port
from tests.server.test_followers import exchange
from tests.server.test_live import QuietLog
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A browser costs seconds, and the page is no Python: one Python's run says it for all.
pytestmark = pytest.mark.long

AXE = "axe-core@4.14.1"
AXE_SHA512 = (
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)
# Of uPlot 1.6.32's dist/uPlot.iife.min.js.
UPLOT_SHA512 = "8df9b8c2bc60abbdd95c5cf260f46681"
CARDS = "document.querySelectorAll('.socket:not(.closed)').length"
ROWS = "[...document.querySelectorAll('#session-table tbody:not(.space) tr')]"
HEADS = "document.querySelectorAll('#session-table th')"
CLOSED = "[...document.querySelectorAll('#closed-table tbody:not(.space) tr')]"


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
        command, cwd=folder, capture_output=True, check=False, text=True, timeout=seconds(100)
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
    return StatusServer(("127.0.0.1", port), pages, each_iteration=live.history.tick)


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
    exchange(sock, data)
    return sock


def card(fd: int) -> str:
    """Return the script that finds a socket's card by its descriptor."""
    find = f"t => t.querySelector('[data-is=fd]').textContent === '{fd}'"
    return f"[...document.querySelectorAll('.socket')].find({find})"


# -- the diagram --------------------------------------------------------------------------


def test_sockets_appear_count_and_go(browser: Browser, shown: Shown) -> None:
    """Three sockets hang from the listening one, by client; the one that ends says why."""
    with ExitStack() as stack:
        browser.until("!document.getElementById('empty').hidden")
        connect(stack, shown.server, b"x" * 1234)
        connect(stack, shown.server, b"x")
        last = connect(stack, shown.server, b"x", "127.0.0.7")
        browser.until(f"{CARDS} === 3")
        first = shown.server.sessions[0]
        numbers = [session.sock.fileno() for session in shown.server.sessions]
        text = browser.run(f"{card(numbers[0])}.innerText")
        clients = browser.run("[...document.querySelectorAll('.chip')].map(h => h.innerText)")
        listening = browser.run("document.getElementById('listening').innerText")
        title = browser.run("document.title")
        rows = browser.run(f"{ROWS}.map(row => row.innerText.split(/\\t/))")
        browser.run(f"({FAREWELL})(() => {card(numbers[2])})")
        last.close()
        farewell = browser.until("window.farewell")
        browser.until("document.querySelectorAll('.socket').length === 2")
        end = browser.run(f"{CLOSED}[0].innerText")

    assert f":{shown.server.port} ⇄ 127.0.0.1:{first.peer_port}" in text
    assert "1.23 kB" in text
    assert [line.split(",")[0].split() for line in clients] == [
        ["client", "127.0.0.1", "2", "sockets"],
        ["client", "127.0.0.7", "1", "socket"],
    ]
    assert f"fd {shown.server.server.socket.fileno()}" in listening
    assert title == f"3 · echod 127.0.0.1:{shown.server.port}"
    assert [row[0] for row in rows] == [str(number) for number in numbers]
    assert farewell == "eof"
    assert "the client has finished" in end
    browser.until(f"{CARDS} === 0")


# Notes the state that a card shows once its socket is closed: it is there for a moment only.
FAREWELL = """card => new MutationObserver(() => {
  if (card()?.classList.contains('closed')) {
    window.farewell = card().querySelector('[data-is=state]').textContent;
  }
}).observe(document.body, { attributes: true, childList: true, subtree: true })"""


def test_each_line_ends_at_its_last_socket(browser: Browser, shown: Shown) -> None:
    """No rail runs past the last box of its row, no spine below the last row, wide or narrow."""
    with ExitStack() as stack:
        for ip in ["127.0.0.1"] * 7 + ["127.0.0.7"]:
            connect(stack, shown.server, b"x", ip)
        ends = []
        for width in (1280, 400):
            browser.open(shown.url, width=width)
            browser.until(f"{CARDS} === 8")
            ends.append(browser.run(f"({LINE_ENDS})()"))

    assert [found for wide in ends for found in wide if found["over"] or found["below"]] == []
    assert len(ends[0]) == len(ends[1]) == 10


# Of each box that hangs: how far its own rail sticks out to the right of it, and how far its spine
# reaches below its own rail.
LINE_ENDS = """() => [...document.querySelectorAll('.branches > li')].map(box => {
  const rail = getComputedStyle(box, '::before');
  const title = box.querySelector(':scope > .chip, :scope > .card');
  const spine = getComputedStyle(title, '::before');
  const left = parseFloat(rail.marginLeft) + parseFloat(rail.width);
  const inset = parseFloat(getComputedStyle(title).paddingTop) + title.clientTop;
  const bottom = parseFloat(spine.marginTop) + parseFloat(spine.height) + inset;
  return {
    over: Math.max(0, Math.round(left - box.offsetWidth)),
    below: Math.max(0, Math.round(bottom - parseFloat(rail.marginTop) - 4)),
  };
})"""


def test_bytes_move(browser: Browser, shown: Shown) -> None:
    """A session that exchanges is echoing and has a rate, and the charts have points."""
    with ExitStack() as stack:
        sock = connect(stack, shown.server, b"x" * 1000)

        def moving_card() -> Any:
            exchange(sock, b"y" * 5000)
            return browser.run(
                "[...document.querySelectorAll('.moving')].map(card => "
                "['state', 'rate'].map(name => "
                "card.querySelector(`[data-is=${name}]`).textContent))"
                ".find(([state]) => state === 'echoing')"
            )

        state, moving = wait_until(moving_card)
        animation = (
            "[...document.querySelectorAll('.moving > .byte')]"
            ".map(byte => getComputedStyle(byte).animationName)[0]"
        )
        seen = wait_until(lambda: moving_card() and browser.run(animation))
        browser.prefer(reduced_motion="reduce")
        still = wait_until(lambda: moving_card() and browser.run(animation))
        label = browser.until(
            "[...document.querySelectorAll('.plot')].map(x => x.ariaLabel)"
            ".find(text => /^Bytes: received .*B\\/s now, at most [1-9]/.test(text))"
        )

    assert moving.endswith("B/s")
    assert (state, seen, still) == ("echoing", "echo", "none")
    assert "; sent, below " in label


def test_the_states_are_the_daemon_s() -> None:
    """The page knows each state by the daemon's own name, and no other."""
    script = assets()["/page/model.js"]("").body.decode()
    names = script.partition("STATES = [")[2].partition("]")[0]

    assert {name.strip(' "') for name in names.split(",")} == {*Activity}


def test_every_reason_has_its_words() -> None:
    """The page explains each reason of the closed list, and no other."""
    script = assets()["/page/main.js"]("").body.decode()
    words = script.partition("MEANINGS = {")[2].partition("}")[0]

    assert {line.split(":")[0].strip() for line in words.splitlines() if ":" in line} == {*Reason}


def test_the_drawing_library_is_the_published_one() -> None:
    """The file of uPlot is as it was released, and its licence is with it."""
    pages = assets()
    script = pages["/page/uplot.js"]("").body

    assert hashlib.sha512(script).hexdigest()[:32] == UPLOT_SHA512
    assert b"Permission is hereby granted" in pages["/page/uplot-license.txt"]("").body


# -- thousands ----------------------------------------------------------------------------


def many(count: int, clients: int = 7) -> Answer:
    """Return an answer that claims this many sessions; the page can't tell the difference."""
    facts = {"duration_s": 9.5, "received_bytes": 5, "sent_bytes": 5, "thread": 1}
    rows = [
        {
            "session_id": f"made-up-{number}",
            "fd": number + 10,
            **facts,
            "peer_ip": f"10.0.{number % clients}.1",
            "peer_port": 60_000 - number,
            "state": "waiting for the peer" if number % 1000 == 999 else "idle",
        }
        for number in range(count)
    ]
    with running_server() as server:
        found = json.loads(Live(server.server, QuietLog()).page("").body)
    return Answer(json.dumps({**found, "sessions": rows}).encode(), "application/json")


def test_thousands_are_squares_by_client_and_a_table_of_few_rows(browser: Browser) -> None:
    """The document has the rows that can be seen, sorted, filtered and scrolled to."""
    answer = many(5000)
    browser.problems.clear()
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: answer}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/")
        browser.until("document.getElementById('found').textContent === '5,000 shown'")
        kept = browser.run(f"{ROWS}.length")
        cards = browser.run("document.querySelectorAll('.socket').length")
        squares = browser.run("[...document.querySelectorAll('.squares')].map(x => x.ariaLabel)")
        browser.run(f"{HEADS}[0].firstChild.click()")
        lowest = browser.run(f"{ROWS}[0].cells[0].textContent")
        browser.run(f"{HEADS}[0].firstChild.click()")
        highest = browser.run(f"{ROWS}[0].cells[0].textContent")
        sort = browser.run(f"{HEADS}[0].ariaSort")
        browser.run("document.querySelector('#session-table .scroll').scrollTop = 1e6")
        browser.until(f"{ROWS}.at(-1).cells[0].textContent === '10'")
        index = browser.run(f"{ROWS}.at(-1).ariaRowIndex")
        browser.run("document.getElementById('find').focus()")
        browser.type("10.0.3.1:")
        browser.until("document.getElementById('found').textContent === '714 of 5,000 match'")
        browser.run(
            "{const s = document.getElementById('state'); s.value = 'waiting for the peer';"
            "s.dispatchEvent(new Event('change'))}"
        )
        both = browser.run("document.getElementById('found').textContent")
        address = browser.run("location.search")
        browser.open("about:blank")

    assert kept < 60
    assert cards == 0
    assert len(squares) == 7
    assert "Sockets of 10.0.5.1: 713 idle, 1 waiting for the peer." in squares
    assert address == "?find=10.0.3.1%3A&state=waiting+for+the+peer&sort=-fd"
    assert (lowest, highest, sort, index) == ("10", "5009", "descending", "5001")
    assert both == "1 of 5,000 match"
    assert browser.problems == []


def test_many_clients_share_the_last_group(browser: Browser) -> None:
    """The clients with the most sockets have squares of their own; a click finds the peer."""
    answer = many(300, clients=100)
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: answer}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/")
        browser.until("document.getElementById('found').textContent === '300 shown'")
        last = browser.run("[...document.querySelectorAll('.chip')].at(-1).innerText")
        groups = browser.run("document.querySelectorAll('.squares').length")
        browser.run(f"document.querySelector('.squares').dispatchEvent({pointer('pointermove')})")
        tip = browser.run("document.getElementById('tip').innerText")
        browser.run(f"document.querySelector('.squares').dispatchEvent({pointer('click')})")
        found = browser.run("document.getElementById('found').textContent")
        find = browser.run("document.getElementById('find').value")
        browser.run(f"document.querySelector('.squares').dispatchEvent({pointer('pointerleave')})")
        hidden = browser.run("document.getElementById('tip').hidden")
        browser.open("about:blank")

    assert last.split(",")[0] == "76 other clients 228 sockets"
    assert groups == 25
    assert tip.startswith("fd 10 · 10.0.0.1:60000 · idle · ")
    assert (find, found, hidden) == ("10.0.0.1:60000", "1 of 300 match", True)


def pointer(kind: str) -> str:
    """Return the script of a pointer event over the first square."""
    return (
        f"(() => {{ const box = document.querySelector('.squares').getBoundingClientRect();"
        f"return new PointerEvent('{kind}', {{clientX: box.left + 3, clientY: box.top + 3}}); }})()"
    )


def test_the_address_keeps_what_was_chosen(browser: Browser, shown: Shown) -> None:
    """Filter, sort, range and reason come back with the link; nonsense in it does no harm."""
    with ExitStack() as stack:
        connect(stack, shown.server, b"x")
        connect(stack, shown.server, b"x", "127.0.0.7")
        browser.open(f"{shown.url}?find=127.0.0.7&sort=fd&clients=ipKey&range=1h&reason=eof&x=y")
        browser.until("document.getElementById('found').textContent === '1 of 2 match'")
        found = browser.run(
            "[document.querySelector('#range :checked').value, "
            f"{HEADS}[0].ariaSort, document.querySelector('#client-table th').ariaSort, "
            "document.querySelector('#reasons [aria-pressed=true]').innerText, "
            "document.getElementById('find').value]"
        )
        faded = browser.run("document.querySelectorAll('.socket.faded').length")
        browser.open(f"{shown.url}?state=nonsense&sort=nonsense&range=nonsense")
        browser.until("document.getElementById('found').textContent === '2 shown'")

    assert found == ["1h", "ascending", "ascending", "eof 0", "127.0.0.7"]
    assert faded == 1


# -- for the person on duty ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("uptime", "points", "when"),
    [
        (7200, [(3500, 0), (7130, 9), (7150, 11)], "3 in the last minute, 12 in the last hour"),
        (8, [(6, 12)], "12 in the last minute, 12 in the last hour"),  # all before its first point
        (3700, [(3620, 12)], "0 in the last minute, 0 in the last hour"),
    ],
)
def test_refusals_and_lost_lines_are_a_warning(
    browser: Browser, uptime: float, points: list[tuple[float, int]], when: str
) -> None:
    """A warning says how many, why, and when; clients are listed with their refusals."""
    found = json.loads(many(3).body)
    found["totals"] |= {"refused": 12, "log_dropped": 4}
    found["server"]["log_problem"] = "No space left on device"
    found["refused"] = {"by_reason": {"max_sessions_per_peer": 12}, "by_peer": {"192.0.2.9": 12}}
    found["server"]["uptime_s"] = uptime
    found["history"] = [[at, 1, 0, 0, 5, refused] for at, refused in points]
    answer = Answer(json.dumps(found).encode())
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: answer}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/")
        browser.until("!document.getElementById('warnings').hidden")
        warnings = browser.run("document.getElementById('warnings').innerText")
        clients = browser.run("document.getElementById('client-table').innerText")
        browser.open("about:blank")

    assert warnings.splitlines() == [
        f"12 connections refused (max_sessions_per_peer 12): {when}.",
        "The log can't be written (No space left on device). Its lines wait until it can.",
        "4 log lines lost: the disk is full or the log can't keep up.",
    ]
    assert "192.0.2.9" in clients


def test_a_reason_filters_what_has_closed(browser: Browser, shown: Shown) -> None:
    """Each reason has its count; pressing it shows only those, pressing it again all."""
    for number in range(3):
        with EchoClient(*shown.server.address) as client:
            client.echo(b"x")
            if number == 0:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    browser.until(f"{CLOSED}.length === 3")
    reasons = browser.run("[...document.querySelectorAll('#reasons button')].map(b => b.innerText)")
    browser.run("document.querySelector('#reasons button').click()")
    some = browser.run(f"{CLOSED}.length")
    browser.run("document.querySelector('#reasons button').click()")
    again = browser.run(f"{CLOSED}.length")

    assert reasons == ["eof 2", "reset 1"]
    assert (some, again) == (2, 3)


def test_charts_are_read_by_keys_and_zoomed_by_the_pointer(browser: Browser, shown: Shown) -> None:
    """Arrow keys show the values of a moment; a drag zooms all charts, a double-click returns."""
    browser.until("document.querySelector('.plot').ariaLabel?.startsWith('Sessions:')")
    with ExitStack() as stack:
        connect(stack, shown.server, b"x")
        browser.until("document.querySelector('.line-0 b').textContent === '1'")
        browser.run("document.querySelector('.plot').focus()")
        for key in ("ArrowLeft", "ArrowRight", "a"):
            browser.run(
                "document.activeElement.dispatchEvent("
                f"new KeyboardEvent('keydown', {{key: '{key}', bubbles: true}}))"
            )
        when = browser.until("document.querySelector('figcaption .small').textContent")
        browser.run(f"({DRAG})()")
        browser.until("!document.querySelector('#range :checked')")
        browser.run("document.querySelector('.u-over').dispatchEvent(new MouseEvent('dblclick'))")
        back = browser.run("document.querySelector('#range :checked').value")

    assert re.fullmatch(r"at \d\d:\d\d:\d\d", when)
    assert back == "5m"


DRAG = """() => {
  const over = document.querySelector('.u-over'), box = over.getBoundingClientRect();
  const send = (target, kind, x) => target.dispatchEvent(new MouseEvent(kind, {
    clientX: box.left + x, clientY: box.top + 20, buttons: 1, bubbles: true, movementX: 1,
  }));
  send(over, 'mousemove', 40);
  send(over, 'mousedown', 40);
  send(over, 'mousemove', 120);
  send(document, 'mouseup', 120);
}"""


# -- when the daemon goes, and comes back ---------------------------------------------------


def test_the_page_says_when_the_daemon_is_gone_and_comes_back(
    browser: Browser, shown: Shown
) -> None:
    """A notice says so plainly; when there is an answer again it goes by itself."""
    port = free_port()
    with serve_pages(shown.server, port):
        browser.open(f"http://127.0.0.1:{port}/")
        browser.until("document.getElementById('status').textContent === 'serving'")
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


NAME = "e => e.id || e.ariaLabel?.replace(/: [^:]* now.*/, '') || e.value || e.innerText"


@pytest.mark.usefixtures("shown")
def test_it_can_be_used_by_keyboard_alone(browser: Browser) -> None:
    """Tab leads to everything in the order of the page; Space pauses, Enter sorts."""
    reached = []
    for _ in range(20):
        browser.press("Tab")
        reached.append(browser.run(f"({NAME})(document.activeElement)"))
        if reached[-1] == "pause":
            browser.press("Space")
            paused = browser.run("document.getElementById('pause').innerText")
            browser.press("Space")
        if reached[-1] == "peer":
            browser.press("Enter")
    sort = browser.run(f"{HEADS}[1].ariaSort")
    name = browser.run("document.getElementById('pause').innerText")

    assert reached[:2] == ["Skip to the sessions", "pause"]
    assert reached[2:6] == ["5m", "Sessions", "Bytes", "New sessions"]
    assert reached[6:13] == ["Table: Clients", "client", "sessions", "rate", "in", "out", "refused"]
    assert reached[13:18] == ["find", "state", "Table: Sessions", "fd", "peer"]
    assert (paused, sort, name) == ("Resume", "ascending", "Pause")


def test_pausing_holds_the_page_still(browser: Browser, shown: Shown) -> None:
    """What comes meanwhile is shown once it goes on."""
    browser.run("document.getElementById('pause').click()")
    with ExitStack() as stack:
        connect(stack, shown.server, b"x")
        browser.run("document.dispatchEvent(new Event('visibilitychange'))")
        during = browser.run(CARDS)
        browser.run("document.getElementById('pause').click()")
        browser.until(f"{CARDS} === 1")

    assert during == 0


@pytest.mark.parametrize("width", [320, 400, 1280, 1920])
def test_numbers_of_thousands_stand_apart(browser: Browser, width: int) -> None:
    """No number covers its neighbour, and the last row of the grid is full."""
    found = json.loads(many(300).body)
    found["totals"] |= {"active_sessions": 10_000, "received_bytes": 10**14, "sent_bytes": 10**14}
    answer = Answer(json.dumps(found).encode())
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: answer}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/", width=width)
        browser.until("document.querySelectorAll('dd').length === 9")
        cells = browser.run(f"({CELLS})()")
        browser.open("about:blank")

    assert [text for text, room, right, _ in cells if right > room] == []
    assert cells[-1][3] <= 1


# Of each number: its text, the right edges of its cell and of the text in it, and how far its cell
# is from the grid's right edge.
CELLS = """() => [...document.querySelectorAll('#numbers > div')].map(cell => {
  const range = document.createRange();
  range.selectNodeContents(cell.lastChild);
  const style = getComputedStyle(cell.parentElement), box = cell.getBoundingClientRect();
  const edge = cell.parentElement.getBoundingClientRect().right
    - parseFloat(style.paddingRight) - parseFloat(style.borderRightWidth);
  const right = Math.floor(range.getBoundingClientRect().right);
  return [cell.innerText, box.right, right, Math.abs(edge - box.right)];
})"""


def test_print_has_no_controls_and_says_what_it_leaves_out(browser: Browser) -> None:
    """Paper has the rows that the screen has, and how many more there are."""
    answer = many(300)
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: answer}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/")
        browser.until("document.getElementById('found').textContent === '300 shown'")
        browser.ask("Emulation.setEmulatedMedia", media="print")
        shown = browser.run(
            "[...document.querySelectorAll('button, input, select')]"
            ".filter(part => part.checkVisibility() && !part.closest('th')).length"
        )
        below = "document.querySelector('#session-table .space:last-child td')"
        text = f"getComputedStyle({below}, '::after').content.replaceAll('\" \"', '')"
        browser.until(f'{text} === `"and ${{300 - {ROWS}.length}} more"`')
        browser.ask("Emulation.setEmulatedMedia", media="")
        browser.open("about:blank")

    assert shown == 0


def test_a_moment_after_midnight_begins_with_zero(browser: Browser, shown: Shown) -> None:
    """The charts' clock has the hours 0 to 23."""
    browser.ask("Emulation.setTimezoneOverride", timezoneId="UTC")
    clock = browser.run("import('/page/charts.js').then(charts => charts.clock(1800))")
    browser.ask("Emulation.setTimezoneOverride", timezoneId="")

    assert shown
    assert clock == "00:30:00"


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1920), ("light", 1280), ("dark", 400), ("light", 320)]
)
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
        browser.until(f"{CARDS} === 3 && {CLOSED}.length")
        broken = violations(browser, axe)
        overflow = browser.run("document.documentElement.scrollWidth - innerWidth")

    assert broken == []
    assert overflow <= 0


def test_axe_finds_nothing_among_thousands(browser: Browser, axe: str) -> None:
    """The squares and the table of which only a part is there are as good, and so are warnings."""
    found = json.loads(many(300).body)
    found["totals"] |= {"refused": 12, "log_dropped": 4}
    answer = Answer(json.dumps(found).encode())
    browser.prefer(color_scheme="dark")
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: answer}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/")
        browser.until("document.getElementById('found').textContent === '300 shown'")
        broken = violations(browser, axe)
        browser.open("about:blank")

    assert broken == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_axe_finds_nothing_in_a_report(
    browser: Browser, axe: str, tmp_path: Path, scheme: str, width: int
) -> None:
    """The report of a log is as good as the live page, and nothing sticks out of it."""
    pytest.importorskip("duckdb")
    log, page = tmp_path / "echo.jsonl", tmp_path / "report.html"
    log.write_text("".join(Maker(2000).lines()))
    assert main(["logs", "report", str(log), "-o", str(page)]) == 0
    browser.prefer(color_scheme=scheme)
    browser.open(page.as_uri(), width=width)
    broken = violations(browser, axe)
    overflow = browser.run("document.documentElement.scrollWidth - innerWidth")

    assert broken == []
    assert overflow <= 0


def violations(browser: Browser, axe: str) -> list[tuple[str, str]]:
    """Return each rule that the open page breaks, with the first place."""
    browser.run(axe)
    report = browser.run("axe.run().then(found => found.violations)")
    return [(rule["id"], rule["nodes"][0]["html"]) for rule in report]


def test_what_a_peer_says_stays_text(browser: Browser) -> None:
    """A subject, a detail or an address that looks like markup is shown as it is written."""
    evil = "<img src=x onerror=alert(1)>"
    end = {"session_id": evil, "peer_ip": evil, "peer_port": 1, "reason": "tls_error"}
    end |= {"detail": evil, "received_bytes": 0, "sent_bytes": 0, "duration_s": 1.0}
    row = {"fd": 5, "thread": 1, "state": "idle", "tls": {"tls_protocol": evil}, **end}
    found = json.loads(many(0).body)
    answer = Answer(json.dumps({**found, "sessions": [row], "ended": [end]}).encode())
    browser.problems.clear()
    with running_server() as server, serve_pages(server, **{"/sessions": lambda _: answer}) as page:
        browser.open(f"http://127.0.0.1:{page.server_address[1]}/")
        browser.until(f"{CARDS} === 1")
        images = browser.run("[...document.images].map(image => image.getAttribute('src'))")
        text = browser.run(f"{CLOSED}[0].textContent")
        browser.open("about:blank")

    assert images == ["page/icon.svg"]
    assert evil in text
    assert browser.problems == []
