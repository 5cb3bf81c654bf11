"""Behind a real HAProxy, with the configuration that is shipped: balanced, drained, taken back."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import contextmanager
from operator import gt
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from echo.client import EchoClient
from tests.debian import need
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]

# What is deployed is one thing, whatever the Python. Several waits may be long on a busy machine.
pytestmark = [pytest.mark.long, pytest.mark.timeout(seconds(300))]

CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
NAMES = ("ONE", "TWO", "THREE")
BEHIND = ("--status-port", "0", "--proxy-protocol", "--proxy-from", "127.0.0.1")


class HAProxy:
    """HAProxy on loopback, before some daemons."""

    def __init__(self, address: tuple[str, int], admin: Path) -> None:
        self.address = address
        self._admin = admin

    def ask(self, command: str) -> str:
        """Send a command to its admin socket, and return the answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(seconds(60))
            sock.connect(str(self._admin))
            sock.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: sock.recv(65536), b"")).decode()

    def column(self, name: str) -> dict[str, str]:
        """Return one fact about each daemon: status, scur (sessions now), stot (in all)."""
        rows = [row.split(",") for row in self.ask("show stat -1 4 -1").splitlines() if row]
        return {row[1]: row[rows[0].index(name)] for row in rows[1:]}

    def sessions(self) -> dict[str, int]:
        """Return how many sessions each daemon has had."""
        return {name: int(count) for name, count in self.column("stot").items()}


@contextmanager
def haproxy(folder: Path, daemons: list[DaemonProcess]) -> Iterator[HAProxy]:
    """Run it, with the shipped configuration, until all its daemons are up."""
    admin = folder / "admin.sock"
    environ = {**os.environ, "ECHOD_ADMIN": str(admin)}
    # A check waits as long for its answer. Twice in vain, and the daemon counts as down.
    environ |= {"ECHOD_MAXCONN": "100", "ECHOD_CHECK": "1s"}
    for name, process in zip(NAMES, daemons, strict=True):
        environ[f"ECHOD_{name}"] = f"127.0.0.1:{process.port}"
        environ[f"ECHOD_{name}_STATUS"] = str(process.started["status_port"])
    with socket.create_server(("127.0.0.1", 0)) as sock, (folder / "haproxy").open("wb") as out:
        environ["ECHOD_BIND"] = f"fd@{sock.fileno()}"
        command = [need("haproxy"), "-db", "-f", str(CONFIG)]
        with subprocess.Popen(
            command, env=environ, pass_fds=[sock.fileno()], stdout=out, stderr=out
        ) as process:
            try:
                proxy = HAProxy(sock.getsockname(), admin)
                wait_until(admin.exists, 60, "HAProxy's admin socket")
                wait_until(
                    lambda: set(proxy.column("status").values()) == {"UP"}, 60, "all daemons up"
                )
                yield proxy
            finally:
                process.terminate()
                process.wait(seconds(60))


def keep_echoing(
    address: tuple[str, int],
    over: threading.Event,
    failures: list[BaseException],
    done: list[int],
    client_number: int,
) -> None:
    """Open one session after the other, echo in each, count them, and note what goes wrong."""
    try:
        while not over.is_set():
            with EchoClient(*address, timeout=seconds(60)) as client:
                for _ in range(5):
                    client.echo(os.urandom(2000))
                client.finish()
            done[client_number] += 1
    except Exception as error:  # noqa: BLE001 - the test's verdict
        failures.append(error)


def accepted(process: DaemonProcess) -> int:
    """Count a daemon's sessions so far."""
    return len(process.events("session.accepted"))


def test_a_daemon_is_drained_and_taken_back_and_no_echo_is_lost(
    daemon: Start, tmp_path: Path
) -> None:
    """Three daemons share the load; one leaves and comes back meanwhile, and every byte returns."""
    daemons = [daemon(*BEHIND) for _ in NAMES]
    failures: list[BaseException] = []
    done = [0] * 6  # sessions of each client
    over = threading.Event()
    with haproxy(tmp_path, daemons) as proxy:
        threads = [
            threading.Thread(target=keep_echoing, args=(proxy.address, over, failures, done, n))
            for n in range(len(done))
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: min(proxy.sessions().values()) > 20, 60, "load on all")
        proxy.ask("set server echod/two state drain")
        # HAProxy may have chosen two for sessions that it doesn't count as two's yet.
        then = done.copy()
        wait_until(lambda: all(map(gt, done, then)) or failures, 60, "the end of those sessions")
        wait_until(lambda: proxy.column("scur")["two"] == "0", 60, "the last session of two")
        away = proxy.sessions()
        wait_until(lambda: proxy.sessions()["one"] > away["one"] + 50, 60, "the others going on")
        still_away = proxy.sessions()
        proxy.ask("set server echod/two state ready")
        wait_until(lambda: proxy.sessions()["two"] > away["two"] + 20, 60, "two being back")
        over.set()
        for thread in threads:
            thread.join(seconds(60))

    assert failures == []
    assert still_away["two"] == away["two"]
    for process in daemons:
        for line in process.wait_for("session.closed", accepted(process)):
            assert line["reason"] == "eof"


def test_real_peers_are_named_and_a_stopped_daemon_gets_none(daemon: Start, tmp_path: Path) -> None:
    """The log has the client's own address; the health checks are no sessions, and are heeded."""
    daemons = [daemon(*BEHIND) for _ in NAMES]
    peers = []
    with haproxy(tmp_path, daemons) as proxy:
        daemons[2].stop()
        wait_until(lambda: proxy.column("status")["three"].startswith("DOWN"), 60, "three down")
        for _ in range(6):
            with EchoClient(*proxy.address, timeout=seconds(60)) as client:
                assert client.echo(b"hello") == b"hello"
                peers.append(client.sock.getsockname())
                client.finish()
        wait_until(lambda: sum(map(accepted, daemons)) == len(peers), 60, "all accepted lines")
    lines = [line for process in daemons for line in process.events("session.accepted")]

    assert sorted((line["peer_ip"], line["peer_port"]) for line in lines) == sorted(peers)
    assert {line["proxy_ip"] for line in lines} == {"127.0.0.1"}
    assert accepted(daemons[2]) == 0
