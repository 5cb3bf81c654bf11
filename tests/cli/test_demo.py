"""`echod demo`: what it shows of its sockets is what the system shows of them."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from echo.cli import main
from echo.cli.demo import kernel, play, theatre
from echo.cli.failure import Failure
from tests.cli.test_connect import Terminal
from tests.debian import need
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Output = pytest.CaptureFixture[str]

DEMO = [sys.executable, "-m", "echo", "demo"]
PROMPT = b"-- any key goes on --"
STYLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ROW = re.compile(
    r"^(server|client) +(\d+|-)  ([a-z]* ?[ABC]?) +([\d.]+:\d+)"  # the ends
    r"  ([\d.:*]+) +(\d+)  ([A-Z_0-9]+)\s*$"
)
# How ss(8) calls the states.
SS_STATES = {"ESTAB": "ESTABLISHED"}


class Shown(NamedTuple):
    """One row of a table."""

    side: str
    fd: str
    socket: str
    local: str
    peer: str
    queue: str
    state: str


def tables(text: str) -> list[list[Shown]]:
    """Return the tables of a text, in their order."""
    found: list[list[Shown]] = []
    for line in STYLE.sub("", text).splitlines():
        if "local address  " in line:
            found.append([])
        elif match := ROW.match(line):
            found[-1].append(Shown(*(field.strip() for field in match.groups())))
    return found


def open_at(table: list[Shown]) -> Counter[str]:
    """Count the sockets of each kind that the server has a descriptor of."""
    return Counter(row.socket.split()[0] for row in table if row.side == "server" and row.fd != "-")


def told(capsys: Output, *flags: str) -> str:
    """Run it in this process, without a terminal, and return its output."""
    assert main(["demo", *flags]) == 0
    return capsys.readouterr().out


# -- what it shows ------------------------------------------------------------------------


def test_the_model_is_shown_step_by_step(capsys: Output) -> None:
    """One listening socket, and one more for each client; each state has its table."""
    shown = tables(told(capsys, "--fast"))
    open_there = [open_at(table) for table in shown]
    states = {row.state for table in shown for row in table}

    assert [here["listening"] for here in open_there] == [1] * (len(shown) - 2) + [0] * 2
    assert [here["session"] for here in open_there][:6] == [0, 0, 1, 1, 3, 3]
    assert {"LISTEN", "ESTABLISHED", "FIN_WAIT2", "CLOSE_WAIT"} <= states
    crowd = shown[4]
    assert len({row.local for row in crowd if row.side == "server"}) == 1
    assert len({(row.local, row.peer) for row in crowd}) == len(crowd) == 7


def test_others_that_come_and_go_leave_the_table_whole() -> None:
    """A row is neither missing nor there twice, however many connections are made meanwhile."""
    over = threading.Event()

    def come_and_go(listener: socket.socket) -> None:
        while not over.is_set():
            with ExitStack() as many:
                for _ in range(100):
                    sock = many.enter_context(socket.create_connection(listener.getsockname()))
                    # A reset leaves no row that waits for a minute.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    many.enter_context(listener.accept()[0])

    with ExitStack() as stack:
        ours, others = (
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)
        )
        for _ in range(3):
            stack.enter_context(socket.create_connection(ours.getsockname()))
            stack.enter_context(ours.accept()[0])
        thread = threading.Thread(target=come_and_go, args=(others,))
        thread.start()
        address = ours.getsockname()
        reads = [kernel.sockets(address[1]) for _ in range(40)]
        over.set()
        thread.join()

    # Other programs may have the same port number, at another address.
    whole = [[row for row in rows if address in (row.local, row.peer)] for rows in reads]
    assert {len(rows) for rows in whole} == {7}


def test_in_a_pipe_it_is_plain_and_80_columns_wide(capsys: Output) -> None:
    """No escape sequences, and nothing that a terminal of the usual width would wrap."""
    text = told(capsys, "--fast")

    assert "\x1b" not in text
    assert "It takes" not in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_what_it_says_is_what_it_shows(capsys: Output) -> None:
    """The numbers in the words are those of the tables."""
    text = told(capsys, "--fast")
    shown = tables(text)
    listener, session = shown[2][0], shown[2][1]
    counts = re.findall(r"^server: (\d) listening sockets? \+ (\d) session sockets?", text, re.M)

    assert f"accept({listener.fd}) gave a new descriptor: {session.fd}." in text
    assert f"bind() tied it to 127.0.0.1 port {listener.local.partition(':')[2]};" in text
    assert shown[1][0].queue == "1"
    assert shown[1][1][:3] == ("server", "-", "queued A")
    assert shown[3][1].queue == "13"
    assert shown[5][1].queue == "12"
    assert "recv(" + session.fd + ") gave 13 bytes: hello\\nkernel\\n" in text
    assert "4 sockets of the server share 1 local address." in text
    assert "fails: Address already in use" in text or "table is full" in text
    assert counts == [
        (str(here["listening"]), str(here["session"])) for here in map(open_at, shown)
    ]


def test_the_system_s_own_tool_shows_the_same(tmp_path: Path) -> None:
    """At each table, ss(8) knows the same sockets, in the same states, with these descriptors."""
    ss = need("ss")
    terminal = Terminal([*DEMO, "--fast", "--step"], tmp_path)
    compared = []
    while prompted(terminal, len(compared) + 1):
        found = tables(terminal.screen.decode())
        port = found[0][0].local.rpartition(":")[2]
        compared.append((asked(ss, terminal.process.pid, port), rows_of(found[-1])))
        os.write(terminal.master, b"\x1b[99~ ")  # no key, and a key

    assert terminal.end() == 0
    assert len(compared) > 8
    assert [known for known, _ in compared] == [shown for _, shown in compared]


def prompted(terminal: Terminal, count: int) -> bool:
    """Go on to the prompt after the next table; return False at the end."""
    pressed = set()

    def there() -> bool:
        screen = terminal.screen  # it grows meanwhile
        shown = len(tables(screen.decode(errors="replace")))
        asked = screen.endswith(b"\r\n\r\n" + PROMPT)
        if screen.endswith(PROMPT) and not asked and len(screen) not in pressed:
            pressed.add(len(screen))  # after the last words of an act
            os.write(terminal.master, b" ")
        return (asked and shown == count) or terminal.process.poll() is not None

    wait_until(there)
    return terminal.process.poll() is None


def rows_of(table: list[Shown]) -> set[tuple[str, ...]]:
    """Return the part of a table that ss shows, too."""
    return lasting((row.fd, row.local, row.peer, row.queue, row.state) for row in table)


def asked(ss: str, pid: int, port: str) -> set[tuple[str, ...]]:
    """Ask ss(8) for the sockets of a port."""
    line = [ss, "-Htanp", f"sport = :{port} or dport = :{port}"]
    found = []
    for row in subprocess.run(line, capture_output=True, text=True, check=True).stdout.splitlines():
        state, queue, _, here, there, *users = row.split()
        state = SS_STATES.get(state, state.replace("-WAIT-", "_WAIT").replace("-", "_"))
        fd = re.search(rf"pid={pid},fd=(\d+)", " ".join(users))
        peer = "*" if there.endswith(":*") else there
        found.append((fd.group(1) if fd else "-", here, peer, queue, state))
    return lasting(found)


def lasting(rows: Iterable[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Leave out what time alone changes: TIME_WAIT ends, and so does the server's linger."""
    lingering = {("-", *row[1:]) if row[-1] == "FIN_WAIT2" else row for row in rows}
    return {row for row in lingering if row[-1] != "TIME_WAIT"}


def test_the_queue_s_length_is_the_system_s() -> None:
    """What may wait in the queue is what ss(8) shows of the listening socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=7) as listener:
        port = listener.getsockname()[1]
        line = [need("ss"), "-Htln", f"sport = :{port}"]
        row = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()

        assert kernel.backlog(listener) == int(row[2]) == 7


# -- systems that differ ------------------------------------------------------------------


def test_without_the_kernel_s_table_it_goes_without(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no /proc the states are left out, and said to be."""
    monkeypatch.setattr(kernel, "TABLE", Path("/proc/nowhere"))
    monkeypatch.setattr(kernel, "backlog", lambda _listener: None)
    text = told(capsys, "--fast")

    assert "This system has no /proc/nowhere: the kernel's states are left out." in text
    assert "recv-q" not in text
    assert "kernel   Handshake done" not in text
    assert "server: 1 listening socket + 3 session sockets" in text


def test_without_a_second_address_the_first_must_do(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where 127.0.0.2 is nobody's, the third client is another one of the same peer."""
    monkeypatch.setattr(play, "OTHER_HOST", "192.0.2.1")
    text = told(capsys, "--fast")

    assert "client C This system has no 192.0.2.1: 127.0.0.1 must do." in text


def test_a_full_table_of_ended_connections_is_said(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy system may have no place for TIME_WAIT: then it is not claimed."""
    sockets = kernel.sockets
    monkeypatch.setattr(
        kernel, "sockets", lambda port: [s for s in sockets(port) if s.state != "TIME_WAIT"]
    )
    text = told(capsys, "--fast")

    assert "A's end should be in TIME_WAIT now, but this system's table is full." in text
    assert "This time TIME_WAIT" not in text


def test_a_table_that_was_read_while_it_changed_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is open here has to be in it; within bounds, or the table is what there is."""
    sockets = kernel.sockets
    answers = [[], []]
    monkeypatch.setattr(kernel, "sockets", lambda port: answers.pop() if answers else sockets(port))
    with theatre.Theatre() as empty:
        again = empty.sockets()
        monkeypatch.setattr(theatre, "PATIENCE", 0)
        monkeypatch.setattr(kernel, "sockets", lambda _port: [])
        nothing = empty.sockets()

    assert [row.role for row in again] == ["listening"]
    assert nothing == []


@pytest.mark.parametrize("ends", [True, False])
def test_what_bind_says_is_what_is_told(
    capsys: Output, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Where nothing is in TIME_WAIT the port is free, and it is said when it would not be."""
    monkeypatch.setattr(
        play, "_bind", lambda _play, reuse=False: "fails" if ends and not reuse else "works"
    )
    text = told(capsys, "--fast")

    assert ("would keep the first off" in text) == (not ends)


def test_strangers_at_the_same_port_are_left_out(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port may have been another server's before, whose connections are still in TIME_WAIT."""
    sockets = kernel.sockets

    def with_a_stranger(port: int) -> list[kernel.TcpSocket]:
        ends = ("127.0.0.1", port), ("127.0.0.9", 9)
        return [kernel.TcpSocket(*ends, "TIME_WAIT", 0, None, 9.0), *sockets(port)]

    monkeypatch.setattr(kernel, "sockets", with_a_stranger)

    assert "127.0.0.9" not in told(capsys, "--fast")


def test_a_state_that_never_comes_is_a_failure(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait has its deadline; one line says what was waited for, and what there was."""
    monkeypatch.setattr(kernel, "sockets", lambda _port: [])
    monkeypatch.setattr(theatre, "PATIENCE", 0.05)

    assert main(["demo", "--fast"]) == 1
    assert capsys.readouterr().err == (
        "echod: demo: not within 0.05 s: the ends of A's connection are "
        "('ESTABLISHED', 'ESTABLISHED'), not (None, None)\n"
    )


def test_a_system_without_loopback_says_so(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network refuses is one line."""
    monkeypatch.setattr(theatre, "HOST", "192.0.2.1")

    assert main(["demo", "--fast"]) == 1
    assert capsys.readouterr().err == (
        "echod: demo: the network of this system failed: Cannot assign requested address\n"
    )


def test_a_client_that_can_not_connect_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no other address to try than the usual one."""
    with theatre.Theatre() as empty:
        monkeypatch.setattr(empty, "address", ("127.0.0.1", 1))
        with pytest.raises(ConnectionRefusedError):
            empty.connect("A")


def test_an_echo_that_ends_early_is_a_failure() -> None:
    """What was to come back is waited for, all of it."""
    *before, talk = [act for _, act in play.acts()[:4]]
    with theatre.Theatre() as opened:
        for act in before:
            list(act(opened))
        opened.session("A").sock.shutdown(socket.SHUT_WR)

        with pytest.raises(Failure, match="the echo ended after 0 of 13 bytes"):
            list(talk(opened))


# -- pace, keys, ends ---------------------------------------------------------------------


def test_in_a_pipe_it_takes_the_time_that_it_announces(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without keys it pauses for reading, three minutes in all, and names the flag against it."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    text = told(capsys)

    assert text.startswith("One echo server and three clients")
    assert "It takes about three minutes; --fast leaves the pauses out." in text
    assert 150 < sum(pauses) < 210


def test_steps_need_a_terminal(capsys: Output) -> None:
    """Without keys nobody could go on."""
    assert main(["demo", "--step"]) == 2
    assert "--step needs a terminal" in capsys.readouterr().err


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Run it on a terminal, as far as its first line."""
    found = Terminal(DEMO, tmp_path)
    try:
        wait_until(lambda: b"an end without an address." in found.screen)
        yield found
    finally:
        found.process.kill()
        found.process.wait()


def test_a_key_goes_on_at_once(terminal: Terminal) -> None:
    """A key ends the pause, and isn't shown."""
    os.write(terminal.master, b" x" * 60)
    wait_until(lambda: b"docs/from-c.md" in terminal.screen)

    assert terminal.end() == 0
    assert b"any key goes on at once" in terminal.screen
    assert b"xx" not in terminal.screen.replace(b" ", b"")
    assert b"\x1b[1;32mserver" in terminal.screen  # in colour


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_end_gives_the_terminal_back(terminal: Terminal, number: int, code: int) -> None:
    """Ctrl-C, TERM and a hang-up end it cleanly, with the codes that shells give them."""
    during = termios.tcgetattr(terminal.master)[3]
    terminal.process.send_signal(number)
    got = terminal.process.wait(seconds(60))
    after = termios.tcgetattr(terminal.master)[3]

    assert got == code
    assert not during & termios.ECHO
    assert after & termios.ECHO
    assert b"Traceback" not in terminal.screen
