"""What the daemon asks of the system for its process; the library never does."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.limits import Limits

# Thousands of threads that wake at once, each wanting the interpreter's lock after the default
# 5 ms, keep each other from working: 10,000 sessions never finished. 0.05 was not enough, and
# with 0.2 one closing of 10,000 in fourteen took three times as long as the others.
SWITCH_INTERVAL = 1.0

# Descriptors that are not sessions: the listeners, the log, the wakeups, the status
# connections, a reload's spare.
SPARE_DESCRIPTORS = 48
# What a session costs in its cgroup, in bytes, the kernel's share and a drain included, and what
# the daemon costs without any: `python -m benchmarks.memory`, and something to spare.
SESSION_BYTES = 96 * 1024
TLS_SESSION_BYTES = 128 * 1024
BASE_BYTES = 64 * 1024 * 1024
# Version 1 writes "no limit" as the largest multiple of a page.
UNLIMITED = 2**62


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


def fit_memory(limits: Limits, *, tls: bool = False, limit: int | None = None) -> Limits:
    """Return limits whose sessions fit into the memory that the process's cgroup may take.

    `limit` is in bytes; by default it is what `memory_limit` finds.
    """
    limit = memory_limit() if limit is None else limit
    if limit is None:
        return limits
    room = (limit - BASE_BYTES) // (TLS_SESSION_BYTES if tls else SESSION_BYTES)
    return replace(limits, max_sessions=max(1, min(limits.max_sessions, room)))


def memory_limit(process: Path = Path("/proc/self")) -> int | None:
    """Return the bytes that the process's memory cgroup may take, None without a limit.

    A cgroup lives within the limits of those that it is in, so that the smallest counts.
    """
    found = [number for group in memory_groups(process) for number in _limits_of(group)]
    return min((number for number in found if number < UNLIMITED), default=None)


def memory_groups(process: Path = Path("/proc/self")) -> Iterator[Path]:
    """Yield the folders of the process's memory cgroup and of those that it is in, inmost first.

    Version 1 has a hierarchy for memory, version 2 one for all. A container may see a part of it
    only: then the mount's own root is what the cgroup's name begins with (cgroups(7)).
    """
    try:
        names = (process / "cgroup").read_text().splitlines()
        mounts = (process / "mountinfo").read_text().splitlines()
    except OSError:  # this system has no cgroups
        return
    by_controller: dict[str, str] = {}
    for line in names:
        _, controllers, name = line.split(":", 2)
        by_controller.update(dict.fromkeys(controllers.split(","), name))
    for mount in mounts:
        left, _, right = mount.partition(" - ")
        root, point = left.split()[3:5]
        kind, _, options = right.split(" ", 2)
        is_v1 = kind == "cgroup" and "memory" in options.split(",")
        found = by_controller.get("memory" if is_v1 else "")
        if found is None or not (is_v1 or kind == "cgroup2"):
            continue
        inside = PurePosixPath(found)
        inside = inside.relative_to(root) if inside.is_relative_to(root) else PurePosixPath()
        group = Path(point) / str(inside).lstrip("/")
        yield from (each for each in (group, *group.parents) if each.is_relative_to(point))


def _limits_of(group: Path) -> Iterator[int]:
    for name in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # the other version's, or "max"
            yield int((group / name).read_text())
