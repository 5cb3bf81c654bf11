"""Results on standard output, and what becomes of them where that can't take them."""

from __future__ import annotations

import io
import json
import os
import select
import sys
from typing import TYPE_CHECKING, Any

from echo.cli.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import ReadableBuffer
    from rich.console import RenderableType


class OutputError(Exception):
    """Standard output could not be written; `cause` is the system's error.

    It is no `OSError`, so that no command takes it for an error of the network or of a file.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Output(io.FileIO):
    """A descriptor whose errors are `OutputError`s; it waits for room if it is non-blocking."""

    def write(self, data: ReadableBuffer) -> int:
        """Write some of `data`, and return how many bytes were written."""
        try:
            while (count := super().write(data)) is None:
                select.select((), (self,), ())
            return count
        except OSError as error:
            raise OutputError(error) from error


def open_output() -> None:
    """Replace the process's `sys.stdout` by one that raises `OutputError`.

    Characters that its encoding lacks are written as escapes. Where standard output is closed,
    or somebody has replaced it already, nothing happens.
    """
    standard = sys.__stdout__
    if standard is None or sys.stdout is not standard:
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(standard.fileno(), "wb", closefd=False)),
        encoding=standard.encoding,
        errors="backslashreplace",
        # With PYTHONUNBUFFERED: write_through alone ends at the buffer of the writer below.
        line_buffering=standard.line_buffering or standard.write_through,
        write_through=standard.write_through,
    )


def abandon_output() -> None:
    """Point standard output at /dev/null, so that what is still buffered can't fail at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_output(command: str) -> None:
    """Fail before the work is done where its result could not be shown."""
    if sys.stdout is None:  # it is where somebody closed it
        raise Failure(f"{command}: standard output is closed: redirect it to a file")


def show(*results: RenderableType) -> None:
    """Write results, a line or a table each, at once."""
    for result in results:
        if isinstance(result, str):
            print(result)
        else:
            _show_table(result)
    sys.stdout.flush()


def _show_table(table: RenderableType) -> None:
    from rich.console import Console

    Console(highlight=False).print(table)


def show_json(figures: Mapping[str, Any]) -> None:
    """Write one JSON object on one line; times keep a nanosecond."""
    rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in figures.items()}
    show(json.dumps(rounded))


def milliseconds(value: float | None) -> str:
    """Return a time as text, or a dash for none.

    >>> milliseconds(1.23456), milliseconds(None)
    ('1.235', '-')
    """
    return "-" if value is None else f"{value:.3f}"
