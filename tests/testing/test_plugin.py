"""The pytest plugin in other people's projects: beside other packages, and when a test fails."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from tests.waiting import seconds

if TYPE_CHECKING:
    from pathlib import Path

USES = "def test_it(echo_server):\n    assert echo_server.port > 0\n"
OTHER = "def test_other():\n    import echo\n    assert echo.MINE\n"


def pytest_in(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project of these modules."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds(110),
        check=False,
    )


def test_a_project_may_have_an_echo_of_its_own(tmp_path: Path) -> None:
    """Its tests run as if the plugin were not there."""
    done = pytest_in(tmp_path, echo="MINE = True\n", test_other=OTHER)

    assert done.returncode == 0, done.stdout + done.stderr


def test_what_stands_in_the_way_is_one_line(tmp_path: Path) -> None:
    """A test that wants the fixture there is told which file hides the package."""
    done = pytest_in(tmp_path, echo="MINE = True\n", test_it=USES)

    assert done.returncode == 1
    path = tmp_path / "echo.py"
    assert f"echo_server needs the package echo of echo-daemon, and {path} hides it" in done.stdout
    assert "Traceback" not in done.stdout


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    """So is a library of ours that isn't there."""
    (tmp_path / "conftest.py").write_text("import sys\nsys.modules['structlog'] = None\n")
    done = pytest_in(tmp_path, test_it=USES)

    assert done.returncode == 1
    assert "echo_server can't import the package echo of echo-daemon: import of str" in done.stdout


def test_a_failing_test_shows_what_its_servers_saw(tmp_path: Path) -> None:
    """A section for each, with its events; a test that passes has none."""
    done = pytest_in(
        tmp_path,
        test_it=(
            "import socket\n\n\n"
            "def test_fails(echo_server):\n"
            "    with socket.create_connection(echo_server.address) as sock:\n"
            "        sock.sendall(b'hello')\n"
            "        sock.recv(5, socket.MSG_WAITALL)\n"
            "    echo_server.log.wait_for('session.closed')\n"
            "    assert False\n\n\n"
            "def test_passes(echo_server):\n"
            "    assert echo_server.port\n"
        ),
    )

    assert done.returncode == 1
    assert done.stdout.count("- echo_server 127.0.0.1:") == 1
    assert "'event': 'session.closed'" in done.stdout
    assert "'received_bytes': 5" in done.stdout


def test_the_factory_takes_a_handler(tmp_path: Path) -> None:
    """Without faults, it needs no other base; the report of its failing test has the traceback."""
    done = pytest_in(
        tmp_path,
        test_it=(
            "import socket\n"
            "from echo import EchoHandler\n\n\n"
            "class Upper(EchoHandler):\n"
            "    def send_back(self, chunk):\n"
            "        super().send_back(bytes(chunk).upper())\n\n\n"
            "class Broken(EchoHandler):\n"
            "    def handle(self):\n"
            "        raise RuntimeError('boom')\n\n\n"
            "def test_passes(echo_server_factory):\n"
            "    server = echo_server_factory(handler=Upper)\n"
            "    with socket.create_connection(server.address) as sock:\n"
            "        sock.sendall(b'hello')\n"
            "        assert sock.recv(5, socket.MSG_WAITALL) == b'HELLO'\n\n\n"
            "def test_fails(echo_server_factory):\n"
            "    server = echo_server_factory(handler=Broken)\n"
            "    with socket.create_connection(server.address) as sock:\n"
            "        server.log.wait_for('server.error')\n"
            "        assert sock.recv(5) == b'HELLO'\n"
        ),
    )

    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "'event': 'server.error'" in done.stdout
    assert "    raise RuntimeError('boom')\nRuntimeError: boom\n" in done.stdout


def test_a_server_that_saw_nothing_is_shown_so(tmp_path: Path) -> None:
    """Its section in the report of a failing test isn't empty."""
    done = pytest_in(tmp_path, test_it="def test_fails(echo_server):\n    assert False\n")

    assert "-\nno events\n" in done.stdout, done.stdout


def test_the_plugin_has_the_distribution_s_name() -> None:
    """Another plugin may be called echo: one of two with the same name is not loaded."""
    names = {point.name for point in metadata.entry_points(group="pytest11")}

    assert "echo-daemon" in names
    assert "echo" not in names
