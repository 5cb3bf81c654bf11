"""No more threads: the start of one raises, or hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.peers import echoes, read_to_end
from tests.faults.test_stop import stop
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.faults.peers import Peers, Start


def test_a_peer_without_a_thread_is_refused(daemon: Start, connect: Peers) -> None:
    """It gets an end at once and a reason in the log, and its slot is free for the next."""
    process = daemon("--max-sessions", "1", fault="threads:session")
    refused = [read_to_end(connect(process.port)) for _ in range(2)]
    answer = echoes(connect(process.port))
    wait_until(lambda: sum(x["count"] for x in process.events("session.refused")) == 2)
    reasons = {line["reason"] for line in process.events("session.refused")}

    assert refused == [b"", b""]
    assert answer
    assert reasons == {"thread_limit"}


def test_a_refused_peer_doesn_t_count_against_its_limit(daemon: Start, connect: Peers) -> None:
    """The peer's own count is given back, too."""
    process = daemon("--max-sessions-per-peer", "1", fault="threads:session")
    for _ in range(2):
        read_to_end(connect(process.port, "127.0.0.9"))

    assert echoes(connect(process.port, "127.0.0.9"))


@pytest.mark.long
def test_a_thread_that_hangs_in_its_start_ends_the_daemon(daemon: Start, connect: Peers) -> None:
    """The watchdog sees that nobody accepts any more; the daemon ends with a code and a reason."""
    process = daemon(fault="threads:hang+impatient")
    process.expect_code = 70
    process.expect_errors = 1
    connect(process.port)
    code = process.wait()
    (error,) = process.events("server.error")

    assert code == 70
    assert (error["where"], error["error"]) == ("accept loop", "no sign of life for 2 s")
    assert process.events("session.accepted") == []


def test_a_stop_doesn_t_wait_for_an_accept_loop_that_hangs(daemon: Start, connect: Peers) -> None:
    """TERM ends within the drain's time and two seconds, whatever the accept loop does."""
    process = daemon("--drain-timeout", "0.5", fault="threads:hang")
    connect(process.port)
    wait_until(lambda: process.descriptors() > process.descriptors_at_start)

    assert stop(process, 0.5) == 0


def test_without_a_thread_for_its_log_it_doesn_t_start(daemon: Start) -> None:
    """One line says what to do, the code is the system's."""
    process = daemon(fault="threads:log-writer", started=False)
    process.expect_code = process.wait()
    process.expect_stderr = process.stderr

    assert process.expect_code == 71
    assert process.stderr == (
        b"echod: serve: can't start new thread: "
        b"raise the limit on threads (ulimit -u, or the container's)\n"
    )


def test_without_a_thread_to_accept_it_ends(daemon: Start) -> None:
    """It says so in its log: nobody would be served."""
    process = daemon(fault="threads:accept", started=False)
    process.expect_code = process.wait()
    process.expect_errors = 1

    assert process.expect_code == 70
    assert "can't start new thread" in process.events("server.error")[0]["error"]


def test_an_exception_that_ends_any_thread_is_in_the_log(daemon: Start, connect: Peers) -> None:
    """A thread that nobody looks after fails with a line in the log, not on stderr."""
    process = daemon(fault="unseen")
    process.expect_errors = 1
    with connect(process.port) as sock:
        echoes(sock)
    (error,) = process.wait_for("server.error")

    assert (error["where"], error["error"]) == ("helper", "LookupError: nobody looks")
    assert "in fail\n" in error["exception"]


def test_a_daemon_without_one_of_its_threads_ends(daemon: Start, connect: Peers) -> None:
    """It says which thread has ended, and ends with a code, as it does without its accept loop."""
    process = daemon(fault="mortal:log-writer")
    process.expect_code, process.expect_errors = 70, 1
    with connect(process.port) as sock:
        echoes(sock)
    code = process.wait()
    (error,) = process.events("server.error")
    (stopped,) = process.events("server.stopped")

    assert (code, stopped["reason"]) == (70, "error")
    assert (error["where"], error["error"]) == ("log-writer", "the thread has ended")
