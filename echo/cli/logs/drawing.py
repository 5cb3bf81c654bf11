"""A summary as it stands on the screen: facts, two tables, two pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table

from echo.cli.logs.picture import picture
from echo.cli.logs.screen import console, on_terminal
from echo.escape import escape
from echo.logs import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType
    from rich.text import Text

    from echo.logs.summary import Summary

# Lines of a picture: as many as there is room for on one screen.
_LEAST_LINES, _MOST_LINES = 7, 9
# Below this width of a terminal, pictures stand one below the other, if there is room.
_WIDE = 100
_GAP = 3


def draw(found: Summary) -> None:
    """Print a summary, on one screen where that has 80 columns and 24 lines."""
    screen = console()
    tables = [_percentiles(found.figures), _peers(found.figures)]
    fitting = sum(screen.measure(table).maximum + _GAP for table in tables) <= screen.width + _GAP
    above = Group(_facts(found.figures), "", _arranged(tables, beside=fitting), "")
    screen.print(above)
    if not found.bars:
        return
    room = 2 * _MOST_LINES
    if on_terminal():  # whose last line is the prompt's
        room = screen.height - 1 - len(screen.render_lines(above))
    beside = screen.width >= _WIDE or room < 2 * _MOST_LINES
    lines = max(_LEAST_LINES, min(_MOST_LINES, room))
    shape = ((screen.width - _GAP) // 2 if beside else screen.width, lines)
    screen.print(_arranged(_pictures(found, shape), beside=beside))


def _arranged(parts: Sequence[RenderableType], *, beside: bool) -> Table:
    """Put parts beside each other, or one below the other."""
    grid = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    for row in [parts] if beside else [[part] for part in parts]:
        grid.add_row(*row)
    return grid


def _facts(figures: Mapping[str, Any]) -> Table:
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="bold")
    for name, text in words.facts(figures).items():
        facts.add_row(name, escape(text))
    return facts


def _percentiles(figures: Mapping[str, Any]) -> Table:
    table = Table("session", box=None, header_style="bold", pad_edge=False)
    for title, _, _ in words.PERCENTILES:
        table.add_column(title, justify="right")
    for name in figures["duration_s"]:
        values = (write(figures[field][name]) for _, field, write in words.PERCENTILES)
        table.add_row(name, *values)
    return table


def _peers(figures: Mapping[str, Any]) -> Table:
    count = words.number(figures["peer_count"])
    table = Table(f"busiest of {count} peers", box=None, header_style="bold", pad_edge=False)
    table.add_column("sessions", justify="right")
    table.add_column("received", justify="right")
    for peer in figures["peers"]:
        received = words.size(peer["received_bytes"])
        table.add_row(escape(peer["peer_ip"]), words.number(peer["sessions"]), received)
    return table


def _pictures(found: Summary, shape: tuple[int, int]) -> list[Text]:
    each = words.span(found.bar_seconds)
    ticks = [words.tick(bar.start, found.bar_seconds) for bar in found.bars]
    begun = [bar.accepted for bar in found.bars]
    received = [bar.received_bytes for bar in found.bars]
    return [
        picture(f"sessions begun, each {each}", begun, ticks, words.number, shape),
        picture(f"bytes received, each {each}", received, ticks, words.size, shape),
    ]
