"""A summary on the screen: the verdict, facts, two tables, two charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotext
from rich.console import Group
from rich.table import Table
from rich.text import Text

from echo.cli.logs.screen import console, on_terminal
from echo.escape import escape
from echo.logs import words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import RenderableType

    from echo.logs.figures import Summary

# Lines of a chart: as many as there is room for on one screen.
_LEAST_LINES, _MOST_LINES = 6, 9
# Below this width of a terminal, charts stand one below the other, if there is room.
_WIDE = 100
# Below this width of a chart there is no room for a third time below it.
_NARROW = 50
_BLOCKS = r"[\u2580-\u259f]+"
_COLOR = "cyan"
_BELOW, _LEFT = 0, 1
_GAP = 3
# Facts that a low screen leaves out, in this order.
_SPARE_FACTS = ("Busiest", "Daemons", "Log", "Left out")


def draw(found: Summary) -> None:
    """Print a summary, on one screen where that has 80 columns and 24 lines."""
    screen = console()
    tables = [_percentiles(found.figures), _peers(found.figures)]
    fitting = sum(screen.measure(table).maximum + _GAP for table in tables) <= screen.width + _GAP
    facts = words.facts(found.figures)
    charts = bool(found.bars and found.figures["accepted"])
    for spare in ("", *_SPARE_FACTS):
        facts.pop(spare, None)
        above = Group(_verdict(found), _facts(facts), "", _arranged(tables, beside=fitting))
        # The last line is the prompt's.
        room = screen.height - 1 - len(screen.render_lines(above)) - 1
        if not on_terminal() or room >= _LEAST_LINES:
            break
    screen.print(above)
    if not charts:
        return
    room = room if on_terminal() else 2 * _MOST_LINES
    beside = screen.width >= _WIDE or room < 2 * _MOST_LINES
    lines = max(_LEAST_LINES, min(_MOST_LINES, room))
    shape = ((screen.width - _GAP) // 2 if beside else screen.width, lines)
    screen.print("", _arranged(_charts(found, shape), beside=beside), sep="\n")


def _arranged(parts: Sequence[RenderableType], *, beside: bool) -> Table:
    """Put parts beside each other, or one below the other."""
    grid = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
    for row in [parts] if beside else [[part] for part in parts]:
        grid.add_row(*row)
    return grid


def _verdict(found: Summary) -> Text:
    first, *answers = words.verdict(found.audit)
    style = "bold green" if found.audit.passed else "bold red"
    return Text.assemble((first, style), " ", escape(answers[0]) if answers else "")


def _facts(facts: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(style="bold")
    for name, text in facts.items():
        table.add_row(name, escape(text))
    return table


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


def _charts(found: Summary, shape: tuple[int, int]) -> list[Group]:
    each = words.span(found.bar_seconds)
    ticks = [words.tick(bar.start, found.bar_seconds) for bar in found.bars]
    begun = [bar.accepted for bar in found.bars]
    received = [bar.received_bytes for bar in found.bars]
    return [
        _chart(f"sessions begun, each {each}", begun, ticks, words.number, shape),
        _chart(f"bytes received, each {each}", received, ticks, words.size, shape),
    ]


def _chart(
    title: str,
    values: Sequence[int],
    ticks: Sequence[str],
    write: Callable[[int], str],
    shape: tuple[int, int],
) -> Group:
    """Draw a bar for each value; `ticks` names them all, a few of those are shown.

    `write` makes the text of a value, `shape` is columns and lines.
    """
    columns, lines = shape
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(columns, lines - 1)
    figure.draw(figure.bar(list(range(len(values))), list(values), marker="hd", width=1))
    top = max(*values, 1)
    figure.ruler(_LEFT, 0).lim(0, top)
    figure.ruler(_LEFT, 0).ticks([0, top], [write(0), write(top)])
    middle = {len(values) // 2} if columns > _NARROW else set()
    shown = sorted({0, len(values) - 1} | middle)
    figure.ruler(_BELOW, 0).ticks(shown, [ticks[place] for place in shown])
    text = Text(figure.build().string(colorless=True).rstrip("\n"), no_wrap=True)
    text.highlight_regex(_BLOCKS, _COLOR)
    # plotext leaves a title out that is longer than its own idea of the room for it.
    return Group(Text(title, style="bold", no_wrap=True, overflow="ellipsis"), text)
