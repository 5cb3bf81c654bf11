"""A summary as one HTML page: no script, and nothing that it would have to fetch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jinja2

from echo.escape import escape
from echo.logs import words
from echo.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echo.logs.summary import Summary

# The drawing's own units: its width is the page's, whatever that is.
WIDTH, HEIGHT = 720, 160


@dataclass(frozen=True)
class Rectangle:
    """One bar of a picture, and the words that a pointer on it shows."""

    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True)
class Picture:
    """Bars over time: the title, the top of the scale, the bars, and times to write below."""

    title: str
    top: str
    bars: list[Rectangle]
    ticks: list[str]


def page(found: Summary) -> str:
    """Write a summary as HTML. Whatever stands in the log is shown, never obeyed."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("echo.logs", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_escape,
    )
    return environment.get_template("report.html").render(
        facts=words.facts(found.figures),
        figures=found.figures,
        pictures=_pictures(found),
        words=words,
        width=WIDTH,
        height=HEIGHT,
        version=VERSION,
        now=f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}",
    )


def _escape(value: Any) -> Any:
    """Escape control characters, also those that turn the direction of writing."""
    return escape(value) if type(value) is str else value


def _pictures(found: Summary) -> list[Picture]:
    bars = found.bars
    if not bars:
        return []
    each = words.span(found.bar_seconds)
    ticks = [words.tick(bar.start, found.bar_seconds) for bar in bars]
    return [
        _picture(title, values, ticks, write)
        for title, values, write in (
            (f"Sessions begun, each {each}", [bar.accepted for bar in bars], words.number),
            (f"Most sessions at once, each {each}", [bar.at_once for bar in bars], words.number),
            (f"Bytes received, each {each}", [bar.received_bytes for bar in bars], words.size),
        )
    ]


def _picture(
    title: str, values: Sequence[int], ticks: Sequence[str], write: Callable[[int], str]
) -> Picture:
    """Lay out bars.

    >>> _picture("", [1, 2], ["10:00", "10:01"], str).bars[0]
    Rectangle(x=0.0, y=80.0, width=359.0, height=80.0, words='10:00: 1')
    """
    top = max(*values, 1)
    width = WIDTH / len(values)
    gap = 1 if width > 3 else 0
    bars = [
        Rectangle(
            x=round(place * width, 2),
            y=round(HEIGHT - HEIGHT * value / top, 2),
            width=round(width - gap, 2),
            height=round(HEIGHT * value / top, 2),
            words=f"{tick}: {write(value)}",
        )
        for place, (value, tick) in enumerate(zip(values, ticks, strict=True))
    ]
    shown = sorted({0, len(ticks) // 2, len(ticks) - 1})
    return Picture(title, write(top), bars, [ticks[place] for place in shown])
