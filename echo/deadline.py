"""One deadline for a time-out that is spread over several waits."""

from __future__ import annotations

import math
import time


class Deadline:
    """A moment on the monotonic clock, so that setting the wall clock moves no time-out.

    `seconds` counts from now; `None` is a deadline that never comes.

    >>> Deadline(60).expired
    False
    >>> Deadline(0).expired
    True
    >>> Deadline(None).left()
    inf
    """

    __slots__ = ("at",)

    def __init__(self, seconds: float | None) -> None:
        self.at = math.inf if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the deadline, never negative; infinite where there is none."""
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the moment has come."""
        return time.monotonic() >= self.at
