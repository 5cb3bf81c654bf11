"""Waiting in tests: for a condition, with a deadline, never for a fixed time."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypeVar

from echo.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# How long a second is: set it higher on a slow machine.
UNIT = float(os.environ.get("ECHO_TEST_SECOND", "1"))


def seconds(count: float) -> float:
    """Return a time-out for a test, in this machine's seconds."""
    return count * UNIT


def wait_until(condition: Callable[[], T], timeout: float = 60, what: str = "") -> T:
    """Return the first true value of `condition`; fail after `timeout` scaled seconds without one.

    It looks a hundred times a second, so it is for what can't be waited for in a better way:
    another process's file or state.
    """
    deadline = Deadline(seconds(timeout))
    pause = threading.Event()
    while True:
        late = deadline.expired  # before the look: after a stall it looks once more
        if value := condition():
            return value
        if late:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        pause.wait(0.01)
