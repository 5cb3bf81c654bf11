"""The server's parts, each on its own: waiting, threads, refusals, tuning, socket options."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from echo.deadline import Deadline
from echo.events import Reason, Refusal
from echo.server import tuning
from echo.server.register import Register
from echo.server.session import Counts, Session, State
from echo.server.shared_lines import MOST_KEYS, SharedLines
from echo.server.slots import Connection, Slots
from echo.server.sockets import linger, peer_of, set_session_options
from echo.server.threads import SessionThreads
from echo.server.waiting import Waiter, Wakeup
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Return two connected TCP sockets."""
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


def test_a_waiter_sees_input_room_and_the_wakeup(pair: Pair) -> None:
    """Input, room to send and the wakeup each end the wait that watches them."""
    left, right = pair
    wakeup = Wakeup()
    watch, plain = Waiter(left, wakeup), Waiter(left)

    assert not watch.readable(0)
    assert watch.writable(float("inf"))
    right.send(b"x")
    assert plain.readable(float("inf"))
    assert watch.readable(seconds(10))
    left.recv(1)
    assert not watch.readable(0.01)
    wakeup.set()
    assert watch.readable(seconds(10))
    assert not plain.readable(0)
    wakeup.close()


def test_a_waiter_sees_that_there_is_no_room(pair: Pair) -> None:
    """A full send buffer is not writable."""
    left, _ = pair
    fill(left)

    assert not Waiter(left).writable(0.01)


def test_a_wakeup_is_set_for_good() -> None:
    """Setting it again, and setting it after the end, change nothing."""
    wakeup = Wakeup()
    for _ in range(100_000):  # more than a socket's buffer holds
        wakeup.set()

    assert Waiter(wakeup).readable(0)
    wakeup.close()
    wakeup.set()


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
        wait_until(lambda: threads.idle == 1)
    threads.close()

    assert len(set(names)) == 1


def test_threads_beyond_the_spare_ones_end() -> None:
    """After a burst, those that nobody needs end in time; the spare ones stay."""
    threads = SessionThreads(spare=2, timeout=0.05)
    together = threading.Barrier(8)
    before = set(threading.enumerate())
    for _ in range(7):
        threads.run(together.wait)  # type: ignore[arg-type]
    together.wait(seconds(10))
    wait_until(lambda: threads.idle == 2)
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
    assert threads.idle == 0


# -- slots --------------------------------------------------------------------------------


def connection(sock: socket.socket, peer_ip: str) -> Connection:
    """Return a connection of a peer."""
    return Connection(sock, peer_ip, 40000)


def test_a_slot_is_released_once(pair: Pair) -> None:
    """However often a connection is released, one slot comes back."""
    slots = Slots(limit=2, per_peer=2)
    one, two = (connection(sock, "192.0.2.1") for sock in pair)
    assert slots.acquire(one) is slots.acquire(two) is None
    for _ in range(3):
        slots.release(one)

    assert slots.active == 1
    assert slots.acquire(one) is None
    assert slots.acquire(connection(pair[0], "192.0.2.9")) is Refusal.MAX_SESSIONS


def test_a_refused_connection_holds_nothing(pair: Pair) -> None:
    """Neither limit counts a connection that it refused."""
    slots = Slots(limit=2, per_peer=1)
    first, second = (connection(sock, "192.0.2.1") for sock in pair)
    slots.acquire(first)

    assert slots.acquire(second) is Refusal.MAX_SESSIONS_PER_PEER
    slots.release(second)
    assert slots.active == 1


@pytest.mark.parametrize(
    ("addresses", "allowed"),
    [
        ([f"2001:db8::{n:x}" for n in range(1, 4)], 1),  # one /64
        ([f"2001:db8:0:{n:x}::1" for n in range(4)], 2),  # one /56 of four /64
        ([f"2001:db8:0:{n:x}00::1" for n in range(8)], 4),  # one /48 of eight /56
        ([f"2001:db8:{n:x}::1" for n in range(8)], 8),  # strangers
        ([f"64:ff9b::192.0.2.{n}" for n in range(8)], 8),  # each its own IPv4 behind NAT64
        (["64:ff9b::192.0.2.1", "192.0.2.1"], 1),
        (["2002:c000:0201::1", "192.0.2.1"], 1),  # 6to4
        (["2001:0:53aa:64c:0:0:3fff:fdfe", "192.0.2.1"], 1),  # Teredo
        (["::ffff:192.0.2.1", "192.0.2.1"], 1),
        ([f"fe80::{n:x}%eth0" for n in range(1, 9)], 8),  # neighbours on a link
        (["fe80::1%eth0", "fe80::1%eth1"], 2),
        (["fe80::1%eth0", "fe80::1%eth0"], 1),
    ],
)
def test_a_peer_is_what_its_address_is_part_of(
    pair: Pair, addresses: list[str], allowed: int
) -> None:
    """Networks that one customer has share a limit, which grows with the network."""
    slots = Slots(limit=100, per_peer=1)
    refusals = [slots.acquire(connection(pair[0], address)) for address in addresses]

    assert refusals.count(None) == allowed


def test_a_peer_that_is_known_later_is_counted_then(pair: Pair) -> None:
    """A proxy's connection counts in all at once, and for its peer once that is known."""
    slots = Slots(limit=2, per_peer=1)
    one, two = (connection(sock, "10.0.0.1") for sock in pair)
    assert slots.acquire(one, count_peer=False) is slots.acquire(two, count_peer=False) is None
    one.peer_ip = two.peer_ip = "192.0.2.1"

    assert slots.assign(one) is None
    assert slots.assign(two) is Refusal.MAX_SESSIONS_PER_PEER
    slots.release(one)
    assert slots.assign(one) is None  # whose socket is closed by now
    assert slots.active == 1
    assert slots.assign(two) is None


# -- the register -------------------------------------------------------------------------


@pytest.fixture
def register() -> Iterator[Register]:
    """Return a register, which is closed at the end."""
    register = Register()
    yield register
    register.close()


def session_of(sock: socket.socket, **facts: Any) -> Session:
    """Return a session on a socket."""
    return Session(sock, "127.0.0.1", 40000, session_id="s-1", **facts)


def test_a_session_counts_once(pair: Pair, register: Register) -> None:
    """Its end is claimed once, with the counts of that moment."""
    session = session_of(pair[0], counts=Counts(3, 2))
    register.add(session)
    assert register.byte_totals() == {"received_bytes": 3, "sent_bytes": 2}
    assert register.open(session)
    line = register.end(session, Reason.EOF)
    session.counts.sent_bytes = 3  # a thread that hung goes on
    assert line
    assert line["sent_bytes"] == 2
    assert register.end(session, Reason.CUT) is None
    assert register.byte_totals() == {"received_bytes": 3, "sent_bytes": 2}
    register.close_intake()
    assert not register.wait(0)
    for _ in range(2):
        register.remove(session)

    assert register.wait(0)
    assert register.totals.reasons == {"eof": 1}


def test_a_session_that_was_ended_never_opens(pair: Pair, register: Register) -> None:
    """A session that a stop ends before its thread has begun has no lines, and is not counted."""
    session = session_of(pair[0])
    register.add(session)
    line = register.end(session, Reason.CUT)
    opened = register.open(session)

    assert (line, opened) == (None, False)
    assert (register.totals.accepted, register.totals.closed) == (0, 0)
    assert session.state is State.ENDED
    assert register.live() == []


# -- lines that are shared ----------------------------------------------------------------


def test_each_key_has_lines_of_its_own() -> None:
    """The first of each key is written at once, the rest when it is due."""
    lines: list[tuple[int, dict[str, Any]]] = []
    shared = SharedLines(lambda count, fields: lines.append((count, fields)), period=1000)
    for port in (1, 2, 3):
        shared.add(Refusal.MAX_SESSIONS, peer_port=port)
        shared.add(Refusal.THREAD_LIMIT, peer_port=-port)
    shared.flush_due()
    assert lines == [(1, {"peer_port": 1}), (1, {"peer_port": -1})]
    shared.flush()
    shared.flush()

    assert lines[2:] == [(2, {"peer_port": 3}), (2, {"peer_port": -3})]
    assert shared.by_key == {Refusal.MAX_SESSIONS: 3, Refusal.THREAD_LIMIT: 3}
    assert shared.total == 6


def test_keys_without_end_share_lines() -> None:
    """However many keys there are, they are counted in a bounded number of lines."""
    counts: list[int] = []
    shared = SharedLines(lambda count, _: counts.append(count), period=1000)
    for key in range(10 * MOST_KEYS):
        shared.add(key)
    shared.flush()

    assert sum(counts) == shared.total == 10 * MOST_KEYS
    assert len(counts) <= MOST_KEYS + 1


def test_keys_of_long_ago_don_t_share_lines_with_new_ones() -> None:
    """However many keys there have been, two new ones have lines and counts of their own."""
    counts: Counter[str] = Counter()
    period = 0.02
    shared = SharedLines(lambda count, fields: counts.update({fields["name"]: count}), period)
    for key in range(2 * MOST_KEYS):
        shared.add(key, name="old")
    shared.flush()
    threading.Event().wait(2 * period)
    for name in ("one", "other", "one", "other"):
        shared.add(name, name=name)
    shared.flush()

    assert counts == {"old": 2 * MOST_KEYS, "one": 2, "other": 2}
    assert len(shared.by_key) <= MOST_KEYS


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

    right.settimeout(seconds(10))
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


def test_tuning_pins_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon stays on one processor, in the batch class, with a long switch interval."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
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
