"""Each command runs with each Python; `tests/cli` has the rest of what commands promise."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.process import DaemonProcess
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """Run one daemon for all commands."""
    daemon = DaemonProcess(tmp_path_factory.mktemp("commands"), "--status-port", "0")
    yield daemon
    daemon.check_and_stop()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("connect :{port} --timeout {wait}", "hello"),
        ("ping -c 1 :{port} --timeout {wait}", "1 sent, 1 received, 0 lost (0%)"),
        ("load :{port} --duration 100ms --timeout {wait}", "exchanges"),
        (
            "fuzz :{port} --max-size 1k --max-examples 4 --deadline {wait}",
            "every echo came back right",
        ),
        ("top http://127.0.0.1:{status}", "loop "),
        ("demo --fast", "One echo server"),
        ("logs show {log}", "server.started"),
        ("logs audit {log}", "No promise is broken."),
    ],
)
def test_a_command_does_its_work(line: str, shown: str, process: DaemonProcess) -> None:
    """It ends with exit code 0, its answer on stdout and nothing on stderr."""
    words = {
        "port": process.port,
        "status": process.started["status_port"],
        "log": process.log,
        "wait": seconds(60),
    }
    done = subprocess.run(
        [sys.executable, "-m", "echo", *line.format(**words).split()],
        input="hello\n",
        capture_output=True,
        text=True,
        timeout=seconds(100),
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout
