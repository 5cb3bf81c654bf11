"""Loads: every byte verified, every failure counted by its kind, no delay hidden."""

from __future__ import annotations

import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from echo import Limits
from echo.client.load import Load
from echo.client.plan import NS, LoadPlan
from echo.client.sessions import FailureKind
from echo.limits import BadLimit
from echo.testing import running_server
from tests import planted
from tests.waiting import seconds

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    from echo.client.sessions import LoadSession
    from tests.planted import Serve

    Enough = Callable[[Load], bool]


class LongLoad(Load):
    """A load whose time is not over before `enough`, however slow this machine is."""

    def __init__(
        self,
        *address: Any,
        enough: Enough = lambda _: True,
        tls: ssl.SSLContext | None = None,
        **plan: Any,
    ) -> None:
        plan = {"duration": 0.15, "timeout": seconds(30), **plan}
        super().__init__(*address, LoadPlan(**plan), tls=tls)
        self._enough = enough

    def _wanted(self, now: int) -> bool:
        return super()._wanted(now) or not self._enough(self)


def loaded(address: tuple[str, int], enough: Enough = lambda _: True, **plan: Any) -> Load:
    """Run a load to its end."""
    load = LongLoad(*address, enough=enough, **plan)
    load.run()
    return load


def troubles(load: Load) -> dict[str, int]:
    """Return what went wrong, by kind."""
    return {kind.value: count for kind, count in load.failures.items() if count}


# -- what goes right -----------------------------------------------------------------------


@pytest.mark.parametrize("size", ["1", "1-3k", "exp:300", "64*9,100k"])
def test_every_exchange_is_counted_on_both_sides(size: str) -> None:
    """What the load has verified is what the server has echoed, byte for byte."""
    with running_server() as server:
        load = loaded(server.address, lambda load: load.exchanges > 7, sessions=7, size=size)
        server.log.wait_for("session.closed", 7, seconds(30))
    closed = server.log.named("session.closed")

    assert troubles(load) == {}
    assert load.exchanges == load.latencies.count > 7
    assert sum(line["sent_bytes"] for line in closed) == load.received_bytes
    assert {line["reason"] for line in closed} == {"eof"}
    assert "0 errors" in repr(load)


def test_times_lie_between_the_server_s_clock_and_ours() -> None:
    """All are at least what the server took, by its own clock, and less than the sessions' time."""
    held: list[float] = []
    with planted.planted(planted.holds(0.005, held)) as address:
        began = time.perf_counter()
        load = loaded(address, sessions=3)
        whole_ms = (time.perf_counter() - began) * 1000
    times = load.latencies

    assert len(held) == times.count == load.exchanges
    assert sum(held) < times.count * (times.avg_ms or 0) < 3 * whole_ms
    assert sorted(held)[len(held) // 2 - 1] <= (times.percentile(50) or 0) * 1.001
    assert max(held) <= (times.max_ms or 0)


def test_payloads_beyond_the_buffers_come_back() -> None:
    """Sizes of which the socket takes a part at a time are verified whole."""
    with running_server() as server:
        load = loaded(server.address, sessions=2, size="8m")

    assert troubles(load) == {}
    assert load.received_bytes == load.exchanges * 8 * 1024 * 1024 > 0


@pytest.mark.parametrize(("churn", "most"), [(True, 1), (3, 3)])
def test_churn_ends_sessions_after_their_exchanges(churn: int, most: int) -> None:
    """With churn, a session ends cleanly after its exchanges, and another begins."""
    with running_server() as server:
        load = loaded(
            server.address, lambda load: load.exchanges >= 9, sessions=3, size="10", churn=churn
        )
    closed = server.log.named("session.closed")

    assert troubles(load) == {}
    assert max(line["received_bytes"] for line in closed) == 10 * most
    assert len(closed) >= load.exchanges / most


def test_a_ramp_opens_sessions_one_after_the_other() -> None:
    """With a ramp, the sessions do not all come at once."""
    with running_server() as server:
        load = LongLoad(*server.address, sessions=10, duration=0.6, ramp=0.5, rate=50)
        thread = threading.Thread(target=load.run, daemon=True)
        began = time.perf_counter()
        thread.start()
        server.log.wait_for("session.accepted", 10, seconds(30))
        took = time.perf_counter() - began
        thread.join(seconds(30))

    assert took >= 0.45  # where it takes longer, the machine is slow
    assert troubles(load) == {}


@pytest.mark.parametrize(("host", "listening"), [("localhost", "localhost"), ("::1", "::")])
def test_a_name_and_ipv6_are_reached(host: str, listening: str) -> None:
    """All sessions go where the first connection found the server."""
    with running_server(host=listening) as server:
        load = loaded((host, server.port), sessions=3)

    assert troubles(load) == {}
    assert load.exchanges


# -- what goes wrong -----------------------------------------------------------------------


def test_one_byte_in_a_thousand_replies_is_found() -> None:
    """A flipped bit is a mismatch, shown with what was due; the other sessions go on."""
    with planted.planted(planted.flips_one_in(1000)) as address:
        load = loaded(address, lambda load: load.exchanges > 1000, sessions=4)

    assert load.exchanges > 1000
    assert troubles(load) == {"mismatches": load.failures[FailureKind.MISMATCHES]}
    assert load.errors in (load.exchanges // 1000, load.exchanges // 1000 + 1)
    mismatch = load.first_mismatch
    assert mismatch is not None
    assert mismatch.expected is not None
    assert mismatch.got == mismatch.expected ^ 0x10
    assert mismatch.offset % 512 == 256


@pytest.mark.parametrize(
    ("serve", "size", "kind", "first"),
    [
        (planted.swaps_under_load, "16k", "mismatches", "the echo differs at offset"),
        (planted.sends_more, "9", "mismatches", "offset 9: expected no more bytes, got 0x21"),
        (planted.resets_after(1000), "100", "resets", "Connection reset by peer"),
        (planted.breaks_beyond_4096, "5000", "timeouts", "timed out in an exchange"),
        (planted.never_answers, "9", "timeouts", "timed out in an exchange"),
        (planted.closes_at_once, "9", "refused", "("),
        (planted.ends_early, "9", "other", "the server ended the stream"),
    ],
)
def test_each_trouble_is_counted_apart(serve: Serve, size: str, kind: str, first: str) -> None:
    """Mismatches, resets, time-outs, refusals and early ends are told apart."""
    with planted.planted(serve) as address:
        load = LongLoad(*address, enough=lambda load: load.errors > 0, sessions=2, size=size)
        if kind == "timeouts":  # there is time to connect
            load.timeout_ns = NS // 5
        load.run()
    first_error = f"{load.first_error} {load.first_mismatch}"

    assert set(troubles(load)) == {kind}
    assert load.latencies.count - load.exchanges in (0, load.failures[FailureKind.TIMEOUTS])
    assert first in first_error
    assert load.as_dict()["errors"] == load.errors > 0


def test_an_end_that_is_late_is_no_latency() -> None:
    """The exchange was over, and is counted once."""

    class Hasty(LongLoad):
        def has_finished(self, session: LoadSession) -> None:
            self.timeout_ns = NS // 5  # of what comes now, which is the end
            super().has_finished(session)

    with planted.planted(planted.never_ends) as address:
        load = Hasty(*address, sessions=1, churn=True)
        load.run()

    assert load.failures[FailureKind.TIMEOUTS] == load.errors == 1
    assert "timed out waiting for the server's end of stream" in str(load.first_error)
    assert load.latencies.count == load.exchanges == 1


def test_sessions_over_the_limit_are_refused_the_others_go_on() -> None:
    """A full server refuses sessions, which try again; the sessions it has go on."""
    with running_server(limits=Limits(max_sessions=2)) as server:
        load = loaded(
            server.address, lambda load: load.errors > 0 and load.exchanges > 2, sessions=3
        )

    assert set(troubles(load)) == {"refused"}
    assert load.exchanges > 2


def test_a_server_that_goes_away_is_refused() -> None:
    """When the server is gone, each failed connection is counted."""

    def refused_twice(load: Load) -> bool:
        return load.failures[FailureKind.REFUSED] >= 2

    # At an address of its own no other test's server is given the port meanwhile.
    with running_server(host="127.0.0.3" if sys.platform == "linux" else "127.0.0.1") as server:
        load = LongLoad(*server.address, enough=refused_twice, sessions=2)
        thread = threading.Thread(target=load.run, daemon=True)
        thread.start()
        server.log.wait_for("session.accepted", 2, seconds(30))
    thread.join(seconds(30))

    assert load.failures[FailureKind.REFUSED] >= 2
    assert set(troubles(load)) <= {"refused", "resets", "other"}
    assert load.first_error is not None


def test_nobody_there_is_an_error_at_once() -> None:
    """Not even one connection: the system's error says why."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            loaded(closed.getsockname())


def test_no_descriptors_left_is_a_trouble_of_its_own() -> None:
    """Sessions that can't be had on this side are counted, too."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running_server() as server:
        load = LongLoad(*server.address, sessions=200, timeout=10)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
        try:
            load.run()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert load.failures[FailureKind.OTHER] > 0
    assert "Too many open files" in str(load.first_error)


# -- open loop -----------------------------------------------------------------------------


def test_a_rate_is_kept() -> None:
    """With a rate, as many exchanges begin as are due, however quick the server is."""
    with running_server() as server:
        load = loaded(server.address, sessions=5, rate=200, duration=0.5)

    assert (load.exchanges, troubles(load)) == (100, {})


def test_a_session_may_wait_for_its_turn() -> None:
    """The time-out counts while something is due from the server, not while nothing is."""

    class Hasty(LongLoad):
        def is_free(self, session: LoadSession) -> None:
            session.deadline_ns = 0  # the time-out of all before is over
            super().is_free(session)

    with running_server() as server:
        load = Hasty(*server.address, sessions=1, rate=4, duration=0.75)
        load.run()

    assert (load.exchanges, troubles(load)) == (3, {})


def test_a_stall_shows_in_the_percentiles() -> None:
    """What was due while the server stood still counts from when it was due.

    A closed loop would see one slow exchange for each session; here half of all are slow.
    """
    with planted.planted(planted.stalls_once(0.5)) as address:
        load = loaded(address, sessions=2, rate=100, duration=1.0, size="10")

    assert troubles(load) == {}
    assert load.exchanges == 100
    p90, most = load.latencies.percentile(90), load.latencies.max_ms
    assert p90 is not None
    assert p90 > 200
    assert most is not None
    assert most >= 490


def test_what_was_never_begun_has_waited() -> None:
    """Where a server stops for good, what was due is a time-out, with the time it waited."""
    with planted.planted(planted.never_answers) as address:
        load = LongLoad(*address, sessions=1, rate=1000, duration=0.5)
        load.timeout_ns = 3 * NS // 10  # there is time to connect
        load.run()
    p50 = load.latencies.percentile(50)

    assert load.exchanges == 0
    assert load.failures[FailureKind.TIMEOUTS] == 500 == load.latencies.count
    assert p50 is not None
    assert p50 > 300


def test_a_short_load_has_its_first_exchange() -> None:
    """However late the first session is free, the server is asked once."""
    pause = threading.Event()

    class Late(Load):
        def is_free(self, session: LoadSession) -> None:
            pause.wait(self.plan.duration * 2)
            super().is_free(session)

    with running_server() as server:
        load = Late(*server.address, LoadPlan(sessions=1, duration=0.05, timeout=seconds(30)))
        load.run()

    assert (load.exchanges, troubles(load)) == (1, {})


def test_a_slow_rate_has_its_first_exchange() -> None:
    """The slowest rate is one exchange; its session ends when there are no more."""
    with running_server() as server:
        load = loaded(server.address, sessions=2, rate=1e-300)

    assert load.exchanges == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sessions", 0),
        ("sessions", 10**6),
        ("duration", 0),
        ("duration", float("nan")),
        ("rate", -1),
        ("rate", float("inf")),
        ("ramp", -0.1),
        ("churn", -1),
        ("timeout", 0),
        ("size", "many"),
    ],
)
def test_a_plan_that_can_t_be_meant_is_refused(field: str, value: object) -> None:
    """The error names the field."""
    with pytest.raises(BadLimit) as caught:
        LoadPlan(**{field: value})  # type: ignore[arg-type]

    assert caught.value.field == field
