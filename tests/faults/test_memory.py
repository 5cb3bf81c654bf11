"""Memory: what sessions hold, what a stuck reader costs, and what happens when there is none."""

from __future__ import annotations

import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from echo.limits import Limits
from echo.server.tuning import (
    BASE_BYTES,
    SESSION_BYTES,
    TLS_SESSION_BYTES,
    fit_memory,
    memory_groups,
    memory_limit,
)
from tests.faults.peers import Crowd, echoes, fill
from tests.process import limits_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.peers import Peers, Start
    from tests.process import DaemonProcess

KIB = 1024
MIB = 1024 * KIB
LOOPS = ("python", "compiled")


def figure(process: DaemonProcess, *names: str) -> int:
    """Return the sum of a daemon's figures in /proc/PID/status, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return sum(int(status.partition(f"{name}:")[2].split()[0]) for name in names) * KIB


def own_memory(process: DaemonProcess) -> int:
    """Return what the process itself holds, mapped buffers included."""
    return figure(process, "RssAnon", "RssShmem")


# -- a session's buffer -----------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("loop", LOOPS)
def test_a_session_that_falls_silent_gives_its_large_buffer_back(daemon: Start, loop: str) -> None:
    """Some seconds after a message of 64 KiB it holds 32 KiB or less."""
    process = daemon("--loop", loop, fault="brisk")
    before = own_memory(process)
    with Crowd(process.port, 400) as crowd:
        crowd.connect()
        most = most_while(process, lambda: crowd.echo(bytes(64 * KIB)))
        wait_until(lambda: own_memory(process) - before <= 400 * 32 * KIB)
        crowd.end()

    # The compiled loop gives a buffer back within milliseconds, maybe before the crowd is through.
    assert loop == "compiled" or most - before > 400 * 40 * KIB


def most_while(process: DaemonProcess, work: Callable[[], None]) -> int:
    """Return the most memory of its own that a process has while the work is done."""
    with ThreadPoolExecutor() as pool:
        doing = pool.submit(work)
        figures = []
        done = False
        while not done:
            done = doing.done()  # then this look is the last, and one there is after the work
            figures.append(own_memory(process))
            wait([doing], 0.1)
    doing.result()
    return max(figures)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_memory_for_a_larger_buffer_sessions_go_on(
    daemon: Start, connect: Peers, loop: str
) -> None:
    """Each echoes with the buffer that it has; the loop in Python reports it, in shared lines."""
    process = daemon("--loop", loop, "--buffer-size", str(MIB))
    began = time.monotonic()
    socks = [connect(process.port) for _ in range(50)]
    assert all(echoes(sock) for sock in socks)
    room = figure(process, "VmSize") + 4 * MIB
    resource.prlimit(process.pid, resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
    answers = [echoes(sock, bytes(range(256)) * 256) for _ in range(3) for sock in socks]
    resource.prlimit(process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    connect.close()
    process.wait_for("session.closed", 50)
    process.stop()  # which writes what is left of shared lines
    lasted = time.monotonic() - began
    errors = process.events("server.error")
    process.expect_errors = len(errors)

    assert all(answers)
    assert {line["reason"] for line in process.events("session.closed")} == {"eof"}
    if loop == "python":
        assert {line["where"] for line in errors} == {"enlarge"}
        assert sum(line.get("count", 1) for line in errors) > 40
    # One a second for each of the two exceptions, the first at once and the last at the stop.
    assert len(errors) <= 2 * (lasted + 2)


# -- the kernel's buffers ---------------------------------------------------------------------


def test_the_size_of_the_kernel_s_buffers_bounds_a_stuck_reader(
    daemon: Start, connect: Peers
) -> None:
    """With `--socket-buffer`, what a client doesn't read waits with itself."""
    process = daemon("--write-timeout", "60", "--socket-buffer", "64K")
    sock = connect(process.port)
    fill(sock, process.pid)
    unsent = queued(process.port, sock.getsockname()[1])

    assert 0 < unsent < 512 * KIB


def queued(port: int, peer_port: int) -> int:
    """Return the bytes that wait to be sent to a peer, by the kernel's table of sockets."""
    ends = (f":{port:04X}", f":{peer_port:04X}")

    def found() -> list[list[str]]:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return [x for x in rows if (x[1][-5:], x[2][-5:]) == ends]

    # While others come and go, the table may lack a row or have it twice.
    row = wait_until(found)[0]
    return int(row[4].partition(":")[0], 16)


# -- the cgroup's limit -----------------------------------------------------------------------


def test_sessions_fit_into_the_memory_there_is() -> None:
    """The limit is lowered, never raised; one session there always is."""
    limits = Limits(max_sessions=100)

    assert fit_memory(limits, limit=BASE_BYTES + 50 * SESSION_BYTES).max_sessions == 50
    room = BASE_BYTES + 50 * TLS_SESSION_BYTES
    assert fit_memory(limits, limit=room, tls=True).max_sessions == 50
    assert fit_memory(limits, limit=1 << 40) == limits
    assert fit_memory(limits, limit=1).max_sessions == 1


V1 = "4:memory:{name}\n0::/\n", "35 31 0:32 {root} {point} rw - cgroup cgroup rw,memory\n"
V2 = "0::{name}\n", "41 31 0:38 {root} {point} rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("kind", "file", "unlimited"),
    [(V1, "memory.limit_in_bytes", "9223372036854771712"), (V2, "memory.max", "max")],
    ids=["v1", "v2"],
)
@pytest.mark.parametrize(
    ("name", "root", "folders"),
    [
        ("/outer/inner", "/", ("outer/inner", "outer", ".")),
        ("/outer/inner", "/outer", ("inner", ".")),
        ("/elsewhere", "/docker/abc", (".",)),
        ("/", "/", (".",)),
    ],
)
def test_the_smallest_limit_counts(
    tmp_path: Path,
    kind: tuple[str, str],
    file: str,
    unlimited: str,
    name: str,
    root: str,
    folders: tuple[str, ...],
) -> None:
    """Of a cgroup and those around it; none is no limit."""
    point, process = tmp_path / "mount", tmp_path / "process"
    for folder in folders:
        (point / folder).mkdir(parents=True, exist_ok=True)
        (point / folder / file).write_text(unlimited)
    process.mkdir()
    names, mounts = (text.format(name=name, root=root, point=point) for text in kind)
    (process / "cgroup").write_text(names)
    (process / "mountinfo").write_text("23 1 8:1 / / rw - ext4 /dev/vda rw\n" + mounts)
    none = memory_limit(process)
    found = []
    for size, folder in enumerate(folders):
        (point / folder / file).write_text(str(10**9 - size))
        found.append(memory_limit(process))

    assert none is None
    assert found == [10**9 - size for size in range(len(folders))]


def test_a_system_without_cgroups_has_no_limit(tmp_path: Path) -> None:
    """Then there is nothing to fit into."""
    assert memory_limit(tmp_path) is None


@pytest.fixture
def group() -> Iterator[Path]:
    """Make a memory cgroup within this one, or skip the test."""
    path = next(memory_groups(), Path("/nowhere")) / f"echod-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"a cgroup can't be made here: {error}")
    yield path

    def removed() -> bool:
        with suppress(OSError):
            path.rmdir()
        return not path.exists()

    wait_until(removed)


def start_in(group: Path, daemon: Start, size: int, *flags: str) -> DaemonProcess:
    """Start a daemon in a cgroup with so much memory."""
    names = ("memory.max", "memory.limit_in_bytes")
    file = next((group / name for name in names if (group / name).exists()), None)
    if file is None:
        pytest.skip("this cgroup has no memory controller")
    file.write_text(str(size))
    procs = group / "cgroup.procs"
    return daemon(*flags, before=lambda: procs.write_text(str(os.getpid())) and None)


def test_a_daemon_serves_as_many_as_its_cgroup_holds(daemon: Start, group: Path) -> None:
    """The default is lowered without a word, what was asked for with one; the log says to what."""
    size = BASE_BYTES + 200 * SESSION_BYTES
    silent = start_in(group, daemon, size)
    asked = start_in(group, daemon, size, "--max-sessions", "5000")
    asked.expect_stderr = (
        b"echod: serve: warning: --max-sessions 5000 is more than the memory allows, serving 200: "
        b"raise the limit of its cgroup\n"
    )

    assert limits_of(silent)["max_sessions"] == limits_of(asked)["max_sessions"] == 200
    for process in (silent, asked):
        process.check_and_stop()


@pytest.mark.long
@pytest.mark.parametrize("loop", LOOPS)
def test_a_full_daemon_and_its_stop_stay_within_the_limit(
    daemon: Start, group: Path, loop: str
) -> None:
    """With as many sessions as fit, each after a message of 64 KiB, and a TERM: it isn't killed."""
    count = 800
    size = BASE_BYTES + count * SESSION_BYTES
    # Time to drain is not what it is about.
    process = start_in(group, daemon, size, "--loop", loop, "--drain-timeout", "60")
    with Crowd(process.port, count) as crowd:
        crowd.connect()
        crowd.echo(bytes(64 * KIB))
        code = process.stop()

    assert code == 0
    assert {line["reason"] for line in process.events("session.closed")} == {"drained"}
