"""A daemon in a process of its own, and what the system knows about it."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echo.client import EchoClient
from echo.server.threads import SPARE_THREADS
from tests import vocabulary
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LISTEN = "0A"
# What holds the ports of `free_port` for this process.
_claims: list[socket.socket] = []
ROOT = Path(__file__).parents[1]


class DaemonProcess:
    """`echod serve` on a free port, with its log in `folder`.

    `log` is the log file's path; another one, or None for none to read, is for tests of logs
    that can't be read. `fault` names what goes wrong inside it (see `tests.faults.launch`).

    What a test expects beyond a daemon without a fault it says beforehand: `expect_stderr` is
    all that may be on stderr when it ends, `expect_errors` the number of `server.error` lines,
    and `expect_gaps` that lines of the log are missing.
    """

    def __init__(
        self,
        folder: Path,
        *flags: str,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
        started: bool = True,
        fault: str = "",
        stdout: int = subprocess.DEVNULL,
    ) -> None:
        self.folder = folder
        self.log = log or folder / "echo.jsonl"
        self.expect_stderr = b""
        self.expect_code = 0
        self.expect_errors = 0
        self.expect_gaps = False
        # Seconds that it gets to give back what sessions took, once their clients are gone.
        self.patience = 60.0
        # The launcher of faults keeps no idle threads, so that one left over can be told from them.
        self.spare_threads = 0 if fault else SPARE_THREADS
        self.started: vocabulary.Line = {}
        self.port = 0
        self.descriptors_at_start = 0
        self._stderr = folder / "stderr"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", *(_faulty(fault) if fault else ["echo"])),
                    "serve",
                    *(() if "--port" in flags else ("--port", "0")),
                    *("--log-file", str(self.log), *flags),
                ],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                preexec_fn=before,
            )
        if started:
            with ExitStack() as undo:
                undo.callback(self.kill)
                self.started = self.wait_for("server.started", timeout=60)[0]
                undo.pop_all()
            self.ready()

    def __repr__(self) -> str:
        return f"<DaemonProcess {self.pid} in {self.folder}>"

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def stderr(self) -> bytes:
        """All that it has written to stderr."""
        return self._stderr.read_bytes()

    def client(self, timeout: float = 10) -> EchoClient:
        """Return a client that is not connected yet."""
        return EchoClient("127.0.0.1", self.port, timeout=seconds(timeout))

    def ready(self) -> None:
        """Wait until it listens: its log says where, or else the system knows."""
        self.port = self.started.get("port") or wait_until(self.listening, what="it listens")
        self.descriptors_at_start = self.descriptors()

    # -- its log ------------------------------------------------------------------------

    def lines(self) -> list[vocabulary.Line]:
        """Return the whole lines of the log, oldest file first."""
        (data,) = wait_until(self._read, what="the log is read without a rotation meanwhile")
        return vocabulary.parse(data[: data.rfind(b"\n") + 1])

    def _read(self) -> tuple[bytes] | None:
        """Return what is in all files of the log; None if one was renamed meanwhile."""
        with suppress(FileNotFoundError):
            files = self._files()
            data = b"".join(path.read_bytes() for path, _ in files)
            if files == self._files():
                return (data,)
        return None

    def _files(self) -> list[tuple[Path, int]]:
        """Return the log's files and their inodes, oldest first."""
        older = sorted(self.log.parent.glob(self.log.name + ".*"), key=_age, reverse=True)
        there = [path for path in [*older, self.log] if path.exists()]
        return [(path, path.stat().st_ino) for path in there]

    def events(self, name: str) -> list[vocabulary.Line]:
        """Return the lines of one event."""
        return [line for line in self.lines() if line["event"] == name]

    def wait_for(self, name: str, count: int = 1, timeout: float = 60) -> list[vocabulary.Line]:
        """Wait until the log has `count` lines of one event."""

        def enough() -> list[vocabulary.Line]:
            ended = self.process.poll() is not None  # then the log is as it stays
            found = self.events(name) if self.log.exists() else []
            if len(found) < count and ended:
                raise AssertionError(f"it ended: {self.process.returncode} {self.stderr!r}")
            return found if len(found) >= count else []

        return wait_until(enough, timeout, f"{count} lines {name}")

    # -- what the system knows ----------------------------------------------------------

    def descriptors(self) -> int:
        """Count its open descriptors."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def threads(self) -> int:
        """Count its threads."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/task").iterdir())

    def cpu_seconds(self) -> float:
        """Return the processor time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def listening(self) -> int:
        """Return the port that it listens on, whatever its log says; 0 for none."""
        mine = {name for name in map(_target, Path(f"/proc/{self.pid}/fd").iterdir()) if name}
        ports = [
            int(row[1].rpartition(":")[2], 16)
            for row in _listeners()
            if f"socket:[{row[9]}]" in mine
        ]
        return next((port for port in ports if port != self.started.get("status_port")), 0)

    # -- its end ------------------------------------------------------------------------

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 60) -> int:
        """Wait for its end, and return its exit code.

        `timeout` is counted in looks of a twentieth of a second: while the whole machine stands
        still, the daemon can't end, and the test doesn't look.
        """
        for _ in range(round(seconds(timeout) * 20)):
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(0.05)
        raise AssertionError(f"it has not ended within {timeout} s")

    def stop(self, number: int = signal.SIGTERM, timeout: float = 60) -> int:
        """Ask it to stop, and give its exit code."""
        self.send(number)
        return self.wait(timeout)

    def kill(self) -> None:
        """End it, whatever it does, if it has not ended by itself."""
        self.process.kill()
        self.process.wait()

    def check_and_stop(self) -> None:
        """Hold it against every promise; what has not ended is ended."""
        try:
            if self.process.poll() is None:
                if self.port:
                    self.check_leftovers()
                self.stop()
        finally:
            self.kill()
        assert self.stderr == self.expect_stderr
        assert self.process.returncode == self.expect_code
        self._check_log()

    def check_leftovers(self) -> None:
        """See that what sessions took has been given back, once the last of them is over."""
        # Main, accept, the log's writer, the status port's, and the session threads that are kept.
        most = 3 + ("status_port" in self.started) + self.spare_threads
        for over, what in (
            (self._no_sessions, "every session's closing line"),
            # A socket that is left in CLOSE-WAIT has a descriptor, too.
            (lambda: self.descriptors() <= self.descriptors_at_start, "descriptors given back"),
            (lambda: self.threads() <= most, "threads given back"),
        ):
            wait_until(over, self.patience, what)

    def _no_sessions(self) -> bool:
        if self.expect_gaps or not self.log.is_file():
            return True  # then the descriptors have to do
        accepted, closed = self.events("session.accepted"), self.events("session.closed")
        return len(accepted) == len(closed)

    def _check_log(self) -> None:
        if self.log.is_file():
            lines = self.lines()
            errors = [line for line in lines if line["event"] == "server.error"]
            assert self.log.read_bytes()[-1:] in (b"", b"\n"), "the last line is torn"
            assert len(errors) == self.expect_errors, errors
            if self.expect_code and not lines:
                return  # it never served
            if self.expect_gaps:
                vocabulary.check_lines(lines)
            else:
                vocabulary.check(lines)
                vocabulary.check_totals(lines)


def free_port() -> int:
    """Return a port that is free, for a program that can't pick one itself.

    It is below those that a system hands out by itself, of which any connection of another test
    could take it before the program does. Other test processes on the machine get other ports.
    """
    for port in random.sample(range(10_000, 32_768), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            if sys.platform == "linux":  # a name that this process has until it ends
                claim = socket.socket(socket.AF_UNIX)
                _claims.append(claim)
                claim.bind(f"\0echo-test-port-{port}")
            return port
    raise AssertionError("no port is free")


def _faulty(fault: str) -> list[str]:
    return ["tests.faults.launch", fault]


def _target(link: Path) -> str:
    """Return what a descriptor is, unless it is closed by now."""
    with suppress(OSError):
        return os.readlink(link)  # noqa: PTH115 - it is no path
    return ""


def _listeners() -> list[list[str]]:
    """Return the rows of the kernel's tables of TCP sockets for those that listen."""
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    # Most of thousands are in TIME_WAIT: those are not taken apart.
    rows = [row.split() for table in tables for row in table.splitlines() if f" {LISTEN} " in row]
    return [row for row in rows if row[3] == LISTEN]


def _age(path: Path) -> int:
    return int(path.suffix[1:])


def limits_of(process: DaemonProcess) -> dict[str, Any]:
    """Return the limits in force."""
    return dict(process.started["limits"])
