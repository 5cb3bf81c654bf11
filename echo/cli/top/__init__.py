"""`echod top`: the live sessions of a daemon, like top(1) and htop(1)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.failure import FAILED, USAGE, Failure, reason
from echo.cli.keys import available
from echo.cli.output import check_output, show
from echo.cli.target import context_for
from echo.client.live import BadAnswer, parsed
from echo.client.watch import BadUrl, Feed, Source
from echo.escape import escape

if TYPE_CHECKING:
    from echo.client.live import Sample

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
        Where its status pages are: what echod serve was told with --status-port.
    interval
        Seconds from one look at the daemon to the next.
    once
        Print the sessions as a table, and end; so it does where there is no terminal.
    json
        Print what the daemon says as one JSON object, and end.
    tls_ca
        PEM file of the authorities to trust instead of the system's, for an https URL.
    """
    check_output("top")
    try:
        source = Source(url, tls=context_for("top", tls_ca) if url.startswith("https:") else None)
    except BadUrl as error:
        raise Failure(
            f"top: {url} can't be used: {error}; name one as {_EXAMPLE}", USAGE
        ) from error
    body, sample = _first(source)
    if json:
        show(body.decode())
    elif once or not _has_screen():
        from echo.cli.top.drawing import snapshot

        show(*snapshot(sample, source.url))
    else:
        _live(source, sample, interval)


def _has_screen() -> bool:
    """Whether there are keys to read, and a terminal that can place its cursor."""
    return sys.stdout.isatty() and available() and os.environ.get("TERM", "dumb") != "dumb"


def _first(source: Source) -> tuple[bytes, Sample]:
    try:
        body = source.raw()
        return body, parsed(body)
    except OSError as error:
        why = f"{reason(error)}; is echod serve --status-port running there?"
    except BadAnswer as error:
        why = f"{error}; name the --status-port of an echod serve"
    raise Failure(f"top: can't read {source.url}/sessions: {escape(why)}", FAILED)


def _live(source: Source, sample: Sample, interval: float) -> None:
    """Draw until the user quits: at each key, each look, each change of the terminal's size."""
    # What only a terminal needs is imported where there is one.
    from echo.cli.top.control import Control
    from echo.cli.top.drawing import screen
    from echo.cli.top.terminal import Terminal

    control = Control(sample)
    with Terminal() as terminal, Feed(source, sample, interval, terminal.wake) as feed:
        going_on = True
        while going_on:
            control.look(feed.sample)
            terminal.draw(screen(control, source.url, feed.problem, terminal.size))
            going_on = control.press(terminal.key(None))
