"""Nothing that goes wrong with the log stops or slows a session; what it costs is counted."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import vocabulary
from tests.faults.peers import echoes
from tests.faults.test_start import serve
from tests.process import ROOT
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.peers import Peers, Start
    from tests.process import DaemonProcess


def sessions(process: DaemonProcess, connect: Peers, count: int) -> None:
    """Have a number of sessions, each of which must echo."""
    for _ in range(count):
        with connect(process.port) as sock:
            assert echoes(sock)


def accounted(lines: list[vocabulary.Line]) -> int:
    """Count the lines there are and those that were reported missing, but for the reports."""
    dropped = [line for line in lines if line["event"] == "log.dropped"]
    return len(lines) - len(dropped) + sum(line["count"] for line in dropped)


class Pipe:
    """A named pipe as a log; its reader reads when it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.data = bytearray()

    def read(self) -> list[vocabulary.Line]:
        """Take what is there, and give all the whole lines so far."""
        try:
            while part := os.read(self._reader, 1 << 20):
                self.data += part
        except BlockingIOError:
            pass
        return vocabulary.parse(bytes(self.data[: self.data.rfind(b"\n") + 1]))

    def close(self) -> None:
        """Go away."""
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    """Return a pipe whose reader doesn't read by itself."""
    stalled = Pipe(tmp_path / "pipe")
    yield stalled
    stalled.close()


def on_a_pipe(daemon: Start, pipe: Pipe, fault: str = "brisk") -> DaemonProcess:
    """Start a daemon whose log is a pipe."""
    process = daemon(log=pipe.path, started=False, fault=fault)
    process.ready()
    return process


def test_nothing_follows_the_last_line(daemon: Start, pipe: Pipe, connect: Peers) -> None:
    """A HUP that a stuck log has not answered before the stop adds no line to its end."""
    process = daemon("--status-port", "0", log=pipe.path, started=False)
    (process.started,) = wait_until(pipe.read)
    process.ready()
    while (waiting := queued(process)) < 1000:  # more than come between two writes
        sessions(process, connect, 50)
    process.send(signal.SIGHUP)
    process.send(signal.SIGUSR1)
    wait_until(lambda: queued(process) > waiting, what="both have been taken")
    process.send(signal.SIGTERM)
    wait_until(lambda: pipe.read() and process.process.poll() is not None)
    names = [line["event"] for line in pipe.read()]

    # Where the machine is so slow that the log's last second was not enough, it isn't there at all.
    assert "server.stopped" not in names[:-1]


def queued(process: DaemonProcess) -> int:
    """Return how many lines wait to be written."""
    url = f"http://127.0.0.1:{process.started['status_port']}/metrics"
    with urllib.request.urlopen(url, timeout=seconds(60)) as page:
        (count,) = re.findall(r"^echod_log_queue_length (\d+)", page.read().decode(), re.MULTILINE)
        return int(count)


def problem(process: DaemonProcess) -> str | None:
    """Return why the log can't be written."""
    url = f"http://127.0.0.1:{process.started['status_port']}/sessions"
    with urllib.request.urlopen(url, timeout=seconds(10)) as page:
        found: str | None = json.load(page)["server"]["log_problem"]
        return found


def test_a_full_disk(daemon: Start, connect: Peers) -> None:
    """A log that takes nothing at all: sessions echo as ever, and the stop is a success."""
    process = daemon(log=Path("/dev/full"), started=False, fault="queue:20000")
    process.ready()
    sessions(process, connect, 100)

    assert process.stop() == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 128 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(path)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a small disk needs a privilege")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("hup", [False, True])
def test_a_disk_that_is_full_for_a_while(
    disk: Path, daemon: Start, connect: Peers, hup: bool
) -> None:
    """Lines wait, none is torn or lost, and they are written when there is room again."""
    process = daemon("--status-port", "0", log=disk / "echo.jsonl")
    filler = disk / "filler"
    fill_up(filler)
    sessions(process, connect, 60)
    wait_until(lambda: full(disk))
    wait_until(lambda: problem(process))
    assert problem(process) == "No space left on device"
    if hup:  # it does not help, and does no harm
        process.send(signal.SIGHUP)
    filler.unlink()
    closed = process.wait_for("session.closed", 60)

    assert len(closed) == 60
    assert process.events("log.dropped") == []
    assert wait_until(lambda: problem(process) is None)
    process.check_and_stop()


def fill_up(filler: Path) -> None:
    """Leave 4 KiB at the most."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def full(disk: Path) -> bool:
    """See whether a disk has no room left."""
    return os.statvfs(disk).f_bfree == 0


def test_a_disk_that_is_full_for_too_long(disk: Path, daemon: Start, connect: Peers) -> None:
    """What the queue can't hold is lost, and its count stands where it is missing."""
    process = daemon(log=disk / "echo.jsonl", fault="queue:20000")
    process.expect_gaps = True
    filler = disk / "filler"
    fill_up(filler)
    sessions(process, connect, 300)
    filler.unlink()
    process.wait_for("log.dropped")
    sessions(process, connect, 1)
    wait_until(lambda: accounted(process.lines()) >= 1 + 2 * 301)
    count = accounted(process.lines())
    process.check_and_stop()

    assert count == 1 + 2 * 301


def test_a_stalled_pipe(daemon: Start, connect: Peers, pipe: Pipe) -> None:
    """Nobody reads the log: sessions echo as ever, and the lines are all there in the end."""
    process = on_a_pipe(daemon, pipe)
    sessions(process, connect, 500)
    wait_until(lambda: len(pipe.read()) == 1 + 2 * 500)

    assert len(pipe.data) > 65536, "a pipe takes no more than this while nobody reads"
    vocabulary.check(pipe.read())


def test_a_pipe_that_stalls_for_too_long(daemon: Start, connect: Peers, pipe: Pipe) -> None:
    """What finds no room is counted, and reported when the pipe runs again."""
    process = on_a_pipe(daemon, pipe, "queue:50000")
    sessions(process, connect, 1000)
    wait_until(lambda: "log.dropped" in [line["event"] for line in pipe.read()])
    sessions(process, connect, 1)
    wait_until(lambda: accounted(pipe.read()) == 1 + 2 * 1001)

    assert pipe.read()[-1]["event"] == "session.closed"


def test_a_closed_pipe(daemon: Start, connect: Peers, pipe: Pipe) -> None:
    """The reader of the log is gone: sessions echo, the stop is a success."""
    process = on_a_pipe(daemon, pipe)
    pipe.close()
    sessions(process, connect, 100)
    process.send(signal.SIGHUP)
    sessions(process, connect, 10)

    assert process.stop() == 0


def test_standard_output_that_doesn_t_block(daemon: Start, connect: Peers) -> None:
    """A log pipe that somebody else has made non-blocking still gets every line."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = daemon(log=Path("-"), started=False, stdout=writer, fault="brisk")
    os.close(writer)
    process.ready()
    sessions(process, connect, 300)
    data: list[bytes] = []
    thread = threading.Thread(target=lambda: data.extend(iter(lambda: os.read(reader, 65536), b"")))
    thread.start()
    wait_until(lambda: b"".join(data).count(b"\n") == 1 + 2 * 300)
    process.check_and_stop()
    thread.join()
    os.close(reader)
    lines = vocabulary.parse(b"".join(data))

    assert accounted(lines) == len(lines)
    vocabulary.check(lines)
    vocabulary.check_totals(lines)


def test_a_removed_folder(daemon: Start, connect: Peers, tmp_path: Path) -> None:
    """Sessions go on without the folder; HUP makes it anew, and the log with it."""
    folder = tmp_path / "logs"
    process = daemon(log=folder / "echo.jsonl")
    process.expect_gaps = True
    with process.log.open("rb") as removed:
        shutil.rmtree(folder)
        sessions(process, connect, 10)
        wait_until(lambda: os.pread(removed.fileno(), 1 << 20, 0).count(b"session.closed") == 10)
    process.send(signal.SIGHUP)
    process.wait_for("log.reopened")
    sessions(process, connect, 1)
    process.wait_for("session.closed")
    process.check_and_stop()

    assert process.events("server.stopped")[0]["closed"] == 11


def test_a_renamed_file_under_load(daemon: Start, connect: Peers) -> None:
    """What logrotate does, again and again, while sessions come and go: no line is lost."""
    process = daemon(fault="brisk")
    for number in range(9, 0, -1):
        sessions(process, connect, 20)
        process.log.rename(process.log.with_name(f"echo.jsonl.{number}"))
        process.send(signal.SIGHUP)
        process.wait_for("log.reopened", 10 - number)
    sessions(process, connect, 20)
    closed = process.wait_for("session.closed", 200)

    assert len(closed) == 200
    assert len(process.events("log.reopened")) == 9


def refused(process: DaemonProcess) -> tuple[int, bytes]:
    """Start a second daemon on the same log; return its exit code and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "echo", "serve", "--port", "0", "--log-file", str(process.log)],
        cwd=process.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=seconds(60),
    )
    return done.returncode, done.stderr


def test_two_daemons_on_one_log(daemon: Start, connect: Peers) -> None:
    """The second is refused, with the first one's pid; after a rotation and a HUP, too."""
    process = daemon("--log-max-size", "5000", fault="brisk")
    answers = [refused(process)]
    sessions(process, connect, 20)
    process.wait_for("session.closed", 20)  # and no rotation comes any more
    assert process.log.with_name("echo.jsonl.1").exists()
    answers.append(refused(process))
    process.log.rename(process.log.with_name("echo.jsonl.9"))
    process.send(signal.SIGHUP)
    process.wait_for("log.reopened")
    answers.append(refused(process))

    assert answers == 3 * [
        (
            73,
            f"echod: serve: can't open the log {process.log}: the process with pid {process.pid} "
            "writes to it; stop that server, or name another with --log-file, or - for "
            "standard output\n".encode(),
        )
    ]


def test_a_loop_of_links(tmp_path: Path) -> None:
    """A log whose name leads nowhere can't be opened, and the start says so."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    code, said = serve(tmp_path, "--port", "0", "--log-file", "a")

    assert code == 73
    assert said == (
        b"echod: serve: can't open the log a: Too many levels of symbolic links; "
        b"name another with --log-file, or - for standard output\n"
    )


def test_a_new_file_that_can_t_be_had(daemon: Start, connect: Peers, tmp_path: Path) -> None:
    """HUP in vain: the old file goes on, and says why."""
    folder = tmp_path / "logs"
    process = daemon(log=folder / "echo.jsonl")
    moved = folder.rename(tmp_path / "moved")
    folder.write_bytes(b"in the way")
    process.send(signal.SIGHUP)
    sessions(process, connect, 5)
    process.log = moved / "echo.jsonl"
    process.expect_errors = 1
    error = process.wait_for("server.error")[0]
    process.wait_for("session.closed", 5)

    assert error["where"] == "log"
    assert "Not a directory" in error["error"] or "File exists" in error["error"]


def test_a_daemon_that_was_killed(daemon: Start, connect: Peers, tmp_path: Path) -> None:
    """KILL in the middle of a line: the next daemon's first line stands on a line of its own."""
    log = tmp_path / "echo.jsonl"
    log.write_bytes(b'{"timestamp":"2026-01-31T10:00:00.000001Z","event":"session.clo')
    process = daemon(log=log, started=False)
    process.ready()
    sessions(process, connect, 1)
    process.stop()
    torn, *whole = log.read_bytes().splitlines(keepends=True)
    lines = vocabulary.parse(b"".join(whole))
    log.unlink()

    assert torn.endswith(b"session.clo\n")
    vocabulary.check(lines)
    vocabulary.check_totals(lines)
