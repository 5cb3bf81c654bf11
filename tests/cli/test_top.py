"""`echod top` as people use it: on a terminal of any size, in a pipe, with daemons that go away."""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import re
import signal
import ssl
import struct
import sys
import termios
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from echo.cli import main
from echo.cli.top.control import Control
from echo.cli.top.drawing import screen
from echo.client.snapshot import parsed
from echo.client.watch import StatusPage
from tests.authority import Authority
from tests.cli.test_connect import Terminal
from tests.client.test_watch import ROW, Pages, page, snapshot
from tests.process import free_port
from tests.server.test_status import status_port
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from echo.testing import RunningServer
    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]
    Output = pytest.CaptureFixture[str]

URL = "http://127.0.0.1:9001"
HOME, LEAVE = b"\x1b[H", b"\x1b[?1049l"
MOUSE_ON, MOUSE_OFF = b"\x1b[?1006h", b"\x1b[?1006l"
STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def many(count: int) -> list[dict[str, object]]:
    """Return rows, each with another descriptor."""
    return [
        {**ROW, "session_id": f"a-{n}", "fd": n, "peer_port": 50000 - n, "received_bytes": n}
        for n in range(count)
    ]


def drawn(control: Control, size: tuple[int, int] = (80, 24), problem: str = "") -> list[str]:
    """Draw a screen, without its colours."""
    return [STYLE.sub("", line).rstrip() for line in screen(control, URL, problem, size)]


def fds(lines: list[str]) -> list[int]:
    """Return the descriptors of the sessions on a screen."""
    rows = [re.match(r"192\.0\.2\.1:\d+ +(\d+) ", line) for line in lines]
    return [int(row[1]) for row in rows if row]


# -- the screen ---------------------------------------------------------------------------


def test_a_screen_has_the_listening_socket_the_totals_and_the_sessions() -> None:
    """In 80 columns and 24 lines, as many sessions as have room."""
    before = snapshot(1.0, *many(100), active_sessions=100, received_bytes=5000, log_dropped=2)
    now = snapshot(3.0, *many(100), active_sessions=100, received_bytes=9000, log_dropped=2)
    lines = drawn(Control(now.since(before)))

    assert len(lines) == 24
    assert lines[0] == "echod top  http://127.0.0.1:9001  pid 1  loop python  up 0:03  1"
    assert lines[1].startswith("listening  127.0.0.1 port 9000  fd 5  queue 0 of 7  threads ")
    assert lines[2].startswith("sessions   100 of ?  accepted 1 (0/s)  closed ")
    assert lines[3].startswith("bytes      received 9.0K (2.0K/s)  sent ")
    assert lines[5].split() == ["PEER", "FD", "STATE", "TIME", "RECV", "SENT▼RECV/s", "SENT/s"]
    assert re.split(" {2,}", lines[6])[:3] == ["192.0.2.1:50000", "0 waiting for the peer", "0:01"]
    assert lines[6].split()[-4:] == ["0", "90", "0", "0"]
    assert len(fds(lines)) == 17
    assert lines[23].startswith("1-17 of 100  F1 help")


@pytest.mark.parametrize("width", [1, 5, 20, 79, 80, 81, 200])
@pytest.mark.parametrize("height", [1, 2, 6, 8, 60])
def test_any_size_will_do(width: int, height: int) -> None:
    """No line is wider than the terminal, and there are as many as it has."""
    control = Control(snapshot(1.0, *many(100)))
    lines = drawn(control, (width, height))
    control.press("h")
    help_lines = drawn(control, (width, height), "gone")

    assert [len(lines), len(help_lines)] == [height, height]
    assert max(map(len, lines + help_lines)) <= width


def test_a_wide_screen_has_more_columns() -> None:
    """Thread, id, and the way by which a session came; a peer has room for its whole address."""
    row = {**ROW, "peer_ip": "2001:db8::1:2:3:4", "proxy_ip": "10.0.0.1", "proxy_port": 7}
    lines = drawn(Control(snapshot(1.0, row)), (160, 24))

    assert lines[5].endswith("THREAD ID             VIA")
    assert lines[6].endswith("4711 a-1            from 10.0.0.1:7")
    assert lines[6].startswith("[2001:db8::1:2:3:4]:40000 ")


@pytest.mark.parametrize("width", [30, 40, 60])
def test_a_narrow_screen_keeps_what_matters(width: int) -> None:
    """The place in the list is always to be read, and so is the whole help; what is cut says so."""
    control = Control(snapshot(1.0, *many(5000)))
    first, *_, foot = drawn(control, (width, 60))
    control.press("h")
    helping = " ".join(" ".join(drawn(control, (width, 60))).split())

    assert foot.startswith("1-53 of 5000")
    assert first.endswith("…")
    assert "a click on a head sorts, the wheel scrolls" in helping
    assert "Any key goes back." in helping


def test_hidden_columns_can_be_reached() -> None:
    """Right and left move all columns but the first, as far as the last one and back."""
    control = Control(snapshot(1.0, {**ROW, "proxy_ip": "10.0.0.1", "proxy_port": 7}))
    heads = []
    for key in ("", "right", *["right"] * 20, "left", *["left"] * 20):
        control.press(key)
        heads.append(drawn(control, (60, 24))[5].split())

    assert heads[0] == heads[-1] == ["PEER", "FD", "STATE", "TIME", "RECV"]
    assert heads[1] == ["PEER", "STATE", "TIME", "RECV", "SENT"]
    assert heads[21] == ["PEER", "VIA"]
    assert heads[22] != heads[21]


def test_nothing_that_a_peer_says_draws_on_the_terminal() -> None:
    """Whatever is in the daemon's answer, control characters are shown, not obeyed."""
    hostile = "\x1b[2J\x9b31m\n\u202e"
    facts = page(1.0, {**ROW, "peer_ip": hostile, "state": hostile, "session_id": hostile})
    facts["server"]["version"] = facts["listening"]["host"] = hostile
    control = Control(parsed(json.dumps(facts).encode()))
    control.table.wanted = "\\x1b"
    lines = screen(control, URL, hostile, (200, 24)) + screen(
        Control(snapshot(1.0)), URL, hostile, (80, 9)
    )

    assert not [line for line in lines if re.search("[\x00-\x1f\x7f-\x9f\u202e]", line)]


def test_states_and_troubles_show() -> None:
    """A drain, a pause, a filter and a daemon that is gone are shown in a line of their own."""
    facts = page(1.0, ROW)
    facts["server"]["draining"] = True
    facts["listening"]["backlog_used"] = None
    control = Control(parsed(json.dumps(facts).encode()))
    draining = drawn(control)
    for key in (" ", "/", "x", "enter"):
        control.press(key)

    assert draining[4] == "DRAINING"
    assert "queue - of 7" in draining[1]
    assert drawn(control)[4] == "DRAINING  PAUSED  only with 'x'"
    assert drawn(control, problem="Connection refused")[4] == (
        " no answer: Connection refused; asking again"
    )


def test_refusals_and_lost_lines_are_a_warning() -> None:
    """While connections are refused, and after a line of the log was lost, there is a notice."""
    before = snapshot(1.0, refused=5, log_dropped=2)
    now = snapshot(2.0, refused=9, log_dropped=2).since(before)

    failing = snapshot(1.0)
    failing.server["log_problem"] = "No space left on device"

    assert drawn(Control(failing))[4] == "LOG CAN'T BE WRITTEN: No space left on device"
    assert drawn(Control(before))[4] == "LOG LINES LOST 2"
    assert drawn(Control(now))[4] == "REFUSING 4/s  LOG LINES LOST 2"


# -- keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        (["down", "j", "up"], 1),
        (["pgdn"], 17),
        (["pgdn", "pgup", "k"], 0),
        (["end"], 83),
        (["G", "home"], 0),
        (["G", "g", "down"], 1),
        (["end", "down", "pgdn"], 83),
        (["nonsense"], 0),
        (["wheel down", "wheel down", "wheel up"], 3),
    ],
)
def test_it_scrolls(keys: list[str], first: int) -> None:
    """By lines, by pages, to both ends, and not beyond."""
    control = Control(snapshot(1.0, *many(100)))
    drawn(control)
    for key in keys:
        assert control.press(key)

    assert fds(drawn(control)) == list(range(first, first + 17))


def test_it_sorts_by_each_column_in_both_directions() -> None:
    """Numbers begin with the greatest, words with the first; after the last comes the first."""
    control = Control(snapshot(1.0, *many(3)))
    table, shown = control.table, []
    for key in ("s", "r", "<", *["f6"] * 5, ">", "<", ".", ","):
        drawn(control)
        control.press(key)
        drawn(control)
        shown.append((table.sort, table.descending, table.visible()[0].fd))

    assert shown[:3] == [
        ("sent_rate", True, 0),
        ("sent_rate", False, 0),
        ("received_rate", True, 0),
    ]
    assert [sort for sort, _, _ in shown[3:8]] == ["sent_rate", "thread", "id", "via", "peer"]
    assert shown[8:] == [("fd", True, 2), ("peer", False, 2), ("fd", True, 2), ("peer", False, 2)]


@pytest.mark.parametrize("width", [1, 40, 80])
def test_the_column_that_sorts_is_in_view(width: int) -> None:
    """Wherever there is room for it beside the first one."""
    control = Control(snapshot(1.0, *many(3)))
    drawn(control, (width, 24))
    for key in ["s"] * 13 + ["<"] * 13:
        control.press(key)
        heads = drawn(control, (width, 24))[5]

        assert width == 1 or "▼" in heads or "▲" in heads


def test_a_click_on_a_head_sorts() -> None:
    """A second click reverses; a click elsewhere, or on the sessions that have ended, does not."""
    control = Control(snapshot(1.0, *many(3)))
    heads = drawn(control)[5]
    place = heads.index("FD") + 1
    shown = []
    for key in (f"click {place} 6", f"click {place} 6", "click 1 6", "click 1 7", "click 500 6"):
        control.press(key)
        shown.append((control.table.sort, control.table.descending))
    control.press("e")
    for key in ("s", f"click {drawn(control)[5].index('REASON') + 1} 6"):
        control.press(key)

    assert shown == [("fd", True), ("fd", False), *[("peer", False)] * 3]
    assert (control.table.sort, control.table.descending) == ("peer", False)


def test_it_filters_as_one_types() -> None:
    """Letters, backspace, Ctrl-U; Enter keeps it, Esc clears it; no key is a command meanwhile."""
    control = Control(snapshot(1.0, *many(100)))
    for key in ["/", *"q:49", "backspace", "backspace", "backspace", "backspace", *":4999", "up"]:
        assert control.press(key)
    typing = drawn(control)
    control.press("enter")
    kept = drawn(control)
    for key in ("f4", "erase", "x", "f4"):
        control.press(key)
    nobody = drawn(control)
    for key in ("/", "x", "esc"):
        control.press(key)

    assert typing[23] == "filter: :4999"
    assert fds(typing) == fds(kept) == list(range(1, 11))
    assert kept[4] == "only with ':4999'"
    assert kept[23].startswith("1-10 of 10 ")
    assert nobody[23].startswith("0-0 of 0 ")
    assert fds(drawn(control)) == list(range(17))


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ([*"abc", "left", "left", "x"], "axbc"),
        ([*"abc", "home", "delete", "x"], "xbc"),
        ([*"abc", "home", "right", "backspace", "end", "d"], "bcd"),
        ([*"ab cd", "erase word", "x"], "ab x"),
        ([*"abc", "left", "erase"], "c"),
        (["left", "backspace", "right", "delete", "a"], "a"),
        (["a"] * 99, "a" * 60),
    ],
)
def test_the_filter_is_a_line_with_a_cursor(keys: list[str], text: str) -> None:
    """Letters come in at the cursor, which the usual keys move."""
    control = Control(snapshot(1.0))
    control.press("/")
    for key in keys:
        control.press(key)

    assert control.filter.text == control.table.wanted == text
    assert drawn(control)[23] == f"filter: {text}"


def test_a_long_filter_keeps_its_cursor_in_view() -> None:
    """On a narrow terminal the line scrolls."""
    control = Control(snapshot(1.0))
    for key in ("/", *"0123456789abcdefghij"):
        control.press(key)
    foot = drawn(control, (16, 24))[23]
    control.press("home")

    assert foot == "filter: defghij"
    assert drawn(control, (16, 24))[23] == "filter: 0123456…"


def test_it_pauses() -> None:
    """What is shown stays, until it goes on."""
    control = Control(snapshot(1.0, *many(1)))
    control.press("p")
    control.look(snapshot(2.0, *many(2)))
    paused = fds(drawn(control))
    control.press(" ")
    control.look(snapshot(3.0, *many(2)))

    assert (paused, fds(drawn(control))) == ([0], [0, 1])


def test_it_shows_the_sessions_that_have_ended() -> None:
    """The newest first, each with its reason; the filter goes for them, too."""
    facts = page(1.0, ROW)
    facts["ended"] = [
        {**ROW, "session_id": "a-2", "peer_ip": "::1", "reason": "idle_timeout"},
        {**ROW, "session_id": "a-1", "reason": "eof"},
    ]
    control = Control(parsed(json.dumps(facts).encode()))
    control.press("e")
    both = drawn(control)
    for key in ("/", *"eof", "enter"):
        control.press(key)
    one = drawn(control)
    for key in ("esc", "\t"):
        control.press(key)

    assert both[4] == "ended sessions"
    assert re.split(" +", both[5]) == ["PEER", "REASON", "TIME", "RECV", "SENT", "ID"]
    assert re.split(" +", both[6]) == ["[::1]:40000", "idle_timeout", "0:01", "100", "90", "a-2"]
    assert (both[7].split()[1], both[8]) == ("eof", "")
    assert [line.split()[1] for line in one[6:8] if line] == ["eof"]
    assert fds(drawn(control)) == [7]


def test_help_names_the_keys() -> None:
    """A key goes back, and does nothing else; quitting is quitting. A refresh is no key."""
    control = Control(snapshot(1.0, *many(1)))
    control.press("?")
    control.press("")
    control.look(snapshot(2.0, *many(1)))
    helping = drawn(control)
    control.press("r")

    assert any("sort by the next column" in line for line in helping)
    assert helping[23] == "any key goes back"
    assert (fds(drawn(control)), control.table.descending) == ([0], True)
    assert not control.press("q")
    assert not control.press("f10")


# -- on a terminal ------------------------------------------------------------------------


@pytest.fixture
def process(daemon: Start) -> DaemonProcess:
    """Run a daemon with a status port."""
    return daemon("--status-port", "0")


@pytest.fixture
def url() -> Iterator[str]:
    """Serve a page that says always the same, where no daemon is needed."""
    pages = Pages()
    with pages.server:
        yield pages.url


def url_of(process: DaemonProcess) -> str:
    """Return where a daemon's pages are."""
    return f"http://127.0.0.1:{status_port(process)}"


@contextmanager
def watching(url: str, folder: Path) -> Iterator[Terminal]:
    """Run it on a terminal, and wait for its first screen."""
    terminal = Terminal([sys.executable, "-m", "echo", "top", url, "--interval", "0.1"], folder)
    try:
        shows(terminal, "quit")
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()


def shows(terminal: Terminal, *words: str) -> None:
    """Wait for a screen with these words."""
    marks = [word.encode() for word in words]

    def there() -> bool:
        last = terminal.screen.rpartition(HOME)[2]
        return all(mark in last for mark in marks)

    wait_until(there, what=f"{words} in {terminal.screen[-3000:]!r}")


def resized(terminal: Terminal, width: int, height: int) -> None:
    """Resize the terminal, as a window does."""
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))
    terminal.process.send_signal(signal.SIGWINCH)


def test_a_daemon_s_sessions_come_and_go(process: DaemonProcess, tmp_path: Path) -> None:
    """What is on the screen is what the daemon does; `q` quits and gives the terminal back."""
    with watching(url_of(process), tmp_path) as terminal:
        with process.client() as client:
            client.echo(b"x" * 1234)
            shows(terminal, f"127.0.0.1:{client.sock.getsockname()[1]}", "1.2K", "idle")
            resized(terminal, 150, 9)
            shows(terminal, "THREAD", process.wait_for("session.accepted")[0]["session_id"])
        shows(terminal, "0-0 of 0")
        os.write(terminal.master, b"?")
        shows(terminal, "any key goes back")
        seen = terminal.screen.count(HOME)
        wait_until(lambda: terminal.screen.count(HOME) > seen + 2, what="it is drawn again")
        shows(terminal, "any key goes back")
        os.write(terminal.master, b"xq")
        code = terminal.process.wait(seconds(60))
        wait_until(lambda: terminal.screen.endswith(LEAVE))

        assert code == 0
        assert termios.tcgetattr(terminal.master)[3] & termios.ECHO


def test_a_daemon_that_goes_away_comes_back(daemon: Start, tmp_path: Path) -> None:
    """Its last sessions stay on the screen; the next daemon is shown by itself."""
    port = str(free_port())  # which no other test is given meanwhile, as one of the system's is
    process = daemon("--status-port", port)
    with watching(url_of(process), tmp_path) as terminal:
        process.stop()
        shows(terminal, "no answer: Connection refused")
        again = daemon("--status-port", port)
        shows(terminal, f"pid {again.pid}")
        os.write(terminal.master, b"q")

        assert terminal.process.wait(seconds(60)) == 0


def test_the_mouse_is_asked_for_and_left_alone_again(url: str, tmp_path: Path) -> None:
    """Behind a key, so that text can be selected; a click sorts, and the end gives it back."""
    with watching(url, tmp_path) as terminal:
        os.write(terminal.master, b"m")
        shows(terminal, "MOUSE")
        on = terminal.screen.count(MOUSE_ON)
        os.write(terminal.master, b"\x1b[<0;2;6M\x1b[<0;2;6m")
        shows(terminal, "PEER▲")
        os.write(terminal.master, b"m")
        wait_until(lambda: terminal.screen.count(MOUSE_OFF) == 1)
        os.write(terminal.master, b"m")
        wait_until(lambda: terminal.screen.count(MOUSE_ON) == 2)
        os.write(terminal.master, b"q")
        terminal.process.wait(seconds(60))
        wait_until(lambda: terminal.screen.endswith(LEAVE))

        assert on == 1
        assert terminal.screen.count(MOUSE_OFF) == 2


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_end_gives_the_terminal_back(url: str, tmp_path: Path, number: int, code: int) -> None:
    """Ctrl-C, TERM and a hang-up: the usual codes, and the screen as it was before."""
    with watching(url, tmp_path) as terminal:
        during = termios.tcgetattr(terminal.master)[3]
        terminal.process.send_signal(number)
        got = terminal.process.wait(seconds(60))
        wait_until(lambda: terminal.screen.endswith(LEAVE))

        assert got == code
        assert (during & termios.ECHO, termios.tcgetattr(terminal.master)[3] & termios.ECHO) == (
            0,
            termios.ECHO,
        )


def test_a_stop_gives_the_terminal_to_the_shell(url: str, tmp_path: Path) -> None:
    """Ctrl-Z leaves the screen as it was; when it goes on it draws again."""
    with watching(url, tmp_path) as terminal:
        terminal.process.send_signal(signal.SIGTSTP)
        stat = Path(f"/proc/{terminal.process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
        wait_until(lambda: terminal.screen.endswith(LEAVE))
        stopped = termios.tcgetattr(terminal.master)[3]
        seen = len(terminal.screen)
        terminal.process.send_signal(signal.SIGCONT)
        wait_until(lambda: HOME in terminal.screen[seen:])
        going_on = termios.tcgetattr(terminal.master)[3]
        os.write(terminal.master, b"q")

        assert terminal.process.wait(seconds(60)) == 0
        assert (stopped & termios.ECHO, going_on & termios.ECHO) == (termios.ECHO, 0)


# -- where there is no terminal -----------------------------------------------------------


def test_in_a_pipe_it_is_a_table(process: DaemonProcess, capsys: Output) -> None:
    """One look, plain, nothing cut off, exit code 0."""
    page = StatusPage(url_of(process), timeout=seconds(20))
    with process.client() as client:
        client.echo(b"hello")
        # The echo is here before the daemon has counted it.
        wait_until(lambda: [s for s in page.read().sessions if s.sent_bytes == 5])
        code = main(["top", url_of(process)])
    lines = capsys.readouterr().out.splitlines()

    assert code == 0
    assert lines[1].startswith(f"listening  127.0.0.1 port {process.port}  fd ")
    assert lines[5].split() == [
        "PEER",
        "FD",
        "STATE",
        "TIME",
        "RECV",
        "SENT",
        "THREAD",
        "ID",
        "VIA",
    ]
    assert lines[6].split()[2] in {"echoing", "idle"}
    assert lines[6].split()[4:6] == ["5", "5"]


def test_as_json_it_is_what_the_daemon_says(process: DaemonProcess, capsys: Output) -> None:
    """One object, for other programs."""
    code = main(["top", "--json", f"127.0.0.1:{status_port(process)}"])
    figures = json.loads(capsys.readouterr().out)

    assert code == 0
    assert figures["server"]["pid"] == process.pid
    assert {"listening", "totals", "sessions"} <= set(figures)


def test_a_mistake_is_one_line(server: RunningServer, capsys: Output, tmp_path: Path) -> None:
    """Nobody there or somebody else is exit code 1, what can't be meant is 2 (or 78)."""
    (tmp_path / "ca").write_text("nothing")
    asked = (
        ["http://127.0.0.1:1"],
        [f"http://127.0.0.1:{server.port}"],
        ["gopher://127.0.0.1"],
        ["--tls-ca", str(tmp_path / "ca"), "https://127.0.0.1:1"],
        ["--interval", "0"],
    )
    codes = [main(["top", *words]) for words in asked]
    lines = capsys.readouterr().err.splitlines()

    assert codes == [1, 1, 2, 78, 2]
    assert "is echod serve --status-port running there?" in lines[0]
    assert "name the --status-port of an echod serve" in lines[1]
    assert "gopher://127.0.0.1 can't be used" in lines[2]
    assert "can't use --tls-ca" in lines[3]
    assert len(lines) == 5


def test_a_terminal_without_a_screen_gets_the_table(process: DaemonProcess, tmp_path: Path) -> None:
    """A terminal that can't place its cursor, as in an editor, is not drawn on."""
    url = f"http://127.0.0.1:{status_port(process)}"
    line = ["env", "TERM=dumb", sys.executable, "-m", "echo", "top", url]
    terminal = Terminal(line, tmp_path)

    assert terminal.end() == 0
    assert b"listening  127.0.0.1 port" in terminal.screen
    assert b"\x1b" not in terminal.screen


def test_it_asks_by_https(capsys: Output, tmp_path: Path) -> None:
    """A status page behind a proxy that speaks TLS is asked with the authority given."""
    authority = Authority(tmp_path)
    with served_by_https(authority) as url:
        codes = main(["top", "--tls-ca", str(authority.ca), url]), main(["top", url])
    shown = capsys.readouterr()

    assert codes == (0, 1)
    assert "192.0.2.1:40000" in shown.out
    assert "certificate verify failed" in shown.err


@contextmanager
def served_by_https(authority: Authority) -> Iterator[str]:
    """Serve a page by HTTPS."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(page(1.0, ROW)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
