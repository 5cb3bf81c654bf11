"""The daemon as a process: start, serve, answer signals, stop. Each test ends with all promises."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import handler_of
from tests.debian import need
from tests.process import limits_of
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from echo import EchoClient
    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]

# Seconds after which a session that says nothing waits with the others in the compiled loop.
SILENCE = 0.1


def test_it_serves_and_logs_who_came(daemon: Start) -> None:
    """A session has its accepted and its closed line, with the peer and the bytes."""
    process = daemon()
    with process.client() as client:
        client.echo(b"hello")
        port = client.sock.getsockname()[1]
    accepted = process.wait_for("session.accepted")[0]
    closed = process.wait_for("session.closed")[0]

    assert (accepted["peer_ip"], accepted["peer_port"]) == ("127.0.0.1", port)
    assert accepted["active_sessions"] == 1
    assert (closed["reason"], closed["received_bytes"], closed["sent_bytes"]) == ("eof", 5, 5)
    assert closed["session_id"] == accepted["session_id"]


@pytest.mark.once
@pytest.mark.parametrize("loop", ["python", "compiled"])
def test_the_log_says_which_loop_it_is(daemon: Start, loop: str) -> None:
    """`server.started` names the loop, and each of them can be asked for."""
    handler_of(loop)
    process = daemon("--loop", loop)

    assert process.started["loop"] == loop


def test_hup_reopens_the_log(daemon: Start) -> None:
    """After a rename, HUP begins a new file; nothing is lost between the two."""
    process = daemon()
    moved = process.log.rename(process.log.with_name("echo.jsonl.1"))
    with process.client() as client:
        client.echo(b"1")
    wait_until(lambda: b"session.closed" in moved.read_bytes())
    process.send(signal.SIGHUP)
    reopened = process.wait_for("log.reopened")[0]
    with process.client() as client:
        client.echo(b"2")
    process.wait_for("session.closed", 2)

    assert reopened["path"] == str(process.log)
    assert process.log.read_bytes().count(b"session.closed") == 1


def test_usr1_shows_the_state(daemon: Start) -> None:
    """USR1 logs sessions, bytes, threads and losses."""
    process = daemon()
    asked = count(1)

    def counted() -> bool:  # the echo may be here before the thread that sent it has counted it
        process.send(signal.SIGUSR1)
        return bool(process.wait_for("server.state", next(asked))[-1]["sent_bytes"] == 5)

    with process.client() as client:
        client.echo(b"hello")
        wait_until(counted)
    state = process.events("server.state")[-1]

    assert (state["active_sessions"], state["accepted"], state["closed"]) == (1, 1, 0)
    assert (state["received_bytes"], state["sent_bytes"]) == (5, 5)
    assert state["log_dropped"] == 0
    assert state["threads"] >= 3


@pytest.mark.once
@pytest.mark.parametrize("loop", ["python", "auto"])
@pytest.mark.parametrize("level", ["info", "debug"])
def test_usr2_switches_debug_events(daemon: Start, level: str, loop: str) -> None:
    """Payload shows between one USR2 and the next, or the other way round."""
    process = daemon("--log-level", level, "--loop", loop)
    with process.client() as client:
        for turn in range(3):
            client.echo(b"turn %d" % turn)
            process.send(signal.SIGUSR2)
            process.wait_for("server.state", turn + 1)
    shown = [line["preview"] for line in process.events("session.data")]
    switched = [line["log_payload"] for line in process.events("server.state")]

    assert shown == (["turn 1"] if level == "info" else ["turn 0", "turn 2"])
    assert switched == ([True, False, True] if level == "info" else [False, True, False])


@pytest.mark.once
def test_debug_shows_each_read(daemon: Start) -> None:
    """At debug level each read has its size and the beginning of its bytes, escaped."""
    process = daemon("--log-level", "debug")
    with process.client() as client:
        client.echo(b'a\n\0"\xff')
    shown = process.wait_for("session.data")[0]

    assert (shown["bytes"], shown["preview"]) == (5, 'a\\n\\x00"\\xff')


@pytest.mark.once
def test_only_errors_are_logged_if_only_errors_are_wanted(daemon: Start) -> None:
    """`--log-level error` writes no lines for sessions."""
    process = daemon("--log-level", "error", started=False)
    wait_until(process.log.exists)
    wait_until(lambda: process.threads() >= 3, what="its accept thread")
    code = process.stop()

    assert code == 0
    assert process.log.read_bytes() == b""
    process.log.unlink()  # there are no totals to check


@pytest.mark.once
def test_sessions_are_clamped_to_the_descriptors(daemon: Start) -> None:
    """More sessions than descriptors are reduced, with a warning, and the log shows how many."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (50, 64))

    process = daemon("--max-sessions", "100", before=few)
    process.expect_stderr = process.stderr

    assert 1 <= limits_of(process)["max_sessions"] < 64
    assert process.stderr.count(b"\n") == 1
    assert b"--max-sessions 100 is more than the descriptors allow" in process.stderr


@pytest.mark.once
def test_the_soft_limit_is_raised(daemon: Start) -> None:
    """A low soft limit alone doesn't reduce the sessions."""

    def few() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    process = daemon("--max-sessions", "200", before=few)

    assert limits_of(process)["max_sessions"] == 200


@pytest.mark.once
def test_several_daemons_share_a_port(daemon: Start) -> None:
    """With `--reuse-port` a second daemon listens on the first one's port, on any processor."""
    first = daemon("--reuse-port")
    second = daemon("--reuse-port", "--port", str(first.port))
    for _ in range(20):
        with first.client() as client:
            client.echo(b"whoever")
    wait_until(lambda: len(first.events("session.closed") + second.events("session.closed")) == 20)

    assert second.port == first.port
    assert os.sched_getaffinity(second.pid) == os.sched_getaffinity(0)


def roaming(process: DaemonProcess) -> list[set[int]]:
    """Return where each thread may run that has left the daemon's scheduling class."""
    threads = [int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir()]
    return [os.sched_getaffinity(t) for t in threads if os.sched_getscheduler(t) == os.SCHED_OTHER]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor only")
def test_sessions_that_last_use_every_processor(daemon: Start) -> None:
    """In the compiled loop they leave the daemon's class; on duty they have a processor each."""
    handler_of("compiled")
    process = daemon("--cpu", str(max(os.sched_getaffinity(0))))
    looks: list[list[set[int]]] = []

    def look() -> bool:
        """Look who roams after one exchange; a look that is late for the first one is none."""
        began = time.monotonic()
        with process.client() as client:
            client.echo(b"once")
            found = roaming(process)
        in_time = time.monotonic() - began < SILENCE
        looks.extend([found] * in_time)
        wait_until(lambda: roaming(process) == [], what="it is back")
        return in_time

    # One session at a time: a second that is silent for a second waits in that class, too.
    wait_until(look, 60, "a look in time")
    with process.client() as first, process.client() as second:
        for _ in range(21):
            first.echo(b"again and again")
            second.echo(b"again and again")
        wait_until(lambda: [len(r) for r in roaming(process)] == [1, 1], what="both are on duty")
        one, other = roaming(process)
    wait_until(lambda: roaming(process) == [], what="all are back")

    assert looks == [[]]
    assert one != other


def use(client: EchoClient, number: int) -> None:
    """End a session in one of four ways: end of stream, reset, byte limit, close."""
    client.echo(bytes(number))
    if number % 4 == 0:
        client.finish()
    elif number % 4 == 1:
        client.reset()
    elif number % 4 == 2:
        client.echo(bytes(1000 - number))
    else:
        client.close()


@pytest.mark.long
def test_three_hundred_sessions_ended_in_every_way(daemon: Start) -> None:
    """300 sessions with every kind of end leave 300 accepted and 300 closed lines, all right."""
    process = daemon("--max-bytes", "1000", "--drain-timeout", "20")
    impatient = daemon("--idle-timeout", "1")  # apart: the others may be slow, and aren't idle
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(impatient.client())
        for number in range(200):
            use(stack.enter_context(process.client()), number)
        process.wait_for("session.closed", 200)
        for _ in range(50):
            stack.enter_context(process.client())
        process.wait_for("session.accepted", 250)
        impatient.wait_for("session.closed", 50)
        codes = process.stop(), impatient.stop()
    closed = process.events("session.closed") + impatient.events("session.closed")
    received = sum(line["received_bytes"] for line in closed)

    assert (codes, process.stderr) == ((0, 0), b"")
    assert Counter(line["reason"] for line in closed) == {
        "eof": 100,
        "reset": 50,
        "byte_limit": 50,
        "idle_timeout": 50,
        "drained": 50,
    }
    assert received == sum(1000 if number % 4 == 2 else number for number in range(200))


@pytest.mark.once
def test_connections_wait_in_a_long_backlog(daemon: Start) -> None:
    """The listening socket's backlog is what the system allows, not socketserver's five."""
    process = daemon()
    allowed = int(Path("/proc/sys/net/core/somaxconn").read_text())

    assert listening_backlog(process.port) == min(4096, allowed)


def listening_backlog(port: int) -> int:
    """Ask the kernel for a listening socket's backlog, by way of ss."""
    shown = subprocess.run(
        [need("ss"), "-ltn", f"src 127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds(60),
    )
    return int(shown.stdout.splitlines()[1].split()[2])
