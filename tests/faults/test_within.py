"""Faults that need a hand inside: the logger that raises, the thread that comes too late."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from echo import EchoClient, EchoServer
from echo.logs.lines import render
from echo.logs.sinks import StreamSink
from echo.logs.writer import LogWriter
from echo.server.watchdog import Watchdog, WatchedThread
from echo.testing import running_server
from tests import vocabulary
from tests.faults.peers import fill
from tests.waiting import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from echo.testing import RunningServer


class Raising:
    """A logger, or a value in a log, that only raises."""

    def __getattr__(self, name: str) -> NoReturn:
        raise OSError(f"no {name} here")

    def __repr__(self) -> NoReturn:
        raise OSError("no text here")


class RaisingServer(EchoServer):
    """A server whose logger only raises."""

    def __init__(self, *arguments: Any, log: object, **options: Any) -> None:
        del log
        super().__init__(*arguments, log=Raising(), **options)


def test_a_logger_that_raises() -> None:
    """A log that fails costs no session anything, and its failures are counted."""
    with running_server(server_class=RaisingServer) as running:
        for data in (b"hello", b"again"):
            with EchoClient(*running.address, timeout=seconds(60)) as client:
                assert client.echo(data) == data
                client.finish()

    assert running.server.log_failures == 4


def test_a_value_without_a_text() -> None:
    """Even a field that can't be shown leaves one strict line."""
    (line,) = vocabulary.parse(render({"event": "x", "odd": Raising(), "n": 1 << 70}))

    assert line["odd"] == "<Raising>"


def test_a_log_s_end_outlasts_a_machine_that_stands_still() -> None:
    """A wait for the writer that is over before the writer has had a processor costs no line."""
    reader, pipe = os.pipe()
    log = LogWriter(StreamSink(pipe))
    waits = iter([lambda _: None])  # as after a machine has stood still for the whole wait
    join = log.thread.join
    log.thread.join = lambda timeout: next(waits, join)(timeout)  # type: ignore[method-assign]
    log.put(b"the last line\n")
    complete = log.close(timeout=seconds(60))
    os.close(pipe)
    with os.fdopen(reader, "rb") as file:
        written = file.read()

    assert complete
    assert written == b"the last line\n"


class Late:
    """Threads whose jobs are run when the test says so, or never."""

    def __init__(self, error: Exception | None = None) -> None:
        self.jobs: list[Callable[[], None]] = []
        self.came = threading.Event()
        self._error = error

    def run(self, function: Callable[..., None], *arguments: Any) -> None:
        """Keep a job."""
        self.jobs.append(partial(function, *arguments))
        self.came.set()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Have nothing to close."""


def late(server: EchoServer, error: Exception | None = None) -> Late:
    """Replace the threads of a server by such, and return them."""
    threads = Late(error)
    server.session_threads = threads  # type: ignore[assignment]
    return threads


def test_a_session_that_is_cut_before_its_thread_has_begun() -> None:
    """It leaves no line at all, and its socket is closed when the thread comes too late."""
    with running_server() as running:
        threads = late(running.server)
        with EchoClient(*running.address, timeout=seconds(60)) as client:
            threads.came.wait(seconds(60))
            running.server.drain(0)
            threads.jobs[0]()
            end = client.sock
            end.settimeout(seconds(60))

            assert end.recv(1) == b""
    assert [line["event"] for line in running.events] == []
    assert (running.server.sessions.totals.accepted, running.server.slots.active) == (0, 0)


def test_a_session_that_can_t_be_handed_over() -> None:
    """Its peer gets an end of stream, its slot is free, and the log has the reason."""
    with running_server() as running:
        late(running.server, OSError("no thread of any kind"))
        with EchoClient(*running.address, timeout=seconds(60)) as client:
            client.sock.settimeout(seconds(60))

            assert client.sock.recv(1) == b""
        (error,) = running.log.wait_for("server.error", timeout=seconds(60))
        active = running.server.slots.active

    assert error["error"] == "OSError: no thread of any kind"
    assert active == 0


def test_a_drain_that_is_not_over_in_time() -> None:
    """The library's own drain cuts what is left, and says that it had to."""
    with running_server() as running, EchoClient(*running.address, timeout=seconds(60)) as client:
        fill(client.sock, os.getpid())
        running.log.wait_for("session.accepted", timeout=seconds(60))

        assert not running.server.drain(0.1)
        assert running.log.wait_for("session.closed", timeout=seconds(60))[0]["reason"] == "cut"


class FailingThread(WatchedThread):
    """A thread that fails, and ends, just after somebody has looked for its failure."""

    def __init__(self) -> None:
        self._looked = threading.Event()
        self._found: BaseException | None = None
        super().__init__("worker", self._fail)

    def _fail(self) -> NoReturn:
        self._looked.wait(seconds(60))
        raise LookupError("not here")

    @property
    def failure(self) -> BaseException | None:
        """What there was at the look."""
        found = self._found
        self._looked.set()
        self.join(seconds(60))
        return found

    @failure.setter
    def failure(self, error: BaseException | None) -> None:
        self._found = error


def test_a_thread_that_fails_during_a_look_has_its_failure_told() -> None:
    """At the next look, the watchdog says why the thread has ended, not only that it has."""
    thread = FailingThread()
    watchdog = Watchdog([thread])
    thread.start()
    looks = [watchdog.look() for _ in range(2)]

    assert looks == [None, ("worker", "LookupError: not here")]


def test_no_error_is_no_event(server: RunningServer) -> None:
    """The hook for errors may be called where there is none."""
    server.server.handle_error(None, None)

    assert server.events == []


@pytest.mark.parametrize("text", ["x" * 100_000, "\x1b" * 5000, "\ud800" * 3000, "é" * 2000])
def test_no_line_is_longer_than_it_may_be(text: str) -> None:
    """However a text grows when it is escaped, the line is one, strict, and keeps its end."""
    fields: dict[str, Any] = {"error": text, "exception": text + "the end"}
    (line,) = vocabulary.parse(render({"event": "server.error", **fields}))

    assert "the end" in line["exception"]
