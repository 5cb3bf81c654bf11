"""`echod demo`: the sockets of a small server and three clients, shown step by step."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from echo.cli.demo import kernel, stage
from echo.cli.demo.play import acts
from echo.cli.demo.theatre import Theatre
from echo.cli.failure import USAGE, Failure
from echo.cli.keys import Keys, available
from echo.cli.output import check_output, show
from echo.errors import problem_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Flag = Annotated[bool, Parameter(negative="")]


def demo(*, fast: Flag = False, step: Flag = False) -> None:
    """Show the sockets of a server and three clients.

    Parameters
    ----------
    fast
        Leave out the pauses for the reader.
    step
        After each table, wait for a key.
    """
    check_output("demo")
    if step and not available():
        raise Failure("demo: --step needs a terminal to wait for keys: leave it out", USAGE)
    try:
        with _keys(wanted=step or not fast) as keys, Theatre() as theatre:
            _introduce(stage.duration(keys, fast=fast, step=step))
            _play(theatre, stage.pace(keys, fast=fast, step=step))
    except OSError as error:
        raise Failure(f"demo: the network of this system failed: {problem_of(error)}") from error


def _keys(*, wanted: bool) -> AbstractContextManager[Keys | None]:
    return Keys() if wanted and available() else nullcontext()


def _introduce(how_long: str) -> None:
    show("One echo server and three clients, all in this process. Each number, address and")
    show("state is read from the system at that moment.", *([how_long] if how_long else []), "")
    if not kernel.known():
        show(f"This system has no {kernel.TABLE}: the kernel's states are left out.")


def _play(theatre: Theatre, wait: stage.Wait) -> None:
    for number, (title, act) in enumerate(acts(), 1):
        show(stage.title(number, title))
        stage.perform(act(theatre), theatre, wait)
    show("The model: one listening socket, and one more socket for each client.")
    show("Each of these calls in Python's code: docs/from-c.md")
