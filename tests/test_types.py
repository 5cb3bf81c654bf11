"""The types that a user's own script meets: strict mypy, and pyright."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import seconds

ROOT = Path(__file__).parents[1]
SCRIPT = '''
import socketserver
import ssl

from echo import EchoClient, EchoEnded, EchoError, EchoHandler, EchoServer, Limits
from echo.testing import EventList, Faults, RunningServer, payloads, running_server, splits
from hypothesis import given


class Shout(EchoHandler):
    """A handler of one's own."""


class Counting(EchoServer):
    """A server of one's own."""

    count: int = 0


class Plain(socketserver.StreamRequestHandler):
    """One that knows nothing of echo."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())


def talk(host: str, port: int, tls: ssl.SSLContext | None = None) -> bytes:
    try:
        with EchoClient(host, port, timeout=5, tls=tls) as client:
            return client.echo(b"hello")
    except EchoEnded as error:
        return bytes(error.missing)
    except EchoError:
        return b""


def test_server(echo_server: RunningServer) -> None:
    events: EventList = echo_server.log
    echo_server.faults = Faults(delay=0.1, fragment=True)
    assert talk(*echo_server.address) == b"hello"
    assert events.wait_for("session.closed")[0]["reason"] == "eof"


def test_own() -> None:
    limits = Limits(max_sessions=3, idle_timeout=5)
    with running_server(server_class=Counting, handler=Shout, limits=limits) as server:
        server.server.count += 1
        number: int = server.server.count + server.port
    with running_server(faults=Faults(stall=True)) as faulty:
        faulty.faults = Faults()
    with EchoServer(("127.0.0.1", 0), Plain) as plain:
        print(plain.server_address, number)


@given(payload=payloads(max_size=100), pieces=splits(b"abc"))
def test_any(payload: bytes, pieces: list[bytes]) -> None:
    assert b"".join(pieces) == b"abc" and len(payload) <= 100
'''


@pytest.mark.timeout(seconds(300))  # minutes of work where the machine is busy
@pytest.mark.parametrize(
    "checker", [["mypy", "--strict", "--no-incremental"], ["basedpyright", "--level", "error"]]
)
def test_a_user_s_script_is_well_typed(checker: list[str], tmp_path: Path) -> None:
    """Handlers, servers, clients, faults, fixtures and strategies need no cast and no ignore."""
    name, *flags = checker
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        pytest.skip(f"{name} is not installed (the extra lint)")
    (tmp_path / "test_mine.py").write_text(SCRIPT)
    # An editable installation is found by a hook, which the checkers don't run.
    config = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [str(program), *flags, "test_mine.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds(280),
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
