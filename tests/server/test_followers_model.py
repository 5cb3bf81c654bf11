"""The hand-over of `followers.c`, checked in every order in which its steps can happen.

The model has one set of three sessions, the thread of each, and a guest from another set.
A step is what a thread does while it holds the set's lock. Three things happen by chance, or
never: a session comes to its end, its thread's time is up, a guest comes. In no state may all
threads be stuck while a session that has ended is still a member: nobody would be woken for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.once  # the model is of C code

MEMBERS = range(3)
NOBODY = -1
GUEST = 3


@dataclass(frozen=True)
class State:
    """The set, and for each member what its thread does and what has become of its session."""

    doing: tuple[str, ...] = ("looks",) * 3  # looks, asleep, on duty, waits, gone
    serving: tuple[int, ...] = (NOBODY,) * 4  # whom each thread echoes for, the guest last
    sleepers: tuple[int, ...] = ()  # the oldest first
    on_duty: int = NOBODY
    ended: frozenset[int] = frozenset()  # there is an event that only its own thread can handle
    back: frozenset[int] = frozenset()
    waiting: frozenset[int] = frozenset()  # to be woken once it isn't served any more
    late: frozenset[int] = frozenset()  # its thread's time is up
    nudged: bool = False  # the wait of the thread on duty ends

    def does(self, one: int, what: str) -> State:
        """Return the state in which a member's thread does something else."""
        return replace(self, doing=(*self.doing[:one], what, *self.doing[one + 1 :]))

    def serves(self, thread: int, one: int) -> State:
        """Return the state in which a thread echoes for a member, or for nobody any more."""
        return replace(self, serving=(*self.serving[:thread], one, *self.serving[thread + 1 :]))


def wake(state: State, one: int) -> State:
    """Wake a member's thread, where it sleeps or waits."""
    if state.doing[one] in ("asleep", "waits"):
        state = state.does(one, "looks")
    return replace(state, sleepers=tuple(s for s in state.sleepers if s != one))


def call_next(state: State) -> State:
    """Wake the oldest sleeper where nobody is on duty."""
    if state.on_duty == NOBODY and state.sleepers:
        return wake(state, state.sleepers[0])
    return state


def look(state: State, me: int, fault: str) -> State:
    """Do what `together` does with the lock: leave, wait for a guest, sleep, or take duty."""
    if me in state.back or me in state.late:
        if me in state.serving:
            return call_next(replace(state, waiting=state.waiting | {me})).does(me, "waits")
        state = replace(state, back=state.back | {me}).does(me, "gone")
        return state if fault == "leaves silently" else call_next(state)
    if state.on_duty == NOBODY:
        return replace(state, on_duty=me).does(me, "on duty")
    return replace(state, sleepers=(*state.sleepers, me)).does(me, "asleep")


def finish(state: State, thread: int, fault: str) -> State:
    """End an echo: the member goes back to its own thread, which is woken."""
    one = state.serving[thread]
    state = state.serves(thread, NOBODY)
    if one not in state.back:
        state = replace(state, back=state.back | {one})
        if thread == GUEST and one == state.on_duty and fault != "doesn't nudge":
            state = replace(state, nudged=True)
        return state if fault == "sends back silently" else wake(state, one)
    return wake(state, one) if one in state.waiting else state


def steps(state: State, fault: str) -> Iterator[State]:
    """Yield what the threads can do next."""
    events = [m for m in MEMBERS if m in state.ended - state.back and m not in state.serving]
    for me in MEMBERS:
        if state.doing[me] == "looks":
            yield look(state, me, fault)
        elif state.doing[me] == "on duty" and state.serving[me] != NOBODY:
            yield look_at_own(finish(state, me, fault), me)
        elif state.doing[me] == "on duty":
            # It waits in epoll_wait: what has become of its own session it sees after an event.
            yield from (state.serves(me, one) for one in events)
            if state.nudged:
                yield look_at_own(replace(state, nudged=False), me)
            if me in state.late:
                yield replace(state, on_duty=NOBODY).does(me, "looks")
    if state.serving[GUEST] != NOBODY:
        yield finish(state, GUEST, fault)


def look_at_own(state: State, me: int) -> State:
    """End the duty of a thread whose own session has been sent back."""
    return replace(state, on_duty=NOBODY).does(me, "looks") if me in state.back else state


def chances(state: State) -> Iterator[State]:
    """Yield what may happen next, or never: an end, a time that is up, a guest that comes."""
    if state.serving[GUEST] == NOBODY:
        for one in state.ended - state.back:
            if one not in state.serving:
                yield state.serves(GUEST, one)
    for one in MEMBERS:
        if state.doing[one] != "gone":
            if one not in state.ended:
                yield replace(state, ended=state.ended | {one})
            if one not in state.late and state.doing[one] in ("asleep", "on duty"):
                late = replace(state, late=state.late | {one})
                yield wake(late, one) if state.doing[one] == "asleep" else late


def stuck_states(fault: str = "") -> tuple[int, list[State]]:
    """Return how many states there are, and those in which nobody is woken for an end."""
    seen, todo, stuck = {State()}, [State()], []
    while todo:
        state = todo.pop()
        following = list(steps(state, fault))
        if not following and any(state.doing[one] != "gone" for one in state.ended):
            stuck.append(state)
        for after in (*following, *chances(state)):
            if after not in seen:
                seen.add(after)
                todo.append(after)
    return len(seen), stuck


def test_every_end_wakes_its_thread() -> None:
    """However the steps fall, each session that ends is taken back by its own thread."""
    count, stuck = stuck_states()

    assert count > 1000
    assert stuck == []


@pytest.mark.parametrize("fault", ["leaves silently", "sends back silently", "doesn't nudge"])
def test_the_model_finds_a_hand_over_that_is_wrong(fault: str) -> None:
    """With one step left out there is a state in which nobody is woken."""
    _, stuck = stuck_states(fault)

    assert stuck != []
