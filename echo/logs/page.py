"""The report: a summary as one HTML page, without a script and with nothing to fetch."""

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

    from echo.logs.figures import Summary

# Of each kind of finding, this many are on the page.
_MOST_FINDINGS = 20
# Above this many bars, there is room for a time below the middle one.
_FEW = 4
# Facts that have a table of their own on the page.
_IN_TABLES = ("Ends", "Refused")


@dataclass(frozen=True)
class Bar:
    """One bar of a chart and the bar in front of it: their heights in percent, and the words."""

    height: float
    front: float | None
    words: str


@dataclass(frozen=True)
class Chart:
    """Bars over time, with the values of the gridlines and the times below, each with its place.

    Places are in percent, from the bottom and from the left.
    """

    name: str
    title: str
    columns: list[Bar]
    grid: list[tuple[float, str]]
    ticks: list[tuple[float, str]]
    legend: tuple[str, str] | None = None


def report(found: Summary) -> str:
    """Return a summary as HTML. Whatever stands in the log is shown as text, never obeyed."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("echo.logs", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_escape,
    )
    facts = words.facts(found.figures)
    verdict, *answers = words.verdict(found.audit)
    if found.audit.passed and found.audit.clean:  # that it is all there says more than that
        verdict, answers[0] = answers[0], verdict
    return environment.get_template("page.html").render(
        passed=found.audit.passed,
        verdict=verdict,
        answers=answers,
        facts={name: text for name, text in facts.items() if name not in _IN_TABLES},
        figures=found.figures,
        findings=_findings(found),
        charts=_charts(found),
        words=words,
        version=VERSION,
        now=f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}",
    )


def _escape(value: Any) -> Any:
    """Escape control characters, also those that change the direction of writing."""
    return escape(value) if type(value) is str else value


def _findings(found: Summary) -> list[tuple[str, int, bool, list[Any]]]:
    """Return each kind of finding: its count, whether it is a breach, and the first of it."""
    audit = found.audit
    return [
        (kind, count, breach, [f for f in named if f.kind == kind][:_MOST_FINDINGS])
        for counts, named, breach in (
            (audit.breach_counts, audit.breaches, True),
            (audit.remark_counts, audit.remarks, False),
        )
        for kind, count in counts.items()
    ]


def _charts(found: Summary) -> list[Chart]:
    bars = found.bars
    if not bars:
        return []
    each = words.span(found.bar_seconds)
    ticks = [words.tick(bar.start, found.bar_seconds) for bar in bars]
    begun, at_once = [bar.accepted for bar in bars], [bar.at_once for bar in bars]
    received, sent = [bar.received_bytes for bar in bars], [bar.sent_bytes for bar in bars]
    charts = [
        _chart("begun", f"Sessions begun, each {each}", begun, ticks, words.number),
        _chart("at-once", f"Most sessions at once, each {each}", at_once, ticks, words.number),
        _chart(
            "bytes", f"Bytes of closed sessions, each {each}", received, ticks, words.size, sent
        ),
    ]
    if any(refused := [bar.refused for bar in bars]):
        title = f"Connections refused, each {each}"
        charts.append(_chart("refused", title, refused, ticks, words.number))
    return charts


def _chart(
    name: str,
    title: str,
    values: Sequence[int],
    ticks: Sequence[str],
    write: Callable[[int], str],
    front: Sequence[int] | None = None,
) -> Chart:
    """Lay out bars, and a second one in front of each where `front` is given.

    >>> chart = _chart("a", "", [1, 4], ["10:00", "10:01"], str)
    >>> chart.columns[0].height, chart.columns[0].words, chart.grid[-1]
    (25.0, '10:00: 1', (100.0, '4'))
    """
    step, top = _scale(max(*values, *(front or ()), 1))
    grid = [(round(100 * line / top, 2), write(line)) for line in range(0, top + 1, step)]
    columns = []
    for place, (value, tick) in enumerate(zip(values, ticks, strict=True)):
        text = f"{tick}: {write(value)}"
        if front is not None:
            text += f" received, {write(front[place])} sent"
        height = None if front is None else round(100 * front[place] / top, 2)
        columns.append(Bar(round(100 * value / top, 2), height, text))
    middle = {len(ticks) // 2} if len(ticks) > _FEW else set()
    shown = sorted({0, len(ticks) - 1} | middle)
    width = 100 / len(ticks)
    places = [(round((place + 0.5) * width, 2), ticks[place]) for place in shown]
    legend = None if front is None else ("received", "sent back")
    return Chart(name, title, columns, grid, places, legend)


def _scale(most: int) -> tuple[int, int]:
    """Return a round step and the top of a scale of at most five steps.

    >>> _scale(1), _scale(7), _scale(130)
    ((1, 1), (2, 8), (50, 150))
    """
    step = 1
    while most > 5 * step:
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    return step, -(-most // step) * step
