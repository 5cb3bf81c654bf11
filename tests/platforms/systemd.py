"""The units on a real systemd, booted in namespaces: `pytest tests/platforms/systemd.py`, as root.

It makes a Debian by debootstrap in /var/tmp/echo-stable (`ECHO_STABLE_ROOT` names another folder),
which stays for the next run.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.platforms import machine as machines
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.platforms.machine import Machine

pytestmark = pytest.mark.timeout(seconds(600))

# Sessions, one after the other, until a file named `stop` is there. A session that a drain ends has
# a clean end, early as it may be; what is refused or reset is lost.
CLIENTS = """
import os, socket, threading
counts = {"done": 0, "lost": 0}
def work():
    while not os.path.exists("/tmp/stop"):
        try:
            with socket.create_connection(("127.0.0.1", 9000), timeout=20) as sock:
                sock.sendall(b"hello")
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(100) in (b"", b"hello")
        except OSError:
            counts["lost"] += 1
        counts["done"] += 1
threads = [threading.Thread(target=work) for _ in range(40)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*counts.values())
"""


@pytest.fixture(scope="session")
def system() -> None:
    """Make the system, with this project installed."""
    machines.make()


@pytest.fixture
def machine(system: None, tmp_path: Path) -> Iterator[Machine]:
    """Boot the system, in the state in which it was made."""
    del system
    with machines.booted(tmp_path) as running:
        yield running


def log_of(machine: Machine, folder: str) -> list[dict[str, Any]]:
    """Return the lines of a daemon's log."""
    lines = machine.run("cat", f"/var/log/{folder}/echo.jsonl").splitlines()
    return [json.loads(line) for line in lines]


def echo(machine: Machine) -> str:
    """Have one line echoed, and return what came back."""
    return machine.run("bash", "-c", "echo hello | echod connect 127.0.0.1 9000")


def test_both_kinds_of_service_run_on_one_system(machine: Machine) -> None:
    """Whichever was there first, the other starts, and each has a log of its own."""
    machine.drop_in("echod.service", "[Service]\nEnvironment=ECHOD_PORT=9001\n")
    for first, second in (("echod", "echod@0"), ("echod@0", "echod")):
        machine.run("systemctl", "start", first, second)
        machine.run("systemctl", "restart", first)

        assert machine.state("echod") == machine.state("echod@0") == "active"
        machine.run("systemctl", "stop", first, second)

    assert log_of(machine, "echod")[0]["port"] == 9001
    assert log_of(machine, "echod-0")[0]["port"] == 9000


def test_a_client_that_waits_for_a_bad_configuration_is_served_after_the_mend(
    machine: Machine,
) -> None:
    """The socket stays while echod can't start; a restart serves the clients that wait there.

    systemd's own limit is five starts in ten seconds, which is made an hour here, so that a slow
    machine has it, too. Past it, the socket fails, its clients are reset, and what is started by
    hand later listens on the default address instead.
    """
    folder = machine.root / "etc/systemd/system.conf.d"
    folder.mkdir()
    (folder / "limit.conf").write_text("[Manager]\nDefaultStartLimitIntervalSec=1h\n")
    machine.drop_in("echod.socket", "[Socket]\nListenStream=\nListenStream=127.0.0.1:9005\n")
    machine.drop_in("echod.service", "[Service]\nEnvironment=ECHOD_MAX_SESSIONS=lots\n")
    machine.run("systemctl", "enable", "--now", "echod.socket")
    enter = ("nsenter", f"--target={machine.pid}", "--all")
    client = subprocess.Popen(
        [*enter, "echod", "connect", "--timeout", "90", "127.0.0.1", "9005"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    tries: set[str] = set()

    def tried() -> bool:
        tries.add(machine.run("systemctl", "show", "--value", "--property=ExecMainPID", "echod"))
        return len(tries - {"0"}) > 5 or machine.state("echod.socket") == "failed"

    wait_until(tried, 60, "it is tried more often than systemd's own limit allows")
    machine.drop_in("echod.service", "")
    machine.run("systemctl", "reset-failed", "echod")  # without which nobody could restart it
    machine.run("systemctl", "restart", "echod")
    echoed, _ = client.communicate(b"hello\n", timeout=seconds(60))

    assert echoed == b"hello\n"
    assert machine.state("echod.socket") == machine.state("echod") == "active"
    assert log_of(machine, "echod")[0]["port"] == 9005
    assert machine.run("systemctl", "show", "--value", "--property=NRestarts", "echod") == "0"


def test_a_socket_that_is_down_comes_up_with_a_start(machine: Machine) -> None:
    """Echod never listens on its own instead of the socket that is enabled for it."""
    machine.run("systemctl", "enable", "--now", "echod.socket")
    machine.run("systemctl", "stop", "echod.socket", "echod.service")
    machine.run("systemctl", "restart", "echod")

    assert echo(machine) == "hello"
    assert machine.state("echod.socket") == "active"


def test_many_restarts_in_a_row_are_all_done(machine: Machine) -> None:
    """No limit on starts ends the service: ten within seconds are ten restarts."""
    machine.run("systemctl", "start", "echod")
    for _ in range(10):
        machine.run("systemctl", "restart", "echod")

    def starts() -> int:
        return sum(line["event"] == "server.started" for line in log_of(machine, "echod"))

    wait_until(lambda: starts() == 11, 20, "eleven starts in the log")

    assert machine.state("echod") == "active"


def test_daemons_on_one_port_restart_without_losing_a_session(machine: Machine) -> None:
    """With tcp_migrate_req the kernel hands what waits for the one to the other."""
    machine.run("sysctl", "-q", "-w", "net.ipv4.tcp_migrate_req=1")
    machine.run("systemctl", "start", "echod@0", "echod@1")
    enter = ("nsenter", f"--target={machine.pid}", "--all", "/opt/echod/bin/python", "-c", CLIENTS)
    clients = subprocess.Popen(enter, stdout=subprocess.PIPE)
    for name in ("echod@0", "echod@1") * 3:
        machine.run("systemctl", "restart", name)
    (machine.root / "tmp" / "stop").touch()
    done, lost = map(int, clients.communicate(timeout=seconds(60))[0].split())

    assert done > 100
    assert lost == 0


def test_the_log_is_read_as_the_page_says(machine: Machine) -> None:
    """Its owner is a user that the service alone has; root reads it, also after the stop."""
    machine.run("systemctl", "start", "echod")
    echo(machine)
    owner, mode = machine.run("stat", "-c", "%u %a", "/var/log/echod/echo.jsonl").split()
    machine.run("systemctl", "stop", "echod")
    echoed = [line for line in log_of(machine, "echod") if line["event"] == "session.closed"]
    other = ("setpriv", "--reuid=1", "--clear-groups", "cat", "/var/log/echod/echo.jsonl")

    assert 61184 <= int(owner) <= 65519  # the numbers that systemd has for such users
    assert mode == "600"
    assert echoed[0]["sent_bytes"] == 6
    assert "Permission denied" in machine.run(*other, check=False)
