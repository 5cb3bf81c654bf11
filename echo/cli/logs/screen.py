"""Writing for whoever reads: a pager on a terminal, a pipe, or nobody any more."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from echo.cli.failure import Failure
from echo.cli.output import OutputError, abandon_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

# As git has it: quit where all fits on one screen, show colours, leave the screen as it is.
_LESS = "FRX"


@contextmanager
def output() -> Iterator[Callable[[str], object]]:
    """Give what writes to standard output; a reader that has gone ends the block quietly."""
    if sys.stdout is None:
        raise Failure("logs: standard output is closed: redirect it to a file")
    try:
        yield sys.stdout.write
        sys.stdout.flush()
    except OutputError as error:
        if not isinstance(error.cause, BrokenPipeError):
            raise
        abandon_output()  # the reader has seen enough


@contextmanager
def paged(wanted: bool) -> Iterator[Callable[[str], object]]:
    """Give what writes to the user's pager, or where there is none, to standard output."""
    command = shlex.split(os.environ.get("PAGER", "less"))
    if not (wanted and command and on_terminal() and shutil.which(command[0])):
        with output() as write:
            yield write
        return
    pager = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        env={"LESS": _LESS, **os.environ},
        encoding="utf-8",
        errors="backslashreplace",
    )
    assert pager.stdin is not None
    try:
        # INT is the pager's to answer; here it only ends the writing.
        with suppress(BrokenPipeError, KeyboardInterrupt):
            yield pager.stdin.write
    finally:
        with suppress(BrokenPipeError):
            pager.stdin.close()
        _wait(pager)


def _wait(pager: subprocess.Popen[Any]) -> None:
    """Wait until the pager has given the terminal back."""
    while True:
        with suppress(KeyboardInterrupt):
            pager.wait()
            return


def on_terminal() -> bool:
    """Whether a person sees standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def console(width: int | None = None) -> Console:
    """Give a console that takes text as it is: a log must not style it.

    `width` is for what is no terminal: the columns that it has.
    """
    from rich.console import Console

    width = None if on_terminal() else width
    return Console(markup=False, highlight=False, emoji=False, width=width)


def as_json(value: Any) -> str:
    """Write JSON; what JSON has no word for is text."""
    return json.dumps(value, default=str, ensure_ascii=False)
