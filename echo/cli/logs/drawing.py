"""A summary as it stands on the screen: facts, two tables, two pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from echo.cli.logs.picture import picture
from echo.cli.logs.screen import console
from echo.logs import words
from echo.logs.pretty import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType
    from rich.text import Text

    from echo.logs.summary import Summary

_PICTURE_LINES = 9
# Below this width of a terminal, things stand one below the other.
_WIDE = 100


def draw(found: Summary) -> None:
    """Print a summary."""
    screen = console()
    screen.print(_facts(found.figures))
    screen.print()
    wide = screen.width >= _WIDE
    screen.print(_arranged([_percentiles(found.figures), _peers(found.figures)], wide=wide))
    if found.bars:
        screen.print()
        screen.print(_arranged(_pictures(found, screen.width, wide=wide), wide=wide))


def _arranged(parts: Sequence[RenderableType], *, wide: bool) -> Table:
    """Put parts beside each other, where there is room, or one below the other."""
    grid = Table.grid(padding=(0, 3, 0, 0))
    for row in [parts] if wide else [[part] for part in parts]:
        grid.add_row(*row)
    return grid


def _facts(figures: Mapping[str, Any]) -> Table:
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="bold")
    for name, text in words.facts(figures).items():
        facts.add_row(name, harmless(text))
    return facts


def _percentiles(figures: Mapping[str, Any]) -> Table:
    table = Table("each session", box=None, header_style="bold", pad_edge=False)
    for name in figures["duration_s"]:
        table.add_column(name, justify="right")
    for title, field, write in words.PERCENTILES:
        table.add_row(title, *(write(value) for value in figures[field].values()))
    return table


def _peers(figures: Mapping[str, Any]) -> Table:
    count = words.number(figures["peer_count"])
    table = Table(f"busiest of {count} peers", box=None, header_style="bold", pad_edge=False)
    table.add_column("sessions", justify="right")
    table.add_column("received", justify="right")
    for peer in figures["peers"]:
        received = words.size(peer["received_bytes"])
        table.add_row(harmless(peer["peer_ip"]), words.number(peer["sessions"]), received)
    return table


def _pictures(found: Summary, width: int, *, wide: bool) -> list[Text]:
    shape = (width // 2 - 2 if wide else width, _PICTURE_LINES)
    each = words.span(found.bar_seconds)
    ticks = [words.tick(bar.start, found.bar_seconds) for bar in found.bars]
    begun = [bar.accepted for bar in found.bars]
    received = [bar.received_bytes for bar in found.bars]
    return [
        picture(f"sessions begun, each {each}", begun, ticks, words.number, shape),
        picture(f"bytes received, each {each}", received, ticks, words.size, shape),
    ]
