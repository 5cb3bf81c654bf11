"""What the daemon asks of the system for its process; the library never does."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from echo.limits import SPARE_DESCRIPTORS

if TYPE_CHECKING:
    from echo.limits import Limits

# Thousands of threads that wake at once, each wanting the interpreter's lock after the default
# 5 ms, keep each other from working: 10,000 sessions never finished. 0.05 was not enough, and
# with 0.2 one closing of 10,000 in fourteen took three times as long as the others.
SWITCH_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class Pin:
    """The processor that the process is kept on, and those that it might use; none is no pin."""

    pinned: frozenset[int] = frozenset()
    allowed: frozenset[int] = frozenset()


ANYWHERE = Pin()


def tune(cpu: str) -> Pin:
    """Set the process up for many threads that share the interpreter's lock.

    `cpu` is the processor to stay on: `auto` chooses one where that is faster, `none` leaves
    the process to the scheduler, a number names one. Threads that share the interpreter's lock
    across processors pay for each hand-over; on one processor there is none. Raises
    `ValueError` for a processor that this process may not use.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):  # it needs no privilege, but a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    return pin(cpu)


def pin(cpu: str) -> Pin:
    """Keep the process on one processor, as `tune` says."""
    if cpu == "none" or (cpu == "auto" and not _pays()):
        return ANYWHERE
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("this system can't pin a process: leave --cpu out")
    allowed = os.sched_getaffinity(0)
    numbers = {str(number): number for number in sorted(allowed)}
    chosen = max(allowed) if cpu == "auto" else numbers.get(cpu)
    if chosen is None:
        raise ValueError(f"it is auto, none, or a processor of this process: {', '.join(numbers)}")
    os.sched_setaffinity(0, {chosen})
    return Pin(frozenset({chosen}), frozenset(allowed))


def _pays() -> bool:
    has_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
    return has_lock and hasattr(os, "sched_setaffinity")


def fit_descriptors(limits: Limits) -> Limits:
    """Raise the soft limit on descriptors, and return limits that fit into it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.max_sessions + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    return replace(limits, max_sessions=max(1, soft - SPARE_DESCRIPTORS))
