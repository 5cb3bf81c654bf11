"""The service manager's protocols, over real descriptors and a real notify socket."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from echo.client import EchoClient, EchoEnded
from echo.server.systemd import BadDescriptor, Notifier, inherited
from tests.authority import Authority
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]

pytestmark = pytest.mark.once  # how a daemon is started is one thing, whatever the Python

# Starts the daemon as a service manager does: descriptors from 3 on, and LISTEN_PID its own.
LAUNCHER = """
import os, sys
given, names, command = sys.argv[1], sys.argv[2], sys.argv[3:]
descriptors = [int(fd) for fd in given.split(",")]
kept = [os.dup2(fd, 100 + number) for number, fd in enumerate(descriptors)]
for number, fd in enumerate(kept):
    os.dup2(fd, 3 + number)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(kept)), LISTEN_FDNAMES=names)
os.execv(sys.executable, [sys.executable, "-m", "echo", *command])
"""


class Manager:
    """A service manager's end of the notify socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + path[1:] if path.startswith("@") else path)
        self.sock.settimeout(seconds(60))
        self.heard: list[str] = []

    def wait_for(self, word: str) -> str:
        """Wait for a message that begins so, and give it."""
        while True:
            message = self.sock.recv(4096).decode()
            self.heard.append(message)
            if message.startswith(word):
                return message


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Return a service manager to notify."""
    there = Manager(str(tmp_path / "notify"))
    with closing(there.sock):
        yield there


def environment(manager: Manager, **more: str) -> dict[str, str]:
    """Return what a service of this manager finds in its environment."""
    return {"NOTIFY_SOCKET": manager.path, **more}


# -- readiness ----------------------------------------------------------------------------


def test_it_says_when_it_serves_reloads_and_stops(daemon: Start, manager: Manager) -> None:
    """READY comes when it listens, RELOADING and READY around HUP, STOPPING at a stop."""
    process = daemon(env=environment(manager))
    manager.wait_for("READY=1")
    with process.client() as client:
        client.echo(b"hello")
        status = manager.wait_for("STATUS=1/")
        process.send(signal.SIGHUP)
        reloading = manager.wait_for("RELOADING=1")
        manager.wait_for("READY=1")
    process.send(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    code = process.wait()

    assert status == "STATUS=1/10000 sessions"
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert code == 0
    assert "WATCHDOG=1" not in manager.heard


def test_ready_means_that_a_connection_is_served(daemon: Start, manager: Manager) -> None:
    """A client that waits for READY is not refused."""
    process = daemon(env=environment(manager), started=False)
    manager.wait_for("READY=1")
    process.ready()
    with process.client() as client:
        assert client.echo(b"hello") == b"hello"


def test_an_abstract_socket_is_told_too() -> None:
    """A name that begins with @ is one in Linux's abstract space."""
    name = f"@echod-test-{os.getpid()}"
    there = Manager(name)
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.status("fine")
    notifier.status("fine")
    notifier.stopping(1)

    assert there.wait_for("STOPPING") == "STOPPING=1"
    assert there.heard == ["READY=1", "STATUS=fine", "STOPPING=1"]
    there.sock.close()


def test_a_manager_that_is_gone_is_no_harm(daemon: Start, tmp_path: Path) -> None:
    """A notify socket that is not there changes nothing."""
    process = daemon(env={"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with process.client() as client:
        assert client.echo(b"hello") == b"hello"


def fill(manager: Manager) -> None:
    """Send the manager messages until it has no room for another one."""
    with suppress(BlockingIOError):
        while True:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(b"old", manager.path)


def test_a_manager_that_reads_nothing_is_no_harm(daemon: Start, manager: Manager) -> None:
    """It holds the daemon up for a second, once; what it is told when it reads again, it hears."""
    fill(manager)
    process = daemon(env=environment(manager))
    with process.client() as client:
        assert client.echo(b"hello") == b"hello"
    for count in range(1, 6):
        process.send(signal.SIGHUP)
        process.wait_for("log.reopened", count)
    process.wait_for("session.closed")
    for count in range(1, 3):  # then it has told of all that
        process.send(signal.SIGUSR1)
        process.wait_for("server.state", count)
    manager.sock.setblocking(False)
    with suppress(BlockingIOError):
        manager.wait_for("nothing")
    manager.sock.settimeout(seconds(20))
    process.send(signal.SIGHUP)

    assert manager.wait_for("RELOADING=1")
    assert set(manager.heard[:-1]) == {"old"}


def test_a_manager_that_reads_nothing_takes_no_time_of_a_drain(
    daemon: Start, manager: Manager
) -> None:
    """Sessions are asked to end before it is told of the stop, however long that takes."""
    process = daemon("--drain-timeout", "60", env=environment(manager), fault="stubborn")
    with process.client() as client:
        client.echo(b"hello")
        manager.wait_for("STATUS=1/")
        fill(manager)
        process.send(signal.SIGTERM)
        with pytest.raises(EchoEnded):
            client.receive(1)
    manager.wait_for("STOPPING=1")

    assert process.wait() == 0
    assert process.events("session.closed")[0]["reason"] == "drained"


# -- the watchdog -------------------------------------------------------------------------


def test_the_watchdog_is_fed_while_the_accept_loop_turns(daemon: Start, manager: Manager) -> None:
    """WATCHDOG=1 comes again and again."""
    daemon(env=environment(manager, WATCHDOG_USEC="1000000"))
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")


def test_a_watchdog_without_patience_takes_no_processor(daemon: Start, manager: Manager) -> None:
    """It is fed twenty times a second at the most, and the accept loop iterates as often."""
    process = daemon(env=environment(manager, WATCHDOG_USEC="1"))
    before = process.cpu_seconds()
    for _ in range(20):
        manager.wait_for("WATCHDOG=1")

    assert process.cpu_seconds() - before < 0.5


def test_the_watchdog_is_not_fed_when_the_accept_loop_hangs(manager: Manager) -> None:
    """Without an iteration of the accept loop there is no sign of life."""
    notifier = Notifier(environment(manager, WATCHDOG_USEC="1000000"))
    for iterations in (0, 0, 0, 1):
        notifier.alive(iterations)
    notifier.stopping(1)
    manager.wait_for("STOPPING=1")

    assert manager.heard.count("WATCHDOG=1") == 2


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, math.inf),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, math.inf),
        ({"WATCHDOG_USEC": "0"}, math.inf),
        ({"WATCHDOG_USEC": "soon"}, math.inf),
        ({"WATCHDOG_USEC": "9" * 5000}, math.inf),
    ],
)
def test_the_watchdog_is_for_whom_it_names(environ: Mapping[str, str], wanted: float) -> None:
    """Its time is in microseconds, and another process's is not ours."""
    assert Notifier(environ).watchdog == wanted


# -- activation ---------------------------------------------------------------------------


def listening(host: str = "127.0.0.1") -> socket.socket:
    """Return a listening socket, as a socket unit's is."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, 0), family=family, backlog=512)
    sock.set_inheritable(True)
    return sock


@contextmanager
def activated(
    folder: Path, sockets: Mapping[str, socket.socket], *flags: str, **env: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a daemon that inherits these sockets, and stop it."""
    given = ",".join(str(sock.fileno()) for sock in sockets.values())
    for sock in sockets.values():
        sock.set_inheritable(True)
    arguments = [given, ":".join(sockets), "serve", "--log-file", str(folder / "log"), *flags]
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, *arguments],
        env={**os.environ, **env},
        cwd=folder,
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(seconds(60))


def outcome(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Wait for the end of a daemon that can't start; give its code and its words."""
    code = process.wait(seconds(60))
    assert process.stderr is not None
    return code, process.stderr.read().decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_inherited_socket_is_served(tmp_path: Path, host: str) -> None:
    """With no address given, the socket from LISTEN_FDS is the one, whatever it is called."""
    with listening(host) as sock, activated(tmp_path, {"echod.socket": sock}) as process:
        with EchoClient(host, sock.getsockname()[1], timeout=seconds(60)) as client:
            assert client.echo(b"hello") == b"hello"
        process.terminate()

        assert outcome(process) == (0, "")


def test_the_socket_called_status_is_for_the_status_pages(tmp_path: Path) -> None:
    """Two sockets are told apart by LISTEN_FDNAMES."""
    with listening() as sock, listening() as status:
        with activated(tmp_path, {"status": status, "echo": sock}):
            with EchoClient(*sock.getsockname(), timeout=seconds(60)) as client:
                client.echo(b"hello")
            with socket.create_connection(status.getsockname(), seconds(20)) as page:
                page.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                answer = b"".join(iter(lambda: page.recv(4096), b""))

    assert answer.endswith(b"ok\n")


def test_sockets_for_another_process_are_left_alone(daemon: Start) -> None:
    """LISTEN_PID names who is meant."""
    process = daemon(env={"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    with process.client() as client:
        assert client.echo(b"hello") == b"hello"


@pytest.mark.parametrize("flags", [("--port", "0"), ("--host", "127.0.0.1"), ("--reuse-port",)])
def test_a_socket_and_an_address_are_one_too_many(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Both is a usage error."""
    with listening() as sock, activated(tmp_path, {"echo": sock}, *flags) as process:
        code, said = outcome(process)

    assert code == 2
    assert said.count("\n") == 1
    assert "inherited" in said


def test_a_status_socket_and_a_status_port_are_one_too_many(tmp_path: Path) -> None:
    """The same goes for the status pages."""
    with (
        listening() as sock,
        activated(tmp_path, {"status": sock}, "--status-port", "0") as process,
    ):
        assert outcome(process)[0] == 2


def test_two_sockets_for_the_echo_are_one_too_many(tmp_path: Path) -> None:
    """One daemon has one listening socket."""
    with listening() as one, listening() as two:
        with activated(tmp_path, {"a": one, "b": two}) as process:
            code, said = outcome(process)

    assert (code, said.count("\n")) == (os.EX_CONFIG, 1)
    assert "(a, b)" in said


def unix_socket(folder: Path) -> socket.socket:
    """Return a listening socket that is not TCP's."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(folder / "unix"))
    sock.listen()
    return sock


@pytest.mark.parametrize(
    "make",
    [
        lambda _: socket.socket(),
        lambda _: socket.socket(type=socket.SOCK_DGRAM),
        unix_socket,
        lambda folder: (folder / "file").open("wb"),
    ],
    ids=["not-listening", "udp", "unix", "file"],
)
def test_what_is_no_listening_tcp_socket_is_refused(tmp_path: Path, make: Any) -> None:
    """One line that names the descriptor, and EX_CONFIG."""
    with make(tmp_path) as thing:
        os.set_inheritable(thing.fileno(), True)
        given = [str(thing.fileno()), "echo", "serve", "--log-file", str(tmp_path / "log")]
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *given], close_fds=False, stderr=subprocess.PIPE
        )
        with process:
            code, said = outcome(process)

    assert (code, said.count("\n")) == (os.EX_CONFIG, 1)
    assert "descriptor 3 (echo) is no" in said


@pytest.mark.parametrize("count", ["", "many", "-1", "¹", "9" * 5000], ids=lambda count: count[:9])
def test_a_count_that_is_none_is_refused(count: str) -> None:
    """LISTEN_FDS is a number, and one that can be meant."""
    with pytest.raises(BadDescriptor, match=r"no number$"):
        inherited({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})


# -- a restart ----------------------------------------------------------------------------

CLIENTS = 8
RESTARTS = 3


def keep_connecting(address: tuple[str, int], over: threading.Event, tally: list[str]) -> None:
    """Connect, echo, end, again and again; note how each ended."""
    while not over.is_set():
        try:
            with EchoClient(*address, timeout=seconds(60)) as client:
                client.echo(b"hello")
                client.finish()
            tally.append("whole")
        except EchoEnded:
            tally.append("drained")
        except OSError as error:
            tally.append(type(error).__name__)


@pytest.mark.long
def test_a_restart_under_load_refuses_nobody(tmp_path: Path) -> None:
    """The manager keeps the socket: connections wait in the kernel while the daemon is away.

    None is refused and none is reset; one that a drain strikes ends with an end of stream.
    """
    tally: list[str] = []
    over = threading.Event()
    with listening() as sock:
        address = sock.getsockname()
        threads = [
            threading.Thread(target=keep_connecting, args=(address, over, tally), daemon=True)
            for _ in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for _ in range(RESTARTS):
            before = len(tally)
            with activated(tmp_path, {"echo": sock}):
                wait_until(lambda: len(tally) > before + 300, 30, "sessions")  # noqa: B023
        with activated(tmp_path, {"echo": sock}):
            over.set()
            for thread in threads:
                thread.join(seconds(90))

    assert set(tally) <= {"whole", "drained"}
    assert tally.count("whole") > RESTARTS * 300
    print(f"{len(tally)} connections, {RESTARTS} restarts, {tally.count('drained')} drained")  # noqa: T201


def test_a_reload_rereads_the_certificate(daemon: Start, tmp_path: Path) -> None:
    """HUP serves the new one; where it can't be used the old one goes on, and the log says so."""
    authority = Authority(tmp_path / "tls")
    cert, key = authority.issue("server")
    process = daemon("--tls-cert", str(cert), "--tls-key", str(key))
    process.expect_errors = 1
    first = shown(process, authority)
    authority.issue("server")
    process.send(signal.SIGHUP)
    wait_until(lambda: shown(process, authority) != first, 20, "the new certificate")
    second = shown(process, authority)
    authority.issue("server", days=-1)
    process.send(signal.SIGHUP)
    error = process.wait_for("server.error")[0]
    third = shown(process, authority)

    assert first != second == third
    assert error["where"] == "certificates"
    assert "expired" in error["error"]


def shown(process: DaemonProcess, authority: Authority) -> bytes:
    """Return the certificate that the daemon shows."""
    context = authority.trusting()
    address = ("127.0.0.1", process.port)
    with EchoClient(*address, timeout=seconds(60), tls=context) as client:
        client.echo(b"hello")
        return client.sock.getpeercert(binary_form=True) or b""  # type: ignore[attr-defined, no-any-return]
