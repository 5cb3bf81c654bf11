"""`echod top`: the live sessions of a daemon, like top(1) and htop(1)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.failure import FAILED, USAGE, Failure
from echo.cli.keys import available
from echo.cli.output import check_output, show
from echo.cli.target import context_for
from echo.client.snapshot import BadAnswer, parsed
from echo.client.watch import BadUrl, Poller, StatusPage
from echo.errors import problem_of
from echo.escape import escape

if TYPE_CHECKING:
    from echo.client.snapshot import Snapshot

_EXAMPLE = "http://127.0.0.1:9001"

Flag = Annotated[bool, Parameter(negative="")]


def top(
    url: str = _EXAMPLE,
    *,
    interval: Annotated[float, Parameter(validator=Number(gte=0.1, lte=3600))] = 1.0,
    once: Flag = False,
    json: Flag = False,
    tls_ca: Path | None = None,
) -> None:
    """Show the sessions of a daemon, live.

    Parameters
    ----------
    url
        Its status pages, which echod serve --status-port serves: a URL, HOST:PORT, or :PORT for
        127.0.0.1.
    interval
        Seconds between two snapshots of the daemon.
    once
        Print the sessions as a table and end, as it does where output is no terminal.
    json
        Print the daemon's snapshot as one JSON object and end.
    tls_ca
        PEM file of the authorities to trust instead of the system's, for an https URL.
    """
    check_output("top")
    try:
        page = StatusPage(url, tls=context_for("top", tls_ca) if url.startswith("https:") else None)
    except BadUrl as error:
        raise Failure(
            f"top: {url} can't be used: {error}; name one as {_EXAMPLE}", USAGE
        ) from error
    body, snapshot = _first(page)
    if json:
        show(body.decode())
    elif once or not _has_screen():
        from echo.cli.top.drawing import plain

        show(*plain(snapshot, page.url))
    else:
        _live(page, snapshot, interval)


def _has_screen() -> bool:
    """Return whether there are keys to read, and a terminal that can place its cursor."""
    return sys.stdout.isatty() and available() and os.environ.get("TERM", "dumb") != "dumb"


def _first(page: StatusPage) -> tuple[bytes, Snapshot]:
    try:
        body = page.raw()
        return body, parsed(body)
    except OSError as error:
        why = f"{problem_of(error)}; is echod serve --status-port running there?"
    except BadAnswer as error:
        why = f"{error}; name the --status-port of an echod serve"
    raise Failure(f"top: can't read {page.url}/sessions: {escape(why)}", FAILED)


def _live(page: StatusPage, snapshot: Snapshot, interval: float) -> None:
    """Draw at each key, each snapshot and each change of size, until the user quits."""
    # What only a terminal needs is imported where there is one.
    from echo.cli.top.control import Control
    from echo.cli.top.drawing import screen
    from echo.cli.top.terminal import Terminal

    control = Control(snapshot)
    with Terminal() as terminal, Poller(page, snapshot, interval, terminal.wake) as poller:
        going_on = True
        while going_on:
            control.look(poller.snapshot)
            terminal.use_mouse(control.mouse)
            terminal.draw(screen(control, page.url, poller.problem, terminal.size))
            going_on = control.press(terminal.key(None))
