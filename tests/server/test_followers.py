"""Sessions that last wait together in the compiled loop: each may end, and all others go on."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest

from echo import Limits
from echo.testing import running_server
from tests.conftest import check_events, handler_of
from tests.process import ROOT
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from echo.testing import RunningServer
    from tests.conftest import Serve
    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]
    Compiled = Callable[..., AbstractContextManager[RunningServer]]

LASTING = 20  # exchanges after which a session waits with the others


@pytest.fixture
def compiled() -> Compiled:
    """Return `running_server` with the compiled loop, or skip the test."""
    return partial(running_server, handler=handler_of("compiled"))


@pytest.fixture
def connect() -> Iterator[Callable[[int], socket.socket]]:
    """Connect to a port, and close what a test leaves open."""
    with ExitStack() as left:

        def connected(port: int) -> socket.socket:
            sock = socket.create_connection(("127.0.0.1", port), seconds(20))
            return left.enter_context(sock)

        yield connected


def exchange(sock: socket.socket, message: bytes = b"hello") -> None:
    """Send a message and take its echo."""
    sock.sendall(message)
    assert receive(sock, len(message)) == message


def receive(sock: socket.socket, count: int) -> bytes:
    """Return `count` bytes, fewer only at the end of the stream."""
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def last(sock: socket.socket) -> socket.socket:
    """Exchange messages until the session waits with the others."""
    for _ in range(LASTING):
        exchange(sock)
    return sock


@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
def test_duty_is_handed_over(
    compiled: Compiled, connect: Callable[[int], socket.socket], order: int
) -> None:
    """When a session ends, on duty or not, the others are echoed for."""
    with compiled() as server:
        port = server.address[1]
        socks = [last(connect(port)) for _ in range(24)][::order]
        while socks:
            socks.pop(0).close()
            for number, sock in enumerate(socks):
                exchange(sock, b"%d" % number)
        closed = server.log.wait_for("session.closed", 24)
    check_events(server)

    assert [line["reason"] for line in closed] == ["eof"] * 24


@pytest.mark.long
def test_thousands_come_and_go_while_others_last(
    compiled: Compiled, connect: Callable[[int], socket.socket]
) -> None:
    """Sessions of every length, on eight threads, end while others are on duty; none is lost."""

    def come_and_go(number: int) -> int:
        for length in range(number, number + 120):
            with socket.create_connection(("127.0.0.1", port), seconds(20)) as sock:
                for _ in range(length % 40):
                    exchange(sock, b"%d" % length)
        return 120

    with compiled() as server:
        port = server.address[1]
        lasting = [last(connect(port)) for _ in range(4)]
        with ThreadPoolExecutor(8) as pool:
            done = sum(pool.map(come_and_go, range(8)))
        for sock in lasting:
            exchange(sock)
            sock.close()
    check_events(server)

    assert len(server.log.named("session.closed")) == done + 4


def test_a_slow_reader_holds_nobody_up(
    compiled: Compiled, connect: Callable[[int], socket.socket]
) -> None:
    """While a lasting session takes no bytes, the others are echoed for, and it loses none."""
    with compiled() as server:
        port = server.address[1]
        slow, *others = (last(connect(port)) for _ in range(6))
        slow.setblocking(False)
        due = 0
        for piece in range(1, 10_000_000):  # until both directions are full
            try:
                due += slow.send(bytes(1 + piece % 60_000))
            except BlockingIOError:
                break
        for sock in others * 3:
            exchange(sock)
        slow.settimeout(seconds(20))
        slow.shutdown(socket.SHUT_WR)
        got = len(receive(slow, due + 1))
    check_events(server)

    assert got == due


def test_a_cut_ends_sessions_that_wait_together(
    compiled: Compiled, connect: Callable[[int], socket.socket]
) -> None:
    """On duty or asleep, a cut session has its one line with that reason."""
    with compiled() as server:
        for sock in [last(connect(server.address[1])) for _ in range(8)]:
            exchange(sock)
        server.server.cut()
        closed = server.log.wait_for("session.closed", 8)

    assert {line["reason"] for line in closed} == {"cut"}


def test_a_drain_ends_sessions_that_wait_together(
    compiled: Compiled, connect: Callable[[int], socket.socket]
) -> None:
    """On duty or asleep, each sees an end of stream and has the reason `drained`."""
    with compiled() as server:
        socks = [last(connect(server.address[1])) for _ in range(8)]
        server.server.start_draining()
        ends = [sock.recv(1) for sock in socks]
        closed = server.log.wait_for("session.closed", 8)

    assert ends == [b""] * 8
    assert {line["reason"] for line in closed} == {"drained"}


def test_payload_is_shown_of_a_session_that_waits_with_others(
    compiled: Compiled, connect: Callable[[int], socket.socket]
) -> None:
    """Once payload is logged the very next read is shown, and once it isn't, none is."""
    with compiled() as server:
        one, other = (last(connect(server.address[1])) for _ in range(2))
        server.server.log_payload = True
        for sock in (one, other):
            exchange(sock, b"shown")
        server.server.log_payload = False
        for sock in (one, other) * LASTING:
            exchange(sock, b"not shown")
        shown = server.log.named("session.data")

    assert [line["preview"] for line in shown[:2]] == ["shown", "shown"]
    # One that waited in the loop in Python as the flag was taken back reads once more there.
    assert len(shown) <= 4


@pytest.mark.parametrize("limit", ["idle_timeout", "session_timeout"])
def test_each_session_waits_with_its_own_clock(
    compiled: Compiled, connect: Callable[[int], socket.socket], limit: str
) -> None:
    """Asleep while others are busy, a session ends at its own time-out."""
    limits = Limits(**{limit: seconds(0.5)})  # type: ignore[arg-type]
    with compiled(limits=limits) as server:
        socks = [connect(server.address[1]) for _ in range(4)]
        for sock in socks:
            with suppress(OSError, AssertionError):  # on a slow machine it is over before that
                last(sock)
        closed = server.log.wait_for("session.closed", 4)
        for sock in socks:
            with suppress(ConnectionError):
                assert sock.recv(1) == b""

    assert {line["reason"] for line in closed} == {limit}
    assert min(line["duration_s"] for line in closed) >= seconds(0.5)


def test_an_idle_time_out_of_milliseconds_is_kept(serve: Serve) -> None:
    """The loop doesn't wait longer than the time-out allows."""
    with serve(limits=Limits(idle_timeout=0.005)) as server:
        numbers = count(1)

        def is_quick() -> bool:  # the first, unless the machine is busy
            with socket.create_connection(server.address, seconds(10)) as sock:
                with suppress(ConnectionError):
                    sock.sendall(b"x")
                    while sock.recv(1):
                        continue
            closed = server.log.wait_for("session.closed", next(numbers))[-1]
            return bool(closed["duration_s"] < 0.04)

        wait_until(is_quick, what="a session of 5 ms")

    assert {line["reason"] for line in server.log.named("session.closed")} == {"idle_timeout"}


def test_a_stuck_reader_is_given_one_write_time_out(serve: Serve) -> None:
    """A peer that never reads is ended after the time-out, not after twice as long."""
    limit = seconds(1)
    with serve(limits=Limits(write_timeout=limit)) as server:
        numbers = count(1)

        def is_in_time() -> bool:  # the first, unless the machine is busy
            with socket.create_connection(server.address, seconds(30)) as sock:
                with pytest.raises(ConnectionError):
                    sock.sendall(bytes(100_000_000))
            closed = server.log.wait_for("session.closed", next(numbers))[-1]
            assert closed["reason"] == "write_timeout"
            assert limit <= closed["duration_s"]
            return bool(closed["duration_s"] < 1.8 * limit)

        wait_until(is_in_time, what="an end after one time-out")


def test_a_descriptor_that_is_closed_harms_no_neighbour() -> None:
    """A session whose descriptor is another's by now ends, and the other is echoed for."""
    handler_of("compiled")
    from echo.server import compiled_loop

    results: dict[str, object] = {}
    infinite = float("inf")
    with ExitStack() as left:
        wakeup, ringing = map(left.enter_context, socket.socketpair())
        flags = array("i", [0, 0])
        settings = compiled_loop.Settings(wakeup.fileno(), flags, 4096, infinite, 60.0, 0)

        def run(name: str, fd: int) -> threading.Thread:
            def work() -> None:
                try:
                    results[name] = loop.run()
                except OSError as error:
                    results[name] = error.errno

            loop = compiled_loop.CompiledLoop(fd, infinite, settings)
            thread = threading.Thread(target=work)
            thread.start()
            return thread

        (old, old_client), (new, new_client) = socket.socketpair(), socket.socketpair()
        for sock in (old, old_client, new, new_client):
            left.enter_context(sock)
            sock.settimeout(seconds(20))
        threads = [run("old", old.fileno())]
        last(old_client)
        os.dup2(new.fileno(), old.fileno())  # closes the old one, and is the new one
        threads.append(run("new", old.fileno()))
        last(new_client)
        threads[0].join(seconds(20))
        exchange(new_client)
        new_client.shutdown(socket.SHUT_WR)
        threads[1].join(seconds(20))
        ringing.close()

    assert results["new"] == compiled_loop.END_OF_STREAM
    assert "old" in results


FORK = """
import os, socket, sys
from echo.server.compiled import CompiledHandler
from echo.testing import running_server

def use(sock):
    for _ in range(20):
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"

with running_server(handler=CompiledHandler) as server:
    socks = [socket.create_connection(server.address, 20) for _ in range(4)]
    for sock in socks:
        use(sock)
    child = os.fork()
    if not child:
        with running_server(handler=CompiledHandler) as own:
            with socket.create_connection(own.address, 20) as sock:
                use(sock)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for sock in socks:
        use(sock)
        sock.close()
sys.exit(code)
"""


def test_a_forked_process_begins_without_sessions(tmp_path: Path) -> None:
    """A fork amid lasting sessions leaves the parent's as they are, and the child can serve."""
    handler_of("compiled")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=seconds(60),
    )

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_session_that_falls_silent_gives_its_buffer_back(
    daemon: Start, connect: Callable[[int], socket.socket]
) -> None:
    """After a message of 64 KiB each, silent sessions hold 32 KiB or less."""
    handler_of("compiled")
    process = daemon()
    exchange(connect(process.port), bytes(65_536))
    before = resident_kib(process)
    for _ in range(300):
        exchange(connect(process.port), bytes(65_536))

    wait_until(lambda: (resident_kib(process) - before) / 300 <= 32, what="32 KiB a session")


def resident_kib(process: DaemonProcess) -> int:
    """Return the process's resident memory."""
    with open(f"/proc/{process.pid}/smaps_rollup") as lines:  # noqa: PTH123
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


@pytest.mark.long
@pytest.mark.parametrize(("pairs", "seed"), [(24, 1), (3, 2)])
def test_no_race_and_no_lost_wake_up(tmp_path: Path, pairs: int, seed: int) -> None:
    """Under ThreadSanitizer, with delays at each hand-over, every echo comes and every end."""
    handler_of("compiled")
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    program = tmp_path / "stress"
    source = ROOT / "tests" / "server" / "followers_stress.c"
    flags = ["-std=gnu11", "-g", "-O1", "-pthread", "-fsanitize=thread", "-Wall", "-Wextra"]
    built = subprocess.run(
        ["cc", *flags, "-I", str(ROOT / "echo" / "server"), "-o", str(program), str(source)],
        capture_output=True,
        text=True,
        timeout=seconds(60),
    )
    if "tsan" in built.stderr:
        pytest.skip("this compiler has no ThreadSanitizer")
    assert (built.returncode, built.stderr) == (0, "")
    done = subprocess.run(
        [str(program), "2", str(seed), str(pairs)],
        capture_output=True,
        text=True,
        timeout=seconds(90),
    )

    assert (done.returncode, done.stderr) == (0, "")
