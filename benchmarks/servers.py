"""One server process: started on a free port, ready at its first echo, ended by its pid."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_LIMIT_S = 15.0
STOP_LIMIT_S = 20.0
RETRY_S = 0.001  # nothing tells when another process listens, so its port is tried this often


class ServerError(Exception):
    """A server that did not start; the text ends with what it said on stderr."""


@dataclass(frozen=True)
class Contestant:
    """A server that can be started, and what a reader of its figures has to know."""

    name: str
    title: str
    command: tuple[str, ...]
    """Its words; ``{port}`` and ``{directory}`` are filled in."""
    logs: bool = False
    """Whether it writes two JSON lines a session."""
    workloads: tuple[str, ...] = ("*",)
    """Patterns of those that it takes part in."""


@dataclass
class Server:
    """A contestant that runs."""

    process: subprocess.Popen[bytes]
    port: int
    directory: Path
    startup_s: float = 0.0
    """From the start of its process to its first echo."""
    log: dict[str, Any] = field(default_factory=dict)
    """What its log shows once it has ended: see `read_log`."""

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def cpu_seconds(self) -> float:
        """CPU time that it has used so far, of all its threads.

        Its POSIX CPU clock has the figure of ``/proc/PID/stat`` in nanoseconds instead of ticks
        of 10 ms. (The clock's number is what ``clock_getcpuclockid(3)`` makes of a pid.)
        """
        return time.clock_gettime((~self.pid << 3) | 2)

    def resident_bytes(self) -> int:
        """Resident memory, ``Rss`` in ``/proc/PID/smaps_rollup``."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise ServerError(f"/proc/{self.pid}/smaps_rollup has no line Rss")


@contextlib.contextmanager
def running(contestant: Contestant) -> Iterator[Server]:
    """Run a contestant in a fresh process and a directory of its own.

    Raises:
        ServerError: it ended, or did not echo, before `START_LIMIT_S`.

    """
    with tempfile.TemporaryDirectory(prefix="echo-benchmark-") as name:
        directory = Path(name)
        server = start(contestant, directory)
        try:
            server.startup_s = await_first_echo(server)
            yield server
        finally:
            stop(server.process)
            if contestant.logs:
                server.log = read_log(directory)


def start(contestant: Contestant, directory: Path, port: int = 0) -> Server:
    """Start the contestant's process, on a free port where none is given."""
    port = port or free_port()
    words = [word.format(port=port, directory=directory) for word in contestant.command]
    with (directory / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
    return Server(process, port, directory)


def free_port() -> int:
    """Return a port that is free now, as the start-up can only be timed on a known one."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def await_first_echo(server: Server) -> float:
    """Try until a byte comes back, and return how many seconds that took."""
    began = time.monotonic()
    while time.monotonic() - began < START_LIMIT_S and server.process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            echo_once(server.port)
            return time.monotonic() - began
        time.sleep(RETRY_S)
    said = (server.directory / "stderr").read_text(errors="replace").strip()
    raise ServerError(f"{server.process.args!r} did not start: {said[-500:] or 'no word on why'}")


def echo_once(port: int) -> None:
    """Exchange one byte."""
    with socket.create_connection(("127.0.0.1", port), timeout=START_LIMIT_S) as conn:
        conn.sendall(b"?")
        if conn.recv(1) != b"?":
            raise ServerError(f"port {port} does not echo")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and make it after `STOP_LIMIT_S`."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_LIMIT_S)


def read_log(directory: Path) -> dict[str, Any]:
    """Count the sessions in a contestant's log, as one that drops its lines is no faster."""
    log: dict[str, Any] = {"accepted": 0, "closed": 0, "dropped": 0}
    for path in directory.glob("*.jsonl*"):
        with path.open() as lines:
            for line in lines:
                count_line(log, line)
    return log


def count_line(log: dict[str, Any], line: str) -> None:
    """Add one line of a log to its counts."""
    if '"session.accepted"' in line:
        log["accepted"] += 1
    elif '"session.closed"' in line:
        log["closed"] += 1
    elif '"log.dropped"' in line:
        log["dropped"] += int(json.loads(line)["count"])
    elif '"server.started"' in line:
        log["started"] = json.loads(line)
