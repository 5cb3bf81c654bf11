"""Bars over time, drawn in the terminal's characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotext
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BLOCKS = r"[\u2580-\u259f]+"
_COLOR = "cyan"
_BELOW, _LEFT = 0, 1
# Up to this width there is no room for a third time below a picture.
_NARROW = 50


def picture(
    title: str,
    values: Sequence[int],
    ticks: Sequence[str],
    write: Callable[[int], str],
    shape: tuple[int, int],
) -> Text:
    """Draw a bar for each value; `ticks` names them all, a few of those are shown.

    `write` makes the text of a value, `shape` is columns and lines.

    >>> drawn = picture("sessions", [1, 3, 2], ["10:00", "10:01", "10:02"], str, (40, 9))
    >>> len(drawn.plain.splitlines()), "sessions" in drawn.plain, "10:02" in drawn.plain
    (9, True, True)
    """
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(*shape)
    figure.title(title)
    figure.draw(figure.bar(list(range(len(values))), list(values), marker="hd", width=1))
    top = max(*values, 1)
    figure.ruler(_LEFT, 0).lim(0, top)
    figure.ruler(_LEFT, 0).ticks([0, top], [write(0), write(top)])
    middle = {len(values) // 2} if shape[0] > _NARROW else set()
    shown = sorted({0, len(values) - 1} | middle)
    figure.ruler(_BELOW, 0).ticks(shown, [ticks[place] for place in shown])
    text = Text(figure.build().string(colorless=True).rstrip("\n"), no_wrap=True)
    text.highlight_regex(_BLOCKS, _COLOR)
    return text
