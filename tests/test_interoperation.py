"""Other people's programs at the other end: ncat, socat, a C server and a C client."""

from __future__ import annotations

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_connect import Terminal, command, piped
from tests.debian import need
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.process import DaemonProcess

    Start = Callable[..., DaemonProcess]

# A program may have to be installed first, which waits for other installations.
pytestmark = pytest.mark.timeout(seconds(400))

PEERS = Path(__file__).parent / "peers"
MIB = 1024 * 1024


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str], Path]:
    """Compile one of the peers' C programs, as C++ where that can be had: both must do."""

    def build(name: str) -> Path:
        program = tmp_path / name
        source = PEERS / f"{name}.c"
        subprocess.run(
            [need("c++"), "-x", "c++", "-Wall", "-Wextra", "-o", program, source],
            check=True,
            timeout=seconds(100),
        )
        return program

    return build


@pytest.mark.parametrize(
    "line", [["ncat", "127.0.0.1", "PORT"], ["socat", "-t300", "-", "TCP:127.0.0.1:PORT"]]
)
@pytest.mark.long
def test_sixteen_mebibytes_come_back_eight_at_once(daemon: Start, line: list[str]) -> None:
    """Eight at once get 16 MiB each back, byte-exact, through tools that are not ours."""
    process = daemon()
    tool = [need(line[0]), *(word.replace("PORT", str(process.port)) for word in line[1:])]

    def exchange(seed: int) -> bool:
        data = random.Random(seed).randbytes(16 * MIB)
        done = subprocess.run(
            tool, input=data, stdout=subprocess.PIPE, timeout=seconds(100), check=True
        )
        return done.stdout == data

    with ThreadPoolExecutor(8) as pool:
        exact = list(pool.map(exchange, range(8)))
    process.wait_for("session.closed", 8)

    assert exact == [True] * 8


def test_a_c_client_gets_its_lines_back(daemon: Start, compiled: Callable[[str], Path]) -> None:
    """A C client that ends its messages with NUL and waits for all of them is served."""
    process = daemon()
    lines = [b"hello", b"", "소켓".encode(), b"x" * 511, b"y" * 512, b"z" * 2000]
    done = subprocess.run(
        [compiled("simple_client"), str(process.port)],
        input=b"\n".join(lines) + b"\n",
        capture_output=True,
        timeout=seconds(100),
        check=True,
    )
    closed = process.wait_for("session.closed")[0]

    assert done.stdout.startswith(b"6 bytes: hello\n1 bytes: \n7 bytes: \xec")
    assert closed["received_bytes"] == sum(len(line) + 1 for line in lines)
    assert closed["reason"] == "eof"


def test_a_c_server_is_talked_to(compiled: Callable[[str], Path], tmp_path: Path) -> None:
    """`echod connect` talks to a C server that reads 511 bytes at once, by hand and in a pipe."""
    server = subprocess.Popen([compiled("simple_server"), "2"], stdout=subprocess.PIPE)
    assert server.stdout is not None
    address = ("127.0.0.1", int(server.stdout.readline()))
    data = bytes(range(256)) * 400

    assert piped(address, data).stdout == data

    terminal = Terminal(command(address, "--terminator", "nul"), tmp_path)
    terminal.type(b"hello\n", b"received 6 bytes: hello")
    terminal.type(b"x" * 600 + b"\n", b"received 89 bytes: x")
    terminal.type(b"\x04", b"607 bytes sent, all came back")

    assert terminal.end() == 0
    assert server.wait(seconds(60)) == 0
    server.stdout.close()
