"""How a command fails: one line that says what could not be done and what to do, and a code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

FAILED = 1
USAGE = 2


def _sysexit(name: str, value: int) -> int:
    # Windows has no names for them; the values are those of sysexits.h.
    return int(getattr(os, name, value))


UNAVAILABLE = _sysexit("EX_UNAVAILABLE", 69)
SOFTWARE = _sysexit("EX_SOFTWARE", 70)
OSERR = _sysexit("EX_OSERR", 71)
CANTCREAT = _sysexit("EX_CANTCREAT", 73)
NOPERM = _sysexit("EX_NOPERM", 77)
CONFIG = _sysexit("EX_CONFIG", 78)


class Failure(Exception):
    """Ends a command with `code`; the text is the line that the user gets."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


def say(text: str) -> None:
    """Tell the user, in one line on stderr; where nobody can be told, the exit code must do."""
    if sys.stderr is not None:  # it is where somebody closed it
        with suppress(OSError):
            print(f"echod: {' '.join(text.split())}", file=sys.stderr)


def reason(error: Exception) -> str:
    """Say what the system says, without Python's decoration.

    >>> reason(FileNotFoundError(2, "No such file or directory", "x"))
    'No such file or directory'
    """
    return getattr(error, "strerror", None) or str(error)
