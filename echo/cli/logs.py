"""`echod logs`: read the JSON logs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from echo.cli.failure import Failure, reason
from echo.logs.journal import lines_of
from echo.logs.pretty import pretty

if TYPE_CHECKING:
    from collections.abc import Iterator

logs_app = App(name="logs", help="Read the JSON logs.", help_format="plaintext")


@logs_app.command
def show(*files: str) -> None:
    """Print logs readably, in colour on a terminal.

    Parameters
    ----------
    files
        Log files, - for standard input; the default log where none is given.
    """
    try:
        for line in _lines(files or ("logs/echo.jsonl",)):
            sys.stdout.write(pretty(line, colors=sys.stdout.isatty()) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has seen enough
        sys.stdout = None


def _lines(files: tuple[str, ...]) -> Iterator[bytes]:
    for name in files:
        try:
            with sys.stdin.buffer if name == "-" else Path(name).open("rb") as stream:
                yield from lines_of(stream)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failure(
                f"logs show: can't read {name}: {reason(error)}; name a log that echod serve wrote"
            ) from error
