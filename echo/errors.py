"""What an error says, without Python's decoration."""

from __future__ import annotations


def problem_of(error: BaseException) -> str:
    """Return the system's own text of an error, or else the error's.

    >>> problem_of(FileNotFoundError(2, "No such file or directory", "x"))
    'No such file or directory'
    """
    return getattr(error, "strerror", None) or str(error)
