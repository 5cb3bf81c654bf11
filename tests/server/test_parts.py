"""The server's parts, each on its own: waiting, threads, refusals, tuning, socket options."""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from echo.deadline import Deadline
from echo.events import Reason, Refusal
from echo.limits import Limits
from echo.server import tuning
from echo.server.refusals import Refusals
from echo.server.session import Counts, Session, SessionEnd
from echo.server.sessions import Sessions
from echo.server.sockets import linger, peer_of, set_session_options
from echo.server.threads import SessionThreads
from echo.server.waiting import Bell, PollWaiter, SelectWaiter
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


def fill(sock: socket.socket) -> None:
    """Send until the buffers are full."""
    with suppress(BlockingIOError):
        while True:
            sock.send(bytes(65536))


# -- waiting ------------------------------------------------------------------------------


@pytest.mark.parametrize("waiter", [PollWaiter, SelectWaiter])
def test_a_waiter_sees_input_room_and_the_bell(
    pair: Pair, waiter: type[PollWaiter] | type[SelectWaiter]
) -> None:
    """Both kinds of waiter say the same."""
    left, right = pair
    bell = Bell()
    watch, plain = waiter(left, bell), waiter(left)

    assert not watch.readable(0)
    assert watch.writable(float("inf"))
    right.send(b"x")
    assert plain.readable(float("inf"))
    assert watch.readable(seconds(10))
    left.recv(1)
    assert not watch.readable(0.01)
    bell.ring()
    assert watch.readable(seconds(10))
    assert not plain.readable(0)
    bell.close()


@pytest.mark.parametrize("waiter", [PollWaiter, SelectWaiter])
def test_a_waiter_sees_that_there_is_no_room(
    pair: Pair, waiter: type[PollWaiter] | type[SelectWaiter]
) -> None:
    """A full send buffer is not writable."""
    left, _ = pair
    fill(left)

    assert not waiter(left).writable(0.01)


def test_a_bell_rings_once_and_for_good() -> None:
    """Ringing again, and ringing after the end, change nothing."""
    bell = Bell()
    for _ in range(100_000):  # more than a socket's buffer holds
        bell.ring()

    assert PollWaiter(bell).readable(0)
    bell.close()
    bell.ring()


def test_a_deadline_only_comes_nearer() -> None:
    """Time left is never negative, and endless where there is no deadline."""
    assert Deadline(None).left() == float("inf")
    assert 0 < Deadline(60).left() <= 60
    assert Deadline(-1).left() == 0


# -- threads ------------------------------------------------------------------------------


def test_threads_are_used_again() -> None:
    """Jobs one after the other need one thread."""
    threads = SessionThreads()
    names = []
    for _ in range(10):
        done = threading.Event()
        threads.run(lambda done=done: (names.append(threading.current_thread().name), done.set()))  # type: ignore[misc]
        done.wait(seconds(10))
        wait_until(lambda: "1 idle" in repr(threads))
    threads.close()

    assert len(set(names)) == 1
    assert repr(threads) == "<SessionThreads 0 idle, 1 started>"


def test_threads_beyond_the_spare_ones_end() -> None:
    """After a burst, those that nobody needs end in time; the spare ones stay."""
    threads = SessionThreads(spare=2, timeout=0.05)
    together = threading.Barrier(8)
    before = set(threading.enumerate())
    for _ in range(7):
        threads.run(together.wait)  # type: ignore[arg-type]
    together.wait(seconds(10))
    wait_until(lambda: "2 idle" in repr(threads))
    wait_until(lambda: len(set(threading.enumerate()) - before) == 2)

    threads.close()

    wait_until(lambda: set(threading.enumerate()) <= before)


def test_a_closed_reserve_ends_those_at_work_after_their_job() -> None:
    """Closing doesn't wait, and leaves nothing behind."""
    threads = SessionThreads()
    release = threading.Event()
    before = set(threading.enumerate())
    threads.run(release.wait)  # type: ignore[arg-type]
    threads.close()
    release.set()

    wait_until(lambda: set(threading.enumerate()) <= before)
    assert "0 idle" in repr(threads)


# -- the register -------------------------------------------------------------------------


def test_a_session_counts_once(pair: Pair) -> None:
    """Whatever is called twice counts once."""
    sessions = Sessions(Limits(max_sessions=1))
    session = Session("s-1", pair[0], "127.0.0.1", 40000, counts=Counts(3, 2))
    sessions.enter(session)
    assert sessions.refusal("127.0.0.2") is Refusal.MAX_SESSIONS
    assert sessions.byte_totals() == {"received_bytes": 3, "sent_bytes": 2}
    for _ in range(2):
        sessions.give_back(pair[0])
    assert sessions.open(session)
    facts = sessions.end(session, Reason.EOF)
    session.counts.sent_bytes = 3  # a thread that was given up goes on
    assert facts
    assert facts["sent_bytes"] == 2
    assert not sessions.end(session, Reason.CUT)
    assert sessions.byte_totals() == {"received_bytes": 3, "sent_bytes": 2}
    for _ in range(2):
        sessions.forget(session)
    sessions.give_back(pair[0])
    sessions.drain()

    assert sessions.active == 0
    assert sessions.reasons == {Reason.EOF: 1}
    assert sessions.wait(0)
    assert repr(sessions) == "<Sessions 0/1>"
    assert repr(session) == "<Session s-1 127.0.0.1:40000 3 in, 3 out>"
    sessions.close()


def test_a_session_that_was_given_up_never_opens(pair: Pair) -> None:
    """A stop that finds a session before its thread has begun leaves no line without another."""
    sessions = Sessions(Limits())
    session = Session("s-1", pair[0], "127.0.0.1", 40000)
    sessions.enter(session)
    facts = sessions.end(session, Reason.CUT)
    opened = sessions.open(session)

    assert (facts, opened) == (None, False)
    assert (sessions.accepted, sessions.closed, sessions.active) == (0, 0, 0)
    assert sessions.live() == []
    sessions.close()


def test_a_cut_leaves_alone_what_has_given_its_socket_back(pair: Pair) -> None:
    """A descriptor that may be somebody else's by now is not touched; a dead socket is no error."""
    left, right = pair
    sessions = Sessions(Limits())
    gone, alive = Session("1", left, "::1", 1), Session("2", right, "::1", 2)
    sessions.enter(gone)
    sessions.enter(alive)
    sessions.give_back(left)
    sessions.cut()
    sessions.cut()  # by now it is not connected any more

    assert (gone.cut, alive.cut) == (False, True)
    assert right.recv(1) == b""
    sessions.close()


def test_an_end_says_its_reason() -> None:
    """The exception that ends a session is readable where it is seen."""
    assert str(SessionEnd(Reason.BYTE_LIMIT)) == "byte_limit"


# -- refusals -----------------------------------------------------------------------------


def test_refusals_of_each_reason_have_lines_of_their_own() -> None:
    """The first of each reason is written at once, the rest when it is due."""
    lines: list[dict[str, Any]] = []
    refusals = Refusals(lambda _event, **fields: lines.append(fields), period=1000)
    for _ in range(3):
        refusals.add(Refusal.MAX_SESSIONS, "192.0.2.1", 1)
        refusals.add(Refusal.THREAD_LIMIT, "192.0.2.2", 2)
    refusals.flush_due()
    assert [line["count"] for line in lines] == [1, 1]
    refusals.flush()
    refusals.flush()

    assert [line["count"] for line in lines] == [1, 1, 2, 2]
    assert refusals.by_reason == {Refusal.MAX_SESSIONS: 3, Refusal.THREAD_LIMIT: 3}


# -- sockets ------------------------------------------------------------------------------


def test_keepalive_and_nodelay_are_set(pair: Pair) -> None:
    """A peer that is gone without a word is found after 60 s and six probes of 10 s."""
    sock = pair[0]
    set_session_options(sock)

    def tcp(option: int) -> int:
        return sock.getsockopt(socket.IPPROTO_TCP, option)

    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert tcp(socket.TCP_NODELAY) == 1
    assert tcp(socket.TCP_KEEPIDLE) == 60
    assert tcp(socket.TCP_KEEPINTVL) == 10
    assert tcp(socket.TCP_KEEPCNT) == 6


def test_an_odd_ipv6_address_stays_itself() -> None:
    """What only begins like an IPv4-mapped address is none."""
    assert peer_of(("::ffff:1:2:3", 1, 0, 0)) == ("::ffff:1:2:3", 1)


def test_a_linger_ends_with_its_budget(pair: Pair) -> None:
    """A peer that sends for ever can't keep a closing socket."""
    left, right = pair
    fill(right)

    linger(left, seconds=1000, budget=100_000)

    assert right.recv(1) == b""


def test_a_linger_ends_in_time_and_when_the_peer_is_gone(pair: Pair) -> None:
    """A peer that says nothing keeps a closing socket for its time, a dead one not at all."""
    left, right = pair
    linger(left, seconds=0.01)
    linger(left, seconds=0)
    right.close()
    linger(left, seconds=1000)

    with socket.socket() as never_connected:
        linger(never_connected, seconds=1000)


# -- tuning -------------------------------------------------------------------------------


def test_tuning_pins_and_batches() -> None:
    """The daemon stays on one processor, in the batch class, with a long switch interval."""
    tuning.tune("auto")

    assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getscheduler(0) == os.SCHED_BATCH
    assert sys.getswitchinterval() == pytest.approx(tuning.SWITCH_INTERVAL)


def test_a_processor_can_be_chosen_or_none() -> None:
    """A number is that processor, `none` leaves the process alone, nonsense is an error."""
    allowed = os.sched_getaffinity(0)
    tuning.pin("none")
    assert os.sched_getaffinity(0) == allowed
    tuning.pin(str(min(allowed)))

    assert os.sched_getaffinity(0) == {min(allowed)}
    for nonsense in ("9999", "x", "-1"):
        with pytest.raises(ValueError, match="processor"):
            tuning.pin(nonsense)


def test_a_python_without_the_global_lock_is_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free threads use every processor."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    allowed = os.sched_getaffinity(0)
    tuning.pin("auto")

    assert os.sched_getaffinity(0) == allowed


def test_a_system_that_can_t_pin_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux `auto` does nothing, and a number is an error."""
    for name in ("sched_setaffinity", "sched_setscheduler"):
        monkeypatch.delattr(os, name)
    interval = sys.getswitchinterval()
    tuning.tune("auto")
    sys.setswitchinterval(interval)

    with pytest.raises(ValueError, match="can't pin"):
        tuning.pin("0")
