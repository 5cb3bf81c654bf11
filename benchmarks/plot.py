"""Draw a run as an SVG: how far ours is ahead of each peer, on a logarithmic scale.

The picture brings its own background and colours for light and for dark, so that it can be read
wherever a README is shown.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.contestants import OURS
from benchmarks.metrics import METRICS
from benchmarks.ratios import Key, Spread, figures, ratios
from benchmarks.storage import Run
from benchmarks.workloads import WORKLOADS

DRAWN = ("per_s", "mb_per_s")
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#b8860b", "#6f6fd8")
"""Okabe and Ito's, which colour-blind readers can tell apart; two darkened to suit both grounds."""
STYLE = """
  .ground { fill: #ffffff; stroke: #d0d7de } .ink { fill: #1f2328 } .faint { fill: #59636e }
  .grid { stroke: #d8dee4 } .even { stroke: #1f2328 } .band { fill: #f6f8fa }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d } .ink { fill: #f0f6fc } .faint { fill: #9198a1 }
    .grid { stroke: #262c36 } .even { stroke: #f0f6fc } .band { fill: #151b23 }
  }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
  .title { font-size: 16px; font-weight: 600 }
  .end { text-anchor: end } .mid { text-anchor: middle }
"""
WIDTH, LEFT, RIGHT, TOP, LANE = 880, 230, 740, 96, 7


@dataclass(frozen=True)
class Row:
    """One workload: its name, our own figure, and the spread against each peer."""

    title: str
    own: str
    spreads: dict[str, Spread]


@dataclass(frozen=True)
class Scale:
    """Where a ratio lies, between powers of two."""

    low: int
    high: int

    @classmethod
    def around(cls, rows: Sequence[Row]) -> "Scale":
        """Return the scale that all ratios fit on, with 1 inside."""
        values = [v for row in rows for s in row.spreads.values() for v in (s.least, s.most)]
        low, high = math.log2(min(values)), math.log2(max(values))
        return cls(min(-1, math.floor(low)), max(1, math.ceil(high)))

    def x(self, ratio: float) -> float:
        """Return the place of a ratio."""
        share = (math.log2(ratio) - self.low) / (self.high - self.low)
        return round(LEFT + share * (RIGHT - LEFT), 1)


def draw(run: Run) -> str:
    """Return the picture.

    Raises:
        ValueError: the run has no rate that ours can be compared by.

    """
    own, to_peers = figures(run.samples), ratios(run.samples)
    titles = {c.name: c.title for c in run.contestants if c.name != OURS}
    rows = list(drawn_rows(own, to_peers, list(titles)))
    if not rows:
        raise ValueError("the plot shows rates beside peers, and this run has none")
    seen = {name: title for name, title in titles.items() if any(name in r.spreads for r in rows)}
    pitch = LANE * (len(seen) + 2)
    height = TOP + pitch * len(rows) + 62
    parts = [*heading(height), *legend(seen), *grid(Scale.around(rows), pitch, len(rows))]
    for number, row in enumerate(rows):
        parts += draw_row(row, TOP + pitch * number, pitch, Scale.around(rows), list(seen))
    parts += footing(run, height)
    return document(parts, height)


def drawn_rows(
    own: dict[Key, Spread], to_peers: dict[Key, Spread], names: Sequence[str]
) -> Iterator[Row]:
    """Yield the rates, one row each."""
    for workload in WORKLOADS:
        for metric in set(workload.metrics) & set(DRAWN) if workload.only is None else ():
            keys = {name: (workload.name, metric, name) for name in names}
            spreads = {n: to_peers[key] for n, key in keys.items() if key in to_peers}
            if spreads:
                figure = METRICS[metric].shown(own[workload.name, metric, OURS].median)
                unit = "/s" if metric == "per_s" else " MB/s"
                yield Row(workload.title, figure + unit, spreads)


def draw_row(
    row: Row, top: float, pitch: float, scale: Scale, names: Sequence[str]
) -> Iterator[str]:
    """Yield one row: its name, a whisker and a dot for each peer, our own figure."""
    middle = top + pitch / 2
    yield text(16, middle + 4, row.title, "ink")
    yield text(WIDTH - 16, middle + 4, row.own, "ink end")
    for lane, name in enumerate(names):
        spread = row.spreads.get(name)
        if spread:
            yield from draw_spread(spread, top + LANE * (lane + 1.5), scale, COLOURS[lane])


def draw_spread(spread: Spread, y: float, scale: Scale, colour: str) -> Iterator[str]:
    """Yield a whisker from the least to the most, and a dot at the median."""
    least, most = scale.x(spread.least), scale.x(spread.most)
    yield f'<path d="M{least} {y}H{most}" stroke="{colour}" stroke-width="2" opacity=".55"/>'
    yield f'<circle cx="{scale.x(spread.median)}" cy="{y}" r="4" fill="{colour}"/>'


def heading(height: float) -> Iterator[str]:
    """Yield the ground and the title."""
    box = f'width="{WIDTH - 1}" height="{height - 1}"'
    yield f'<rect class="ground" x=".5" y=".5" {box} rx="8"/>'
    yield text(16, 28, "How fast is echo-daemon, with its JSON log on?", "ink title")
    yield text(WIDTH - 16, TOP - 8, "ours", "faint end")


def legend(titles: dict[str, str]) -> Iterator[str]:
    """Yield a dot and a name for each peer."""
    x = 20.0
    for colour, title in zip(COLOURS, titles.values(), strict=False):
        yield f'<circle cx="{x}" cy="48" r="5" fill="{colour}"/>'
        yield text(x + 10, 52, title, "ink")
        x += 34 + 7.1 * len(title)


def grid(scale: Scale, pitch: float, rows: int) -> Iterator[str]:
    """Yield a band behind every other row, a line for each power of two, a strong one at 1."""
    bottom = TOP + pitch * rows
    for number in range(0, rows, 2):
        place = f'y="{TOP + pitch * number}" width="{WIDTH - 16}" height="{pitch}"'
        yield f'<rect class="band" x="8" {place}/>'
    for power in range(scale.low, scale.high + 1):
        x, kind = scale.x(2.0**power), "grid" if power else "even"
        yield f'<path class="{kind}" d="M{x} {TOP}V{bottom}"/>'
        yield text(x, TOP - 8, f"{2**power}×" if power >= 0 else f"1/{2**-power}×", "faint mid")


def footing(run: Run, height: float) -> Iterator[str]:
    """Yield how to read the picture, and what was measured on."""
    reading = "Right of 1×: ours is ahead. Dots are medians of rounds, lines go from least to most."
    yield text(16, height - 34, reading, "faint")
    yield text(16, height - 14, f"{run.machine['machine']}; {run.machine['python']}", "faint")


def text(x: float, y: float, content: str, kind: str) -> str:
    """Return a line of text."""
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(content)}</text>'


def document(parts: Sequence[str], height: float) -> str:
    """Return the whole picture."""
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    title = "<title>Rates of echo-daemon relative to its peers</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *parts, "</svg>\n"])
