"""The client against servers that are right, and against each way to be wrong."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from echo import EchoClient
from echo.client import EchoEnded, EchoMismatch, EchoTimeout
from echo.client.stream import EchoStream
from tests.planted import OVER
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from echo.testing import RunningServer

    Serve = Callable[[socket.socket], None]

MIB = 1024 * 1024


@contextmanager
def one_session(serve: Serve) -> Iterator[tuple[str, int]]:
    """Let `serve` do as it likes with one connection."""

    def accept() -> None:
        sock, _ = listener.accept()
        with sock:
            serve(sock)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(seconds(60))  # the client may be a process that has to start
        thread = threading.Thread(target=accept)
        OVER.clear()
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            OVER.set()
            thread.join(seconds(10))


@contextmanager
def impatient(address: tuple[str, int], timeout: float) -> Iterator[EchoClient]:
    """Return a client that has time to connect, and little for all else."""
    with EchoClient(*address, timeout=seconds(10)) as client:
        client.timeout = timeout
        yield client


def until_end(sock: socket.socket) -> bytes:
    """Read to the end of the stream."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def answer(*answers: bytes) -> Serve:
    """Read something, answer, and so on, then end the stream and read the rest."""

    def serve(sock: socket.socket) -> None:
        for data in answers:
            sock.recv(65536)
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        until_end(sock)

    return serve


def reset(sock: socket.socket) -> None:
    """Read something, then reset."""
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(sock: socket.socket) -> None:
    """Take everything and say nothing."""
    until_end(sock)


def deaf(sock: socket.socket) -> None:
    """Read nothing and say nothing, until the client is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    OVER.wait(seconds(60))


def test_a_client_reads_while_it_writes(server: RunningServer) -> None:
    """A payload beyond all socket buffers comes back; write-all-then-read would deadlock."""
    data = bytes(range(256)) * (32 * MIB // 256)
    with EchoClient(*server.address) as client:
        assert client.echo(data) == data


def test_a_client_counts_from_the_connection_s_first_byte() -> None:
    """A difference is at its offset in the whole connection, with both bytes named."""
    with one_session(answer(b"one", b"tWo")) as address, EchoClient(*address) as client:
        client.echo(b"one")
        with pytest.raises(EchoMismatch) as caught:
            client.echo(b"two")

    assert (caught.value.offset, caught.value.expected, caught.value.got) == (4, 0x77, 0x57)
    assert str(caught.value) == "the echo differs at offset 4: expected 0x77, got 0x57"


def test_more_than_was_sent_is_a_difference() -> None:
    """A server that adds bytes is wrong at the first of them."""
    with one_session(answer(b"one!")) as address, EchoClient(*address) as client:
        with pytest.raises(EchoMismatch, match="expected no more bytes") as caught:
            client.echo(b"one")

    assert caught.value.offset == 3


@pytest.mark.parametrize("finish", [False, True])
def test_an_early_end_says_what_is_missing(finish: bool) -> None:
    """A server that ends too early leaves an offset and a count."""
    with one_session(answer(b"on")) as address, EchoClient(*address) as client:
        client.send(b"one")
        with pytest.raises(EchoEnded) as caught:
            _ = client.finish() if finish else client.receive(3)

    assert (caught.value.offset, caught.value.missing) == (2, 1)


def test_a_reset_says_what_is_missing() -> None:
    """A reset is an early end, whether it is seen in receiving, sending or half-closing."""
    with one_session(reset) as address, EchoClient(*address) as client:
        client.send(b"one")
        with pytest.raises(EchoEnded, match="broke the stream at offset 0, with 3 bytes"):
            client.receive(3)
        with pytest.raises(EchoEnded):
            client.send(b"more")
        with pytest.raises(EchoEnded):
            client.half_close()


def test_silence_is_a_time_out() -> None:
    """A server that never answers costs `timeout` seconds, not for ever."""
    with one_session(silent) as address, impatient(address, 0.1) as client:
        with pytest.raises(EchoTimeout, match=r"no echo for 0\.1 s at offset 0, with 3 bytes"):
            client.echo(b"one")


def test_a_server_that_reads_nothing_is_a_time_out() -> None:
    """A send without progress gives up as well."""
    with one_session(deaf) as address, impatient(address, 0.1) as client:
        with pytest.raises(EchoTimeout):
            client.send(bytes(32 * MIB))


def test_an_end_that_doesn_t_come_is_a_time_out() -> None:
    """After a half-close the server's own end is due."""

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"one")
        mute(sock)

    with one_session(serve) as address, EchoClient(*address, timeout=seconds(10)) as client:
        client.echo(b"one")
        client.timeout = 0.1
        with pytest.raises(EchoTimeout, match="its end of stream missing"):
            client.finish()


def test_a_client_needs_a_connection(server: RunningServer) -> None:
    """Before `connect` and after `close` there is none; closing twice is nothing."""
    client = EchoClient(*server.address)
    with pytest.raises(ConnectionError, match="not connected"):
        client.send(b"x")
    took = client.connect()
    with client:
        client.echo(b"x")
        client.half_close()
        client.half_close()
    client.close()

    assert took > 0
    assert repr(client).endswith("<Ledger 1 came back, 0 missing>>")


def test_readiness_that_goes_away_is_no_end(server: RunningServer) -> None:
    """Looking for bytes when there are none changes nothing."""
    with EchoClient(*server.address) as client:
        client.check_silence()

        assert client.echo(b"x") == b"x"


# -- streams ------------------------------------------------------------------------------


def chunks(data: bytes, size: int = 65536) -> Callable[[], bytes]:
    """Return a read function over `data`."""
    rest = [data[i : i + size] for i in range(0, len(data), size)][::-1]
    return lambda: rest.pop() if rest else b""


def stream(
    address: tuple[str, int], data: bytes, *, verify: bool = True, timeout: float = 10
) -> bytes:
    """Send `data` as a stream and return what came back."""
    got: list[bytes] = []
    with impatient(address, seconds(timeout)) as client:
        EchoStream(client, verify=verify).run(chunks(data), got.append)
    return b"".join(got)


@pytest.mark.parametrize("size", [0, 1, 65536, 40 * MIB])
def test_a_stream_of_any_size_comes_back(server: RunningServer, size: int) -> None:
    """Streams of any size pass, without a deadlock and without being kept in memory."""
    data = bytes(range(251)) * (size // 251) + bytes(size % 251)

    assert stream(server.address, data) == data


def test_a_stream_waits_for_its_source(server: RunningServer) -> None:
    """Time-outs count while something is due, not while there is nothing to send."""
    pause = threading.Event()
    parts = [b"late", b"early"]

    def read() -> bytes:
        pause.wait(0.3)  # several time-outs, and the last of them is not over at its end
        client.timeout = seconds(10)
        return parts.pop() if parts else b""

    got: list[bytes] = []
    with impatient(server.address, 0.07) as client:
        run = EchoStream(client)
        run.run(read, got.append)

    assert b"".join(got) == b"earlylate"
    assert repr(run) == "<EchoStream 9 sent, 9 returned>"


def test_a_time_out_begins_when_something_is_due() -> None:
    """The time before that, in which there was nothing to send, is not part of it."""
    pause = threading.Event()
    parts = [b"", b"late"]

    def serve(sock: socket.socket) -> None:
        for data in iter(lambda: sock.recv(65536), b""):
            pause.wait(0.3)
            sock.sendall(data)

    def read() -> bytes:
        if len(parts) == 2:
            pause.wait(0.1)  # a wait for the server has begun, and ends while that pauses
            client.timeout = seconds(10)
        return parts.pop()

    got: list[bytes] = []
    with one_session(serve) as address, impatient(address, 0.2) as client:
        EchoStream(client).run(read, got.append)

    assert got == [b"late"]


def test_a_stream_that_breaks_says_where() -> None:
    """A reset while the rest is awaited is an end at its offset."""
    with one_session(reset) as address, pytest.raises(EchoEnded, match="broke the stream"):
        stream(address, b"one")


def test_a_stream_that_comes_back_wrong_says_where() -> None:
    """A difference in the stream is at its offset."""
    with one_session(answer(b"onE")) as address, pytest.raises(EchoMismatch, match="offset 2"):
        stream(address, b"one")


def test_a_stream_that_is_not_compared_passes_anything() -> None:
    """Without verification whatever comes is passed on."""
    with one_session(answer(b"something else")) as address:
        assert stream(address, b"one", verify=False) == b"something else"


def test_a_stream_that_ends_early_says_what_is_missing() -> None:
    """An early end and a reset both give offset and count."""
    with one_session(answer(b"on")) as address, pytest.raises(EchoEnded) as caught:
        stream(address, b"one")
    assert (caught.value.offset, caught.value.missing) == (2, 1)
    with one_session(reset) as address, pytest.raises(EchoEnded) as caught:
        stream(address, bytes(8 * MIB))
    assert (caught.value.offset, caught.value.missing > 0) == (0, True)


def mute(sock: socket.socket) -> None:
    """Take everything, and say nothing after that until the client is gone."""
    until_end(sock)
    OVER.wait(seconds(60))


@pytest.mark.parametrize(("serve", "size"), [(mute, 3), (silent, 40 * MIB), (deaf, 40 * MIB)])
def test_a_stream_into_silence_is_a_time_out(serve: Serve, size: int) -> None:
    """The client's memory and time are limited when a server swallows everything."""
    with one_session(serve) as address, pytest.raises(EchoTimeout):
        stream(address, bytes(size), timeout=0.3)


@pytest.mark.parametrize("serve", [silent, answer(b"x")])
def test_a_stream_that_is_not_compared_has_to_be_sent(serve: Serve) -> None:
    """Without verification, too, silence is a time-out, and an early end an error."""
    with one_session(serve) as address, pytest.raises((EchoTimeout, EchoEnded)):
        stream(address, bytes(40 * MIB), verify=False, timeout=0.3)


def test_a_stream_s_source_may_fail(server: RunningServer) -> None:
    """An error of the source, or of the target, is raised as it is."""

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with EchoClient(*server.address) as client, pytest.raises(OSError, match="Input/output"):
        EchoStream(client).run(fail, len)
    with EchoClient(*server.address) as client, pytest.raises(OSError, match="Input/output"):
        EchoStream(client).run(chunks(b"one"), fail)


def test_a_stream_whose_server_speaks_first_leaves_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sender's thread ends quietly when the connection is closed under it."""
    struck: list[object] = []
    monkeypatch.setattr(threading, "excepthook", struck.append)
    reading, closed = threading.Event(), threading.Event()
    senders: list[threading.Thread] = []

    def read() -> bytes:
        senders.append(threading.current_thread())
        reading.set()
        closed.wait(seconds(10))
        return b"late"

    def greet(sock: socket.socket) -> None:
        reading.wait(seconds(10))
        sock.sendall(b"220 hello")
        until_end(sock)

    with one_session(greet) as address:
        with EchoClient(*address, timeout=seconds(10)) as client:
            stream = EchoStream(client)
            with pytest.raises(EchoMismatch):
                stream.run(read, lambda _: None)
        closed.set()
        (sender,) = senders
        sender.join(seconds(10))

    assert not sender.is_alive()
    assert struck == []


def test_sending_nothing_changes_nothing(server: RunningServer) -> None:
    """An empty message expects no byte back, and the next one is verified as usual."""
    with EchoClient(*server.address, timeout=seconds(10)) as client:
        client.send(b"")
        echo = client.echo(b"hello") + client.echo(b"")
        client.finish()

    assert echo == b"hello"


def test_an_end_with_nothing_missing_says_what_is_wrong() -> None:
    """The server ended before all was sent; there are no 0 missing bytes to speak of."""
    assert str(EchoEnded(5, 0)) == "the server ended the stream at offset 5, before all was sent"
    assert str(EchoEnded(5, 1)).endswith("with 1 byte missing")
