"""The load generator notices every way in which an echo can be wrong."""

import contextlib
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from benchmarks.build import LOADGEN, build_all

Fault = Callable[[int, bytes], bytes]
"""Takes the number of a read in its session and what was read; returns what is sent back."""


def flip_a_bit(number: int, data: bytes) -> bytes:
    """Change one bit of the fourth message."""
    return data if number != 3 else data[:-1] + bytes([data[-1] ^ 1])


def swap_two_bytes(number: int, data: bytes) -> bytes:
    """Exchange two neighbours in the fourth message."""
    return data if number != 3 else data[:8] + data[8:10][::-1] + data[10:]


def send_too_much(number: int, data: bytes) -> bytes:
    """Send one byte more than was received."""
    return data if number != 3 else data + b"!"


def stop_short(number: int, data: bytes) -> bytes:
    """Send half of the fourth message, upon which the server closes."""
    return data if number != 3 else data[: len(data) // 2]


class Replay:
    """Send the first message that any session sent again, as the fourth of each."""

    def __init__(self) -> None:
        self.first = b""

    def __call__(self, number: int, data: bytes) -> bytes:
        """Remember the first, and repeat it later."""
        self.first = self.first or data
        return data if number != 3 else self.first


@contextlib.contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """Run a server, and give its port."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def echo_with(fault: Fault) -> type[socketserver.BaseRequestHandler]:
    """Return the handler of an echo server with a fault."""

    class Faulty(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            for number in range(4):
                self.request.sendall(fault(number, self.request.recv(4096)))

    return Faulty


class Silent(socketserver.BaseRequestHandler):
    """Reads, and never answers."""

    def handle(self) -> None:
        """Read to the end."""
        with contextlib.suppress(ConnectionResetError):
            while self.request.recv(4096):
                continue


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    build_all()


def generate(port: int, **options: float) -> "subprocess.CompletedProcess[str]":
    """Run round trips on two sessions."""
    words = [str(LOADGEN), "rtt", "--port", str(port), "--sessions", "2"]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return subprocess.run(words, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (flip_a_bit, "byte 2047 of its stream came back changed"),
        (swap_two_bytes, "byte 1544 of its stream came back changed"),
        (Replay(), "came back changed"),
        (send_too_much, "more came back than"),
        (stop_short, "closed by the server"),
    ],
)
def test_a_wrong_echo_is_one_line_and_exit_code_1(fault: Fault, complaint: str) -> None:
    """Whatever is wrong, the generator says so and gives no figures."""
    with serving(echo_with(fault)) as port:
        done = generate(port)

    assert done.returncode == 1
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_an_echo_that_never_comes_ends_at_the_limit() -> None:
    """A silent server can't hold the generator up."""
    with serving(Silent) as port:
        done = generate(port, limit=1)

    assert done.returncode == 1
    assert "--limit" in done.stderr
    assert not done.stdout


def test_streams_of_two_sessions_differ() -> None:
    """So an answer that goes to the wrong client is noticed: no message is another's."""
    said: list[bytes] = []

    class Listener(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(4096):
                said.append(data)
                self.request.sendall(data)

    with serving(Listener) as port:
        done = generate(port, duration=0.1)

    assert done.returncode == 0
    assert len(said) > 10
    assert len(set(said)) == len(said)
