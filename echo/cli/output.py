"""What the tools say: results on standard output, and what a terminal shows meanwhile."""

from __future__ import annotations

import json
import socket
import sys
from typing import TYPE_CHECKING, Any

from echo.cli.failure import FAILED, USAGE, Failure, reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType


def check_output(command: str) -> None:
    """Fail before the work is done where its result could not be shown."""
    if sys.stdout is None:  # it is where somebody closed it
        raise Failure(f"{command}: standard output is closed: redirect it to a file")


def show(*results: RenderableType) -> None:
    """Write results, a line or a table each; `Failure` where nobody can read them."""
    try:
        for result in results:
            if isinstance(result, str):
                print(result)
            else:
                _show_table(result)
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = None  # what is still buffered would fail again at the end
        raise Failure(f"can't write the output: {reason(error)}") from error


def _show_table(table: RenderableType) -> None:
    from rich.console import Console

    Console(highlight=False).print(table)


def show_json(figures: Mapping[str, Any]) -> None:
    """Write one JSON object on one line; times keep a nanosecond."""
    rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in figures.items()}
    show(json.dumps(rounded))


def milliseconds(value: float | None) -> str:
    """Write a time, or that there is none.

    >>> milliseconds(1.23456), milliseconds(None)
    ('1.235', '-')
    """
    return "-" if value is None else f"{value:.3f}"


def unreachable(command: str, host: str, port: int, error: OSError) -> Failure:
    """Say that there is no connection: code 2 where there is no such host, else 1."""
    text = f"{command}: can't connect to {host} port {port}: {reason(error)}"
    if isinstance(error, socket.gaierror):
        return Failure(f"{text}; check the name", USAGE)
    return Failure(f"{text}; is a server running there?", FAILED)
