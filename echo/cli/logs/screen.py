"""Writing to a pager, a terminal or a pipe, also one that nobody reads any more."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from echo.cli.failure import Failure, say
from echo.cli.output import OutputError, abandon_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

# As git has it: quit where all fits on one screen, show colours, leave the screen as it is.
_LESS = "FRX"
# Narrower than this, rich leaves text out.
_LEAST_COLUMNS = 20


@contextmanager
def output() -> Iterator[Callable[[str], object]]:
    """Yield what writes to standard output; a reader that has gone ends the block quietly."""
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
    """Yield what writes to the user's pager, or where there is none, to standard output."""
    command = _pager_command() if wanted and on_terminal() else []
    if not (command and shutil.which(command[0])):
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


def _pager_command() -> list[str]:
    text = os.environ.get("PAGER", "less")
    try:
        return shlex.split(text)
    except ValueError as error:
        say(f"logs: no pager: PAGER is {text!r}: {str(error).lower()}")
        return []


def _wait(pager: subprocess.Popen[Any]) -> None:
    """Wait until the pager has ended and left the terminal."""
    while True:
        with suppress(KeyboardInterrupt):
            pager.wait()
            return


def on_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def console(width: int | None = None) -> Console:
    """Return a console that prints text as it is: a log must not style it.

    `width`, in columns, is for what is no terminal.
    """
    from rich.console import Console

    width = None if on_terminal() else width
    screen = Console(markup=False, highlight=False, emoji=False, width=width)
    if screen.width < _LEAST_COLUMNS:  # COLUMNS=0 would print nothing
        screen.width = _LEAST_COLUMNS
    return screen


def as_json(value: Any) -> str:
    """Return JSON; what JSON can't hold is text."""
    return json.dumps(value, default=str, ensure_ascii=False)
