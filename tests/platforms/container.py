"""The container's image, built from the Dockerfile and run by Podman, without rights.

`pytest tests/platforms/container.py` needs root, debootstrap, Buildah, Podman, runc and catatonit
(`ECHO_TEST_INSTALL=1` installs them), and the registries of Debian and of Python packages. The base
images aren't fetched: a Debian made by debootstrap takes their place. It stays for the next run, in
/var/tmp/echo-container (`ECHO_CONTAINER_ROOT` names another folder). The containers have no network
but their own loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pytest

from tests.debian import need
from tests.platforms.machine import PROJECT, debian
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(os.environ.get("ECHO_CONTAINER_ROOT", "/var/tmp/echo-container"))
PACKAGES = "ca-certificates,gcc,libc6-dev,python3-dev,python3-venv"
BASES = ("docker.io/library/python:3.13", "docker.io/library/python:3.13-slim")
# The flags of docs/operations.md, and no capabilities.
FLAGS = ("--init", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
# The engine's own limits are higher, and not every system's root may raise its limits to them.
LIMITS = ("--ulimit=nofile=20000", "--ulimit=nproc=20000")

pytestmark = pytest.mark.timeout(seconds(600))


class Engine:
    """Podman, with a storage of its own and commands that don't need systemd."""

    def __init__(self, storage: Path) -> None:
        self._places = ("--root", storage / "images", "--runroot", storage / "run")
        # Unlike crun, runc also runs where only some controllers are of cgroups' version 2.
        self._ways = ("--runtime", need("runc"), "--cgroup-manager=cgroupfs")

    def command(self, *words: str | Path) -> list[str | Path]:
        """Return a command line of Podman's."""
        return [need("podman"), *self._places, *self._ways, "--log-level=fatal", *words]

    def run(self, *words: str, check: bool = True, text: str = "") -> str:
        """Run a command of Podman's, and return what it writes to standard output."""
        done = subprocess.run(
            self.command(*words),
            input=text,
            capture_output=True,
            check=False,
            text=True,
            timeout=seconds(60),
        )
        assert not check or done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    def build(self) -> None:
        """Import the base images, and build the image `echod` from the Dockerfile."""
        system = ("tar", "-C", ROOT, "--one-file-system", "-c", ".")
        with subprocess.Popen(system, stdout=subprocess.PIPE) as archive:
            imported = self.command("import", "-", BASES[0])
            subprocess.run(imported, stdin=archive.stdout, check=True, capture_output=True)
        self.run("tag", *BASES)
        # Docker's format, since Podman's own has no health check.
        options = ("--isolation=chroot", "--network=host", "--format=docker", "--pull-never")
        dockerfile = ("-t", "echod", "-f", "deploy/container/Dockerfile")
        subprocess.run(
            [need("buildah"), *self._places, "bud", *options, *dockerfile, PROJECT],
            cwd=PROJECT,
            check=True,
            timeout=seconds(500),
        )


class Container:
    """A container in which echod runs."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name

    def inside(self, *command: str, text: str = "") -> str:
        """Run a command in it, and return what it writes to standard output."""
        return self.engine.run("exec", "-i", self.name, *command, text=text)

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the daemon's log."""
        return [json.loads(line) for line in self.engine.run("logs", self.name).splitlines()]

    def is_healthy(self) -> bool:
        """Run the health check, as an engine does every 30 seconds."""
        command = self.engine.command("healthcheck", "run", self.name)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def exit_code(self) -> int:
        """Return the code with which it has exited."""
        return int(self.engine.run("inspect", "--format", "{{.State.ExitCode}}", self.name))


@contextmanager
def started(engine: Engine) -> Iterator[Container]:
    """Start a container with nothing but what echod needs; remove it at the end."""
    options = ("--detach", "--pull=never", "--network=none", *LIMITS, *FLAGS)
    name = engine.run("run", *options, "echod")
    container = Container(engine, name)
    try:
        wait_until(container.log, 20, "the line server.started")
        yield container
    finally:
        engine.run("rm", "--force", name)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Build the image, in a storage that is gone afterwards."""
    debian(ROOT, PACKAGES)
    python = ROOT / "usr/local/bin/python"
    if not python.is_symlink():
        python.symlink_to("/usr/bin/python3")
    for program in ("buildah", "catatonit"):
        need(program)
    # Not in /tmp, which may be in memory: an image takes half a gigabyte.
    storage = Path(mkdtemp(prefix="echo-images-", dir="/var/tmp"))
    try:
        engine = Engine(storage)
        engine.build()
        yield engine
    finally:
        # The engine cleans up behind its containers in the background, and writes there meanwhile.
        wait_until(lambda: _removed(storage), 30, "the storage is gone")


def _removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


@pytest.fixture
def container(engine: Engine) -> Iterator[Container]:
    """Run a container that echod serves in."""
    with started(engine) as running:
        yield running


def test_it_serves_read_only_and_without_capabilities(container: Container) -> None:
    """It echoes and answers at its status port, as a user who may write nowhere."""
    page = (
        "from urllib.request import urlopen as u; print(u('http://127.0.0.1:9100/healthz').status)"
    )
    started = container.log()[0]
    status = container.inside("cat", f"/proc/{started['pid']}/status")
    mounts = container.inside("cat", "/proc/mounts").splitlines()
    root = next(line.split()[3] for line in mounts if line.split()[1] == "/")

    assert container.inside("echod", "connect", "127.0.0.1", text="hello\n") == "hello"
    assert container.inside("python", "-c", page) == "200"
    assert {"CapPrm:\t" + "0" * 16, "CapEff:\t" + "0" * 16} <= set(status.splitlines())
    assert "Uid:\t10001\t10001\t10001\t10001" in status
    assert "ro" in root.split(",")


def test_its_loop_is_compiled_and_stripped(container: Container) -> None:
    """Sessions run the compiled loop, whose file has no symbols for a debugger."""
    look = (
        "from pathlib import Path; from echo.server import compiled_loop as loop\n"
        "held = Path(loop.__file__).read_bytes()\n"
        "print(len(held), b'.debug_info' in held, b'.symtab' in held)"
    )
    size, *symbols = container.inside("python", "-c", look).split()

    assert container.log()[0]["loop"] == "compiled"
    assert symbols == ["False", "False"]
    assert int(size) < 400_000


def test_its_health_is_that_of_the_daemon(container: Container) -> None:
    """The health check finds a daemon that is well, one that hangs, and one that is well again."""
    pid = container.log()[0]["pid"]
    states = [container.is_healthy()]
    for signal in ("STOP", "CONT"):
        container.inside("sh", "-c", f"kill -{signal} {pid}")
        states.append(container.is_healthy())

    assert states == [True, False, True]


def test_it_stops_within_the_engine_s_time(container: Container) -> None:
    """A session that goes on doesn't keep the engine waiting until it kills."""
    session = ("exec", "-i", container.name, "echod", "connect", "127.0.0.1")
    pipe = subprocess.PIPE
    with subprocess.Popen(container.engine.command(*session), stdin=pipe, stdout=pipe) as client:
        assert client.stdin
        assert client.stdout
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        echoed = client.stdout.readline()
        container.engine.run("stop", container.name)
        client.stdin.close()
    lines = container.log()

    assert echoed == b"hello\n"
    assert container.exit_code() == 0  # 137 if it was killed
    assert [line["event"] for line in lines].count("session.closed") == 1
    assert lines[-1]["event"] == "server.stopped"
