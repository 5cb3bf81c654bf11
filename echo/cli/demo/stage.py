"""How the demo is shown: lines at reading pace, a table after each step."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from echo.cli.demo.play import Said, ShowSockets
from echo.cli.output import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import JustifyMethod

    from echo.cli.demo.kernel import Address
    from echo.cli.demo.theatre import Row, Theatre
    from echo.cli.keys import Keys

    Wait = Callable[[float, bool], None]

_CODE = re.compile(r"`([^`]*)`")
# Colours that can be told apart on a dark and on a light ground.
_ACTORS = {"server": "bold green", "kernel": "bold magenta", "client": "bold blue"}
_STATES = {"LISTEN": "bold", "ESTABLISHED": "green", "TIME_WAIT": "yellow"}
_OTHER_STATE = "red"
# Seconds for a line, and for each of its letters: the pace of reading aloud.
_LINE_SECONDS = 0.8
_LETTER_SECONDS = 0.04
_TABLE_SECONDS = 5.0
# What all of these add up to.
_MINUTES = "three"


def pace(keys: Keys | None, *, fast: bool, step: bool) -> Wait:
    """Return the function that waits for the reader: for some seconds, or until a key is pressed.

    With `step` it waits at each table until a key is pressed.
    """

    def wait(seconds: float, is_table: bool) -> None:
        if keys is not None and step and is_table:
            _prompt(keys)
        elif keys is not None and not fast:
            keys.key(seconds)
        elif not fast:
            time.sleep(seconds)

    return wait


def duration(keys: Keys | None, *, fast: bool, step: bool) -> str:
    """Return how long the demo takes, and how the reader goes on sooner; empty if it is short."""
    if step:
        return "After each table it waits for a key."
    if fast:
        return ""
    sooner = "any key goes on at once, Ctrl-C ends it" if keys else "--fast leaves the pauses out"
    return f"It takes about {_MINUTES} minutes; {sooner}."


def _prompt(keys: Keys) -> None:
    """Ask for a key, wait for it, and remove the question."""
    sys.stdout.write("-- any key goes on --")
    sys.stdout.flush()
    key = ""
    while not key:
        key = keys.key(None)
    sys.stdout.write("\r\x1b[K")


def perform(act: Iterable[Said | ShowSockets], theatre: Theatre, wait: Wait) -> None:
    """Show the lines of an act, and a table of the sockets where it has one."""
    part: Said | ShowSockets | None = None
    for part in act:
        if isinstance(part, Said):
            show(_line(part.who, part.text))
            wait(_LINE_SECONDS + _LETTER_SECONDS * len(part.text), False)
        else:
            rows = theatre.sockets()
            show("", Text(_count(rows), style="bold"), *([_table(rows)] if rows else []), "")
            wait(_TABLE_SECONDS, True)
    if isinstance(part, Said):
        wait(_LINE_SECONDS, True)
        show("")


def title(number: int, text: str) -> Text:
    """Return an act's title."""
    return Text(f"{number}. {text}", style="bold underline")


def _line(who: str, text: str) -> Text:
    return Text.assemble((f"{who:<9}", _ACTORS[who.split()[0]]), _styled(text))


def _styled(text: str) -> Text:
    """Return a text with its code coloured, without the quotes."""
    shown = Text()
    for number, part in enumerate(_CODE.split(text)):
        shown.append(part, style="cyan" if number % 2 else "")
    return shown


def _table(rows: list[Row]) -> Table:
    states = any(row.state is not None for row in rows)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("", "fd", "socket", "local address", "peer", *(("recv-q", "state") * states)):
        justify: JustifyMethod = "right" if name in ("fd", "recv-q") else "left"
        table.add_column(name, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, states=states))
    return table


def _cells(row: Row, *, states: bool) -> list[Text]:
    fd = "-" if row.fd is None else str(row.fd)
    cells = [
        Text(row.side, style=_ACTORS[row.side]),
        Text(fd, style="bold"),
        Text(row.name if row.side == "client" else f"{row.role} {row.name}"),
        Text(_address(row.local)),
        Text(_address(row.peer)),
    ]
    if states:
        state = row.state or ""
        cells += [Text(str(row.unread)), Text(state, style=_STATES.get(state, _OTHER_STATE))]
    return cells


def _address(address: Address | None) -> str:
    if address is None or address[1] == 0:
        return "*"
    return f"{address[0]}:{address[1]}"


def _count(rows: list[Row]) -> str:
    """Count the server's open sockets: the listening one, and one for each session."""
    mine = [row.role for row in rows if row.side == "server" and row.fd is not None]
    listening = mine.count("listening")
    sessions = len(mine) - listening
    return f"server: {_sockets(listening, 'listening')} + {_sockets(sessions, 'session')}"


def _sockets(count: int, kind: str) -> str:
    return f"{count} {kind} socket{'' if count == 1 else 's'}"
