"""What a daemon needs while it serves is loaded before it does: later there may be no descriptor.

A module that is loaded late needs one. Some are loaded by a call (`import` in a function), from
Python 3.15 on some of the standard library's also by the first use of their name.
"""

from __future__ import annotations

import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.peers import echoes, reset
from tests.process import ROOT
from tests.waiting import seconds

if TYPE_CHECKING:
    from tests.faults.peers import Peers, Start
    from tests.process import DaemonProcess

# Runs at the interpreter's start, and writes down what is imported once a file called `go` exists.
OBSERVER = """
import os, sys
FOLDER = os.path.dirname(__file__)
FOUND = os.open(os.path.join(FOLDER, "found"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def observe(event, arguments):
    if event == "import" and os.path.exists(os.path.join(FOLDER, "go")):
        os.write(FOUND, f"{arguments[0]}\\n".encode())

sys.addaudithook(observe)
"""


def ask(process: DaemonProcess, path: str) -> None:
    """Ask the status server for a page, whatever it answers."""
    url = f"http://127.0.0.1:{process.started['status_port']}{path}"
    try:
        urllib.request.urlopen(url, timeout=seconds(60)).close()
    except urllib.error.HTTPError as error:
        error.close()


def use(process: DaemonProcess, connect: Peers) -> None:
    """Take a daemon through all that can happen to one, but for its end."""
    for path in ("/", "/sessions", "/metrics", "/healthz", "/nothing"):
        ask(process, path)
    with socket.create_connection(("127.0.0.1", process.started["status_port"])) as sock:
        sock.sendall(b"what\r\n\r\n")
        sock.recv(1000)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR2, signal.SIGHUP):
        process.send(number)
        assert echoes(connect(process.port), b"\xff" * 70_000)
    reset(connect(process.port))
    connect.close()
    process.wait_for("session.closed", 25)


@pytest.mark.parametrize("faults", ["accept:EMFILE", "accept:EMFILE+hook:handle"])
def test_nothing_is_imported_once_it_serves(
    faults: str, daemon: Start, connect: Peers, tmp_path: Path
) -> None:
    """Sessions, refusals, signals, pages, a broken handler and a stop find all modules loaded."""
    observer = tmp_path / "observer"
    observer.mkdir()
    (observer / "sitecustomize.py").write_text(OBSERVER)
    process = daemon(
        *("--status-port", "0", "--max-sessions", "20"),
        fault=faults,
        env={"PYTHONPATH": f"{observer}:{ROOT}"},
    )
    process.expect_errors = faults.count("hook")
    (observer / "go").touch()
    for _ in range(25):
        connect(process.port)
    process.wait_for("accept.resumed")
    process.wait_for("session.refused")
    connect.close()
    process.wait_for("session.closed", 20)
    use(process, connect)
    process.stop()

    assert (observer / "found").read_text().split() == []
