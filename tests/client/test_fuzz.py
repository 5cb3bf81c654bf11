"""Fuzzing: right servers pass, and each planted fault is found with a case near the smallest."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from echo.client import EchoClient
from echo.client.cases import Case, literal
from echo.client.fuzz import Fuzzer
from echo.client.strategies import noise, payloads, short_payloads, sizes, splits
from echo.limits import BEYOND_BUFFERS
from echo.testing import Faults, running_server
from tests import planted
from tests.debian import need
from tests.process import free_port
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from echo.client.cases import FailedCase
    from tests.planted import Serve


pytestmark = pytest.mark.once  # the search is hypothesis's


@pytest.fixture(autouse=True)
def _time_to_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a slow machine get to the smallest case, too."""
    monkeypatch.setattr("echo.client.fuzz.SHRINK_TIMEOUT", seconds(600))


def found(serve: Serve, *, deadline: float = 10, **options: int) -> FailedCase:
    """Fuzz a planted server, and give what is found."""
    with planted.planted(serve) as address:
        fuzzer = Fuzzer(*address, seed=1, deadline=seconds(deadline), **options)
        finding = fuzzer.search()
    assert finding is not None
    return finding


# -- what is found -------------------------------------------------------------------------


@pytest.mark.long
def test_dropped_nul_bytes_are_found() -> None:
    """The smallest case is one NUL."""
    finding = found(planted.hangs_up(planted.drops_nul))

    assert finding.case.payload == b"\0"


def test_a_loss_after_a_half_close_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest case is one byte and a half-close at once."""
    finding = found(planted.loses_after_half_close(monkeypatch))

    assert len(finding.case.payload) == 1
    assert finding.case.half_close
    assert finding.problem == "the server ended the stream at offset 0, with 1 byte missing"


@pytest.mark.long
def test_a_break_beyond_4096_is_found() -> None:
    """The smallest case is the first size beyond."""
    finding = found(planted.hangs_up(planted.breaks_beyond_4096))

    assert len(finding.case.payload) == 4097
    assert len(finding.case.pieces) == 1


def test_a_prefix_of_lines_is_found() -> None:
    """The smallest case is one byte: it comes back with more, or not at all."""
    finding = found(planted.hangs_up(planted.prefixes_lines))

    assert len(finding.case.payload) == 1


def test_chunks_swapped_under_load_are_found() -> None:
    """The smallest case is about the load at which they are swapped."""
    finding = found(planted.swaps_under_load)

    assert 8193 <= len(finding.case.payload) <= 9000
    assert "the echo differs" in finding.problem


def test_more_than_was_sent_is_found() -> None:
    """One byte too many is enough."""
    finding = found(planted.sends_more)

    assert len(finding.case.payload) == 1
    assert finding.problem == "the echo differs at offset 1: expected no more bytes, got 0x21"


def test_an_end_that_never_comes_is_found() -> None:
    """Without a byte the half-close has to be answered, too."""
    finding = found(planted.never_ends, deadline=0.4, max_size=10)

    assert (finding.case.payload, finding.case.half_close) == (b"", True)


def test_a_fault_in_the_splitting_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes a second piece for something else is found with two short pieces."""
    taken = threading.Semaphore(0)
    send = EchoClient.send

    def serve(sock: socket.socket) -> None:
        for number, data in enumerate(planted.reads(sock)):
            taken.release()
            sock.sendall(data if number == 0 else data[::-1])

    def send_apart(client: EchoClient, piece: bytes) -> None:
        send(client, piece)  # and the next one when this is read: the network may join them
        assert not piece or taken.acquire(timeout=seconds(10))

    monkeypatch.setattr(EchoClient, "send", send_apart)
    finding = found(serve, max_size=200)

    assert len(finding.case.pieces) == 2
    assert len(finding.case.payload) <= 5


def test_a_fault_that_does_not_come_again_is_kept() -> None:
    """A failure that happens once is reported, though it can't be shrunk."""
    count = iter(range(10**6))

    def serve(sock: socket.socket) -> None:
        for data in planted.reads(sock):
            if next(count) == 20:
                return
            sock.sendall(data)

    finding = found(serve, max_size=1000)

    assert "missing" in finding.problem


# A server that ends at its first NUL.
FRAGILE = """
import os, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    sock, _ = listener.accept()
    while data := sock.recv(65536):
        if b"\\0" in data:
            listener.close()  # before the client can know
            os._exit(0)
        sock.sendall(data)
    sock.close()
"""


def test_a_server_that_is_gone_after_a_case_is_found() -> None:
    """When no connection can be made any more, the previous case is the finding."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        words = [sys.executable, "-c", FRAGILE, str(listener.fileno())]
        process = subprocess.Popen(words, pass_fds=[listener.fileno()])
    try:
        fuzzer = Fuzzer(*address, seed=1, max_size=600, deadline=seconds(20))
        fuzzer.search()
    finally:
        process.kill()
        process.wait()

    assert fuzzer.finding is not None
    assert b"\0" in fuzzer.finding.case.payload
    assert "Fuzzer" in repr(fuzzer)


def test_making_it_smaller_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shrinking that takes too long ends, with the smallest case so far."""
    monkeypatch.setattr("echo.client.fuzz.SHRINK_TIMEOUT", 0.0)
    finding = found(planted.hangs_up(planted.breaks_beyond_4096), max_size=5000)

    assert len(finding.case.payload) == 4097


# -- what passes ---------------------------------------------------------------------------


def passes(address: tuple[str, int], max_examples: int = 10) -> None:
    """Fuzz a server that is to be right."""
    fuzzer = Fuzzer(*address, deadline=seconds(30), max_examples=max_examples)
    fuzzer.search()

    assert fuzzer.finding is None
    assert fuzzer.examples > fuzzer.max_examples


def test_our_own_server_passes() -> None:
    """Every payload that hypothesis draws comes back, also beyond all buffers."""
    with running_server() as server:
        passes(server.address, max_examples=40)
    largest = max(line["received_bytes"] for line in server.log.named("session.closed"))

    assert largest == BEYOND_BUFFERS


def test_a_slow_line_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that makes progress may take longer, by what its payload takes on a slow line."""
    monkeypatch.setattr("echo.client.fuzz.WHOLE", 0.1)
    monkeypatch.setattr("echo.client.fuzz.SLOW_BYTES_PER_S", 1024)
    with running_server(faults=Faults(throttle=60_000)) as server:
        fuzzer = Fuzzer(
            *server.address,
            deadline=seconds(10),
            max_examples=1,
            max_size=65537,
            half_close=False,
        )
        fuzzer.search()

    assert fuzzer.finding is None


@contextmanager
def program(port: int, *words: str) -> Iterator[tuple[str, int]]:
    """Run somebody's echo server on a port of 127.0.0.1."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_until(lambda: answers(port), 30, f"{words[0]} listening")
        yield "127.0.0.1", port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    """Return whether somebody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


# Seconds that socat leaves for the rest of the echo after a half-close; half a one by itself.
PATIENT = ("-t", "60")


def test_socat_s_pipe_passes() -> None:
    """As long as it reads no more at once than a pipe has room for.

    With its usual blocks of 8 KiB it stands still now and then with megabytes under way: it
    writes 8 KiB into a pipe that has room for 4, and is itself the one who would read it.
    """
    port = free_port()
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
    with program(port, need("socat"), *PATIENT, "-b", "4096", listen, "PIPE") as address:
        passes(address)


def test_socat_with_cat_passes() -> None:
    """Passes: socat runs a process for each session."""
    port = free_port()
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork"
    with program(port, need("socat"), *PATIENT, listen, "EXEC:cat") as address:
        passes(address)


@pytest.mark.long
def test_ncat_with_cat_is_right_but_for_the_half_close() -> None:
    """Before version 7.96, ncat forgets what cat has not answered yet when the peer half-closes.

    With some hundred KiB under way it stands still: it writes to cat, which waits for it to read.
    """
    ncat, cat = need("ncat"), need("cat")
    version = subprocess.run([ncat, "--version"], capture_output=True, text=True, check=True)
    numbers = re.findall(r"(\d+)\.(\d+)", version.stdout + version.stderr)[0]
    port = free_port()
    with program(port, ncat, "-l", "127.0.0.1", str(port), "-k", "-e", cat) as address:
        finding = Fuzzer(*address, max_size=32768, deadline=seconds(10)).search()
        rest = Fuzzer(*address, max_size=32768, deadline=seconds(10), half_close=False).search()

    assert rest is None
    if tuple(int(number) for number in numbers) < (7, 96):
        assert finding is not None
        assert finding.case.half_close  # of any size: it is a race


XINETD = """
service echo
{{
    type = INTERNAL UNLISTED
    id = echo-stream
    socket_type = stream
    protocol = tcp
    user = root
    wait = no
    bind = 127.0.0.1
    port = {port}
    cps = 100000 1
    instances = UNLIMITED
    per_source = UNLIMITED
}}
"""


def test_inetd_s_own_echo_passes(tmp_path: Path) -> None:
    """Xinetd's built-in echo service passes."""
    if os.geteuid():
        pytest.skip("xinetd has to be started as root")
    port = free_port()
    (tmp_path / "xinetd.conf").write_text(XINETD.format(port=port))
    files = ["-f", f"{tmp_path}/xinetd.conf", "-pidfile", f"{tmp_path}/pid"]
    with program(port, need("xinetd"), "-dontfork", *files) as address:
        passes(address)


# -- the cases -----------------------------------------------------------------------------


@given(payload=payloads(10_000))
def test_payloads_keep_to_their_size(payload: bytes) -> None:
    """No payload is larger than was asked for."""
    assert len(payload) <= 10_000


def test_a_payload_shrinks_to_the_smallest_from_wherever_it_was_found() -> None:
    """Payloads found at the edge of a power of two shrink past it."""
    quiet = settings(database=None)
    found = {
        len(find(payloads(), lambda x: len(x) > 5000, settings=quiet, random=random.Random(seed)))
        for seed in range(25)
    }

    assert found == {5001}


@given(payload=payloads(0))
def test_the_smallest_payload_is_none(payload: bytes) -> None:
    """An empty payload is sent as well."""
    assert payload == b""


@given(size=sizes(5000))
def test_sizes_keep_to_their_bound(size: int) -> None:
    """No size is larger than was asked for."""
    assert 0 <= size <= 5000


@given(data=st.data(), payload=short_payloads())
def test_splits_are_the_payload(data: st.DataObject, payload: bytes) -> None:
    """Whatever the pieces, they are the payload; none is empty, unless all is."""
    pieces = data.draw(splits(payload, max_pieces=4))

    assert b"".join(pieces) == payload
    assert len(pieces) <= 4
    assert all(pieces) or pieces == [b""]


def test_splits_draw_payloads_themselves() -> None:
    """Without a payload, one is drawn; with a strategy, it is drawn from that."""
    assert find(splits(), lambda pieces: len(pieces) > 1)
    assert find(splits(st.just(b"ab")), lambda pieces: len(pieces) > 1) == [b"a", b"b"]


def test_a_case_is_shown_so_that_it_can_be_repeated() -> None:
    """The expression is the payload, whole or piece by piece; nc does the same where it can."""
    short = Case((b"a\0", b"%"), (1, 0), half_close=False)
    long = Case((noise(5000),), (0,), half_close=True)
    pieces = Case((noise(5000)[:10], noise(5000)[10:]), (20, 0), half_close=True)
    joined = Case((b"a", b"b"), (0, 0), half_close=True)
    odd = bytes(1000)

    assert short.steps()[0] == r"send b'a\x00'"
    assert short.as_dict()["payload"] == r"b'a\x00%'"
    assert short.nc("::1", 7) == (
        r"(printf '\141\000'; sleep 0.001; printf '\045'; sleep 1) | nc -N ::1 7 | od -c"
    )
    assert long.steps()[0] == "send random.Random(0).randbytes(5000)"
    assert "randbytes(5000)" in (long.nc("::1", 7) or "")
    assert pieces.steps()[2] == "send random.Random(0).randbytes(5000)[10:5000]"
    assert pieces.nc("::1", 7) is joined.nc("::1", 7) is None
    assert literal(odd) == repr(odd)
    assert repr(joined) == "<Case: send b'a'; send b'b'; half-close at once>"


def test_the_line_for_a_shell_sends_the_case() -> None:
    """What the line gives to nc is the payload, byte for byte."""
    case = Case((bytes(range(80)),), (0,), half_close=True)
    line = case.nc("127.0.0.1", 7)
    assert line is not None
    done = subprocess.run(["sh", "-c", line.partition(" | ")[0]], capture_output=True, check=True)

    assert done.stdout == case.payload


@pytest.mark.parametrize(
    ("serve", "half_close", "says"),
    [
        (planted.right, True, ""),
        (planted.right, False, ""),
        (planted.swaps_under_load, False, "sent - differ: "),
        (planted.breaks_beyond_4096, True, "after byte 4096"),
    ],
)
def test_the_line_for_a_long_payload_shows_what_is_wrong(
    serve: planted.Serve, half_close: bool, says: str, tmp_path: Path
) -> None:
    """The line for `nc` compares the bytes itself, and prints nothing if they are right."""
    (tmp_path / "nc").symlink_to(need("nc.openbsd"))
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    case = Case((noise(9000),), (0,), half_close=half_close)
    with planted.planted(serve) as (host, port):
        line = case.nc(host, port) or ""
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=path, capture_output=True, text=True, check=False
        )
    output = done.stdout + done.stderr

    assert (done.returncode, bool(output)) == (int(bool(says)), bool(says))
    assert says in output
