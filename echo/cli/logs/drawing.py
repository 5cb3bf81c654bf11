"""A summary as it stands on the screen: facts, two tables, two pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from echo.cli.logs.picture import picture
from echo.cli.logs.screen import console
from echo.logs import words
from echo.logs.pretty import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echo.logs.summary import Summary

_PICTURE_LINES = 9
# Below this width of a terminal, the pictures stand one below the other.
_WIDE = 100


def draw(found: Summary) -> None:
    """Print a summary."""
    screen = console()
    screen.print(_facts(found.figures))
    screen.print()
    side = Table.grid(padding=(0, 3))
    side.add_row(_percentiles(found.figures), _peers(found.figures))
    screen.print(side)
    if found.bars:
        screen.print()
        screen.print(_pictures(found, screen.width))


def _facts(figures: Mapping[str, Any]) -> Table:
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="bold")
    for name, text in words.facts(figures).items():
        facts.add_row(name, harmless(text))
    return facts


def _percentiles(figures: Mapping[str, Any]) -> Table:
    table = Table("each session", box=None, header_style="bold")
    for name in figures["duration_s"]:
        table.add_column(name, justify="right")
    for title, field, write in words.PERCENTILES:
        table.add_row(title, *(write(value) for value in figures[field].values()))
    return table


def _peers(figures: Mapping[str, Any]) -> Table:
    count = words.number(figures["peer_count"])
    table = Table(f"busiest of {count} peers", box=None, header_style="bold")
    table.add_column("sessions", justify="right")
    table.add_column("received", justify="right")
    for peer in figures["peers"]:
        received = words.size(peer["received_bytes"])
        table.add_row(harmless(peer["peer_ip"]), words.number(peer["sessions"]), received)
    return table


def _pictures(found: Summary, width: int) -> Table:
    wide = width >= _WIDE
    shape = ((width - 3) // 2 if wide else width, _PICTURE_LINES)
    each = words.span(found.bar_seconds)
    ticks = [words.tick(bar.start, found.bar_seconds) for bar in found.bars]
    begun = [bar.accepted for bar in found.bars]
    received = [bar.received_bytes for bar in found.bars]
    drawn = [
        picture(f"sessions begun, each {each}", begun, ticks, words.number, shape),
        picture(f"bytes received, each {each}", received, ticks, words.size, shape),
    ]
    grid = Table.grid(padding=(0, 3))
    for row in [drawn] if wide else [[one] for one in drawn]:
        grid.add_row(*row)
    return grid
