"""`echod ping`, `load` and `fuzz` as people use them: what they show, and how they end."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from echo.cli import main
from echo.client.cases import Case, FailedCase
from echo.client.fuzz import Fuzzer
from echo.client.sessions import LoadSession
from echo.testing import Faults, running_server
from tests import planted
from tests.process import ROOT
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.testing import RunningServer
    from tests.planted import Serve

# The keys of `--json`, as docs/tools.md lists them for each tool.
MANUAL = (ROOT / "docs" / "tools.md").read_text(encoding="utf-8")
PING_KEYS, LOAD_KEYS, FUZZ_KEYS = (
    keys.split() for keys in re.findall(r"Keys of `--json`: `([^`]+)`", MANUAL)
)
TOOLS = ("ping", "load", "fuzz")
BRIEF = {"ping": ["--count", "1"], "load": ["--duration", "0.1"], "fuzz": ["--max-size", "100"]}

Output = pytest.CaptureFixture[str]


def run(tool: str, address: tuple[str, int], *flags: str) -> int:
    """Run a tool in this process, and give its exit code."""
    return main([tool, address[0], str(address[1]), *flags])


def words(tool: str, address: tuple[str, int], *flags: str) -> list[str]:
    """Return the command line of a tool in a process of its own."""
    return [sys.executable, "-m", "echo", tool, address[0], str(address[1]), *flags]


def interrupted(
    tool: str, serve: Serve, ready: threading.Event, *flags: str
) -> tuple[int, str, str]:
    """Interrupt a tool once the server is ready for that; return its exit code and output."""
    with planted.planted(serve) as address:
        process = subprocess.Popen(
            words(tool, address, *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert ready.wait(seconds(60))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=seconds(60))
    return process.returncode, out, err


@contextmanager
def nobody() -> Iterator[tuple[str, int]]:
    """Keep an address at which nobody listens, and nobody else can."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()


# -- ping ----------------------------------------------------------------------------------


def test_ping_shows_each_reply_and_a_summary(server: RunningServer, capsys: Output) -> None:
    """As ping(8): a line for each reply, then the counts, the connect time and the figures."""
    code = run("ping", server.address, "--count", "3", "--interval", "0.01", "--size", "100")
    lines = capsys.readouterr().out.splitlines()

    assert code == 0
    assert lines[0] == f"PING 127.0.0.1 port {server.port}: 100 bytes each"
    assert lines[1].startswith(f"100 bytes from 127.0.0.1 port {server.port}: seq=1 time=")
    assert "3 sent, 3 received, 0 lost (0%), connect " in lines[5]
    assert lines[6].startswith("round trip min/avg/p50/p95/p99/max/stddev = ")


def test_ping_as_json_has_its_keys(server: RunningServer, capsys: Output) -> None:
    """One object on one line; times in milliseconds, in their order."""
    code = run("ping", server.address, "--count", "5", "--interval", "0", "--json", "--reconnect")
    figures = json.loads(capsys.readouterr().out)

    assert code == 0
    assert list(figures) == PING_KEYS
    assert figures["min_ms"] <= figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]
    assert figures["connect_ms"] > 0


def test_ping_is_a_health_check(server: RunningServer, capsys: Output) -> None:
    """`--count 1 --quiet` exits with 0 where the echo works, else with one line and 1."""
    well = run("ping", server.address, "--count", "1", "--quiet")
    capsys.readouterr()
    with planted.planted(planted.never_answers) as address:
        ill = run("ping", address, "--count", "1", "--quiet", "--timeout", "0.5")
    shown = capsys.readouterr()

    assert (well, ill) == (0, 1)
    assert shown.err.count("\n") == 1
    assert "no echo for 0.5 s" in shown.err


def test_some_replies_are_enough(capsys: Output) -> None:
    """As with ping(8), a loss is no failure as long as there is a reply."""
    with planted.planted(planted.resets_after(64)) as address:
        code = run("ping", address, "--count", "2", "--interval", "0")
    out = capsys.readouterr().out

    assert code == 0
    assert f"no reply from 127.0.0.1 port {address[1]}: seq=2: the server broke the stream" in out
    assert "2 sent, 1 received, 1 lost (50%)" in out


def test_ctrl_c_ends_ping_with_its_summary(server: RunningServer) -> None:
    """Without a count it runs until Ctrl-C, and then shows its summary."""
    process = subprocess.Popen(
        words("ping", server.address, "--interval", "0.01"), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=seconds(60))

    sent, received = map(int, re.findall(r"(\d+) sent, (\d+) received", out)[0])

    assert process.returncode == 0
    assert 2 <= received <= sent <= received + 1  # one may have been under way


def test_the_summary_begins_a_line_of_its_own(server: RunningServer) -> None:
    """After a Ctrl-C on a terminal the summary starts on a new line."""
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb") as terminal:
        process = subprocess.Popen(
            words("ping", server.address, "--interval", "0.01"), stdout=follower
        )
        os.close(follower)
        for _ in range(3):
            terminal.readline()
        process.send_signal(signal.SIGINT)
        lines = []
        with suppress(OSError):  # a terminal's way of saying that nobody writes any more
            while line := terminal.readline():
                lines.append(line)
        process.wait(seconds(60))
    summary = next(number for number, line in enumerate(lines) if line.startswith(b"---"))

    assert lines[summary - 1] == b"\r\n"


def test_ctrl_c_before_the_first_reply() -> None:
    """A Ctrl-C before the first reply is exit code 1."""
    with planted.planted(planted.never_answers) as address:
        process = subprocess.Popen(
            words("ping", address),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=seconds(60))

    assert process.returncode == 1
    assert "stopped before the first reply" in err


# -- load ----------------------------------------------------------------------------------


def test_load_shows_a_table_and_a_picture(server: RunningServer, capsys: Output) -> None:
    """The counts of each kind apart, the percentiles, and how the latencies are distributed."""
    code = run("load", server.address, "--duration", "0.2", "--sessions", "3", "--size", "1-1k")
    out = capsys.readouterr().out

    assert code == 0
    for name in ("exchanges", "p99.9 ms", "mismatches", "resets", "timeouts", "refused"):
        assert name in out
    assert "█" in out or "#" in out


def test_load_as_json_has_its_keys(server: RunningServer, capsys: Output) -> None:
    """One object on one line."""
    code = run("load", server.address, "--duration", "0.2", "--churn", "--json")
    figures = json.loads(capsys.readouterr().out)

    assert code == 0
    assert list(figures) == LOAD_KEYS
    assert figures["sessions"] == 10
    assert figures["received_bytes"] == 512 * figures["exchanges"] > 0


def test_a_mismatch_is_shown(capsys: Output) -> None:
    """The first one, with its offset, what was due and what came; exit code 1."""
    with planted.planted(planted.flips_one_in(1)) as address:
        code = run("load", address, "--duration", "0.1", "--json")
    shown = capsys.readouterr()

    assert code == 1
    assert json.loads(shown.out)["mismatches"] > 0
    assert " mismatches: the echo differs at offset " in shown.err
    assert "expected 0x" in shown.err


def test_other_troubles_are_exit_code_1_too(capsys: Output) -> None:
    """A load that lost something has failed."""
    with planted.planted(planted.ends_early) as address:
        code = run("load", address, "--duration", "0.1", "--json", "--sessions", "1")
    err = capsys.readouterr().err

    assert code == 1
    assert "other: first session 0: the server ended the stream" in err


def test_exchanges_that_never_began_are_time_outs(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Where no session failed, the count alone is reported."""
    # An exchange that has begun may take its time on a slow machine.
    monkeypatch.setattr(LoadSession, "overdue", lambda *_: False)
    with running_server(faults=Faults(delay=0.2)) as server:
        flags = ("--sessions", "1", "--rate", "100", "--duration", "200ms")
        code = run("load", server.address, *flags, "--timeout", "1s", "--json")
    shown = capsys.readouterr()

    assert code == 1
    assert json.loads(shown.out)["timeouts"] > 0
    assert re.search(r"^echod: load: \d+ timeouts$", shown.err, re.MULTILINE)


def test_a_tls_server_is_recognized_by_its_alert(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """An answer that is a TLS alert is named as such."""
    # Of random payloads one in 256 begins as an alert does, and differs only after that.
    monkeypatch.setattr(random.Random, "randbytes", lambda _, count: bytes(count))

    def alerts(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(b"\x15\x03\x03\x00\x02\x02\x46")

    with planted.planted(alerts) as address:
        code = run("load", address, "--sessions", "1", "--duration", "0.1", "--size", "600")
    err = capsys.readouterr().err

    assert code == 1
    assert "that is a TLS alert: add --tls" in err


def test_ctrl_c_ends_load_with_its_figures(server: RunningServer) -> None:
    """A Ctrl-C ends the load, and its figures are shown."""
    process = subprocess.Popen(
        words("load", server.address, "--duration", "60", "--json"),
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: server.received_bytes > 10_000)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=seconds(60))

    assert process.returncode == 0
    assert json.loads(out)["exchanges"] > 0


def test_ctrl_c_before_the_first_exchange() -> None:
    """Then there is nothing to show, and that is no success."""
    sent = threading.Event()

    def takes_all(sock: socket.socket) -> None:
        for _ in planted.reads(sock):
            sent.set()

    code, _, err = interrupted("load", takes_all, sent, "--timeout", "60")

    assert code == 1
    assert "stopped before the first exchange" in err


def test_more_sessions_than_descriptors_are_refused(server: RunningServer) -> None:
    """The soft limit is raised as far as it goes; beyond, one line says what is possible."""
    pytest.importorskip("resource")
    code_low = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {1}))"
    start = "import sys; from echo.cli import main; sys.exit(main(sys.argv[1:]))"
    flags = words("load", server.address, "--duration", "0.2", "--sessions", "150")[3:]
    raised, refused = (
        subprocess.run(
            [sys.executable, "-c", f"{code_low.format(64, most)}\n{start}", *flags],
            capture_output=True,
            text=True,
            check=False,
        )
        for most in (512, 100)
    )

    assert (raised.returncode, raised.stderr) == (0, "")
    assert refused.returncode == 2
    assert refused.stderr == ("echod: load: --sessions must be at most 84 here: raise ulimit -Hn\n")


def on_terminal(enough: str, *command: str) -> str:
    """Run a command with its stderr on a terminal; press Ctrl-C once that has shown `enough`.

    Return all that it has shown.
    """
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", closefd=True) as terminal:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower)
        os.close(follower)
        shown, is_struck = b"", False
        try:
            while data := terminal.read1(65536):  # type: ignore[attr-defined]
                shown += data
                if not is_struck and re.search(enough, shown.decode()):
                    process.send_signal(signal.SIGINT)
                    is_struck = True
        except OSError:  # a terminal's way of saying that nobody writes any more
            pass
        process.wait(seconds(60))
    return shown.decode()


def test_load_shows_its_progress_on_a_terminal(server: RunningServer) -> None:
    """Seconds, sessions, rate, p99, errors: one line, which is gone at the end."""
    line = r"2/2 sessions, \d+/s, p99 \d+\.\d+ ms, 0 errors\x1b\[K"
    command = words("load", server.address, "--duration", "60", "--sessions", "2")
    shown = on_terminal(line, *command)

    assert re.search(line, shown)
    assert shown.endswith("\r\x1b[K")


# -- fuzz ----------------------------------------------------------------------------------


def test_fuzz_says_that_it_found_nothing(server: RunningServer, capsys: Output) -> None:
    """The output has the number of cases, and the seed to repeat them."""
    flags = ("--max-examples", "20", "--max-size", "5000", "--seed", "7", "--deadline", "20")
    code = run("fuzz", server.address, *flags)
    out = capsys.readouterr().out

    assert code == 0
    assert "cases tried with seed 7: every echo came back right" in out


def test_fuzz_shows_the_smallest_case(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """The payload, its length, the steps, what was wrong, and a line for nc."""
    with planted.planted(planted.loses_after_half_close(monkeypatch)) as address:
        code = run("fuzz", address, "--max-size", "1000", "--deadline", "20")
    shown = capsys.readouterr()
    lines = [line.strip() for line in shown.out.splitlines()]

    assert code == 1
    assert lines[1:3] == ["payload of 1 byte", r"1. send b'\x00'"]
    assert lines[3] == "2. half-close at once"
    assert lines[5] == rf"with nc: printf '\000' | nc -N 127.0.0.1 {address[1]} | od -c"
    assert shown.err.startswith(f"echod: fuzz: 127.0.0.1 port {address[1]} gets a case wrong: ")


def test_fuzz_as_json(capsys: Output) -> None:
    """The case in fields; none where nothing was found."""
    with planted.planted(planted.sends_more) as address:
        flags = ("--no-half-close", "--max-size", "1000", "--deadline", "20")
        wrong = run("fuzz", address, "--json", *flags)
    found = json.loads(capsys.readouterr().out)
    with planted.planted(planted.right) as address:
        flags = ("--max-size", "100", "--max-examples", "5", "--deadline", "20")
        right = run("fuzz", address, "--json", *flags)
    nothing = json.loads(capsys.readouterr().out)

    assert (wrong, right) == (1, 0)
    assert list(found) == list(nothing) == FUZZ_KEYS
    assert found["case"]["payload"] == r"b'\x00'"
    assert (found["case"]["length"], found["case"]["half_close"]) == (1, False)
    assert (nothing["case"], nothing["problem"], nothing["nc"]) == (None, None, None)


def test_a_case_that_nc_can_t_do_has_no_line(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Pieces without a pause between them are nothing that nc could promise.

    No server can be sure to see them either, since the network may join them: so the finding is
    made here.
    """
    case = Case((b"a", b"b"), (0, 0), half_close=False)

    def search(fuzzer: Fuzzer) -> None:
        fuzzer.finding = FailedCase(case, "a wrong echo")

    monkeypatch.setattr(Fuzzer, "search", search)
    code = run("fuzz", server.address)
    out = capsys.readouterr().out

    assert code == 1
    assert out.count("send") == 2
    assert "nc" not in out


@pytest.mark.parametrize(
    ("first", "code", "says"),
    [(planted.right, 130, ""), (planted.sends_more, 1, "payload of 1 byte")],
)
def test_ctrl_c_ends_fuzz_with_what_it_has_found(first: Serve, code: int, says: str) -> None:
    """A case that is not the smallest yet is better than none."""
    bytes_seen, later = threading.Event(), threading.Event()

    def serve(sock: socket.socket) -> None:
        if bytes_seen.is_set():  # a later case: it waits here for its echo
            later.set()
            threading.Event().wait(seconds(60))  # past the client's end of stream, too
        elif sock.recv(1, socket.MSG_PEEK):
            bytes_seen.set()
            first(sock)

    got, out, _ = interrupted("fuzz", serve, later, "--max-size", "1000", "--deadline", "60")

    assert got == code
    assert says in out


EARLY = """
import os, runpy, signal, sys

class Strike:
    def find_spec(self, name, path, target=None):
        if name == "cyclopts":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Strike())
sys.argv[0] = "echod"
runpy.run_module("echo", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", 130),
        ("ping serve 9000", 130),
        ("serve --port 0", 0),
        ("--config serve ping", 130),
        ("--config=x.toml serve", 0),
        ("help serve", 130),
    ],
)
def test_ctrl_c_while_a_command_is_still_imported(line: str, code: int) -> None:
    """A Ctrl-C during the imports stops a daemon with success, any other command with 130."""
    done = subprocess.run(
        [sys.executable, "-c", EARLY, *line.split()], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_second_ctrl_c_changes_nothing(server: RunningServer) -> None:
    """A Ctrl-C while the interpreter exits is ignored."""
    code = (
        "import atexit, os, signal, sys, echo.__main__ as command\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "sys.exit(command.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words("ping", server.address, "--count", "1")[3:]],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


STRUCK = """
import gc, os, signal, sys
from echo.cli import main

def strike(phase, info):
    gc.callbacks.remove(strike)
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # the interpreter looks for signals now and then
        pass

def connects(event, _):
    if event == "socket.connect" and not struck:
        struck.append(event)
        gc.callbacks.append(strike)
        gc.collect()

struck = []
sys.addaudithook(connects)
sys.exit(main(["fuzz", *sys.argv[1:], "--max-examples", "1000000"]))
"""


def test_ctrl_c_is_not_lost_in_the_garbage_collector(server: RunningServer) -> None:
    """A Ctrl-C during a garbage collection ends the search as any other."""
    address = (server.host, str(server.port))
    done = subprocess.run(
        [sys.executable, "-c", STRUCK, *address],
        capture_output=True,
        text=True,
        timeout=seconds(60),
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_fuzz_without_hypothesis_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """One line, and no traceback."""
    monkeypatch.delitem(sys.modules, "echo.client.fuzz", raising=False)
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    code = main(["fuzz"])

    assert code == 2
    err = capsys.readouterr().err
    pip = f"{sys.executable} -m pip install "
    assert err.startswith(f"echod: fuzz: hypothesis is not installed: {pip}")
    assert "echo-daemon[fuzz]" in err or err.endswith("[fuzz]'\n")


# -- all three -----------------------------------------------------------------------------


@pytest.mark.parametrize("tool", TOOLS)
def test_an_unknown_host_is_one_line(tool: str, capsys: Output) -> None:
    """A name that doesn't exist is one line and exit code 2."""
    code = run(tool, ("a..b", 9000), *BRIEF[tool])
    shown = capsys.readouterr()

    assert code == 2
    assert shown.err == (
        f"echod: {tool}: can't connect to a..b port 9000: Name or service not known; "
        "check the name\n"
    )


@pytest.mark.parametrize("tool", TOOLS)
def test_a_refused_port_is_one_line(tool: str, capsys: Output) -> None:
    """A refused connection is one line and exit code 1."""
    with nobody() as address:
        code = run(tool, address, *BRIEF[tool])
    shown = capsys.readouterr()

    assert code == 1
    assert shown.err.count("\n") == 1
    assert "Connection refused" in shown.err


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    "serve", [planted.closes_at_once, planted.sends_more, planted.never_answers]
)
def test_a_bad_server_is_one_line(tool: str, serve: Serve, capsys: Output) -> None:
    """A server that closes at once, that sends more, that never answers: exit code 1."""
    quick = {"ping": "--timeout", "load": "--timeout", "fuzz": "--deadline"}[tool]
    with planted.planted(serve) as address:
        code = run(tool, address, *BRIEF[tool], quick, "0.1")
    shown = capsys.readouterr()

    assert code == 1
    assert shown.err.startswith(f"echod: {tool}: ")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("ping --size 0", "--size"),
        ("ping --size 99999999999", "--size"),
        ("ping --count -1", "--count"),
        ("ping --interval nan", "--interval"),
        ("ping --timeout 0", "--timeout"),
        ("ping --timeout inf", "--timeout"),
        ("load --size 5-1", "--size"),
        ("load --rate fast", "--rate"),
        ("load --rate -1", "--rate"),
        ("load --sessions 0", "--sessions"),
        ("load --duration nan", "--duration"),
        ("load --churn=-1", "--churn"),
        ("fuzz --max-examples 0", "--max-examples"),
        ("fuzz --max-size -1", "--max-size"),
        ("fuzz --deadline 0", "--deadline"),
        ("fuzz --seed x", "--seed"),
        ("ping host 0", "PORT"),
        ("serve --fault nothing", "--fault"),
    ],
)
def test_nonsense_is_a_usage_error(command: str, flag: str, capsys: Output) -> None:
    """A value out of range is one line that names its flag, and exit code 2."""
    code = main(command.split())
    err = capsys.readouterr().err

    assert code == 2
    assert err.count("\n") == 1
    assert flag in err


@pytest.mark.parametrize("tool", TOOLS)
def test_a_closed_output_is_one_line(tool: str, server: RunningServer) -> None:
    """A closed standard output is one line, before any work is done."""
    done = subprocess.run(
        words(tool, server.address, *BRIEF[tool]),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.close(1),
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == (f"echod: {tool}: standard output is closed: redirect it to a file\n")


def test_a_stopped_terminal_does_not_stop_the_load(server: RunningServer) -> None:
    """A stopped terminal blocks the progress line only."""
    leader, follower = pty.openpty()
    os.set_blocking(follower, False)
    with suppress(BlockingIOError):
        while True:  # until it takes no more, so that the writer waits
            os.write(follower, bytes(4096))
    os.set_blocking(follower, True)
    try:
        done = subprocess.run(
            words("load", server.address, "--duration", "0.8", "--json"),
            stdout=subprocess.PIPE,
            stderr=follower,
            timeout=seconds(60),
            check=False,
        )
    finally:
        os.close(leader)
        os.close(follower)

    assert json.loads(done.stdout)["exchanges"] > 0
