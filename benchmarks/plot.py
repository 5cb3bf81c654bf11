"""Draw a run as an SVG: how far ours is ahead of each peer, on a logarithmic scale.

The plot brings its own background and colours for light and for dark, so that it can be read
wherever a README is shown. A full dot is a peer that logs as ours does, a ring one without a log.
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
COLOURS = (
    ("#c2410c", "#fb923c"),
    ("#0067b1", "#58b4f5"),
    ("#00795a", "#3ddaa8"),
    ("#a3318f", "#ec8fdc"),
    ("#8a6500", "#e5bd3f"),
    ("#5b53c9", "#a9a4ff"),
    ("#57606a", "#b6bfc9"),
)
"""For each peer, on a light ground and on a dark one: each at 4.5:1 or more to its ground."""
STYLE = """
  .ground { fill: #ffffff; stroke: #d0d7de } .ink { fill: #1f2328 } .faint { fill: #59636e }
  .grid { stroke: #d8dee4 } .even { stroke: #1f2328 } .band { fill: #f6f8fa }
  LIGHT
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d } .ink { fill: #f0f6fc } .faint { fill: #9198a1 }
    .grid { stroke: #262c36 } .even { stroke: #f0f6fc } .band { fill: #151b23 }
    DARK
  }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
  .title { font-size: 16px; font-weight: 600 }
  .end { text-anchor: end } .mid { text-anchor: middle }
"""
WIDTH, LEFT, RIGHT, TOP, LANE = 880, 230, 760, 116, 9
LEGEND = 216  # pixels of each name


@dataclass(frozen=True)
class Row:
    """One workload: its name, our own figure, and the spread against each peer."""

    title: str
    own: str
    spreads: dict[str, Spread]

    @property
    def height(self) -> float:
        """Pixels from its top to the next one's: a lane for each peer that it has."""
        return LANE * (max(2, len(self.spreads)) + 1.4)


@dataclass(frozen=True)
class Peer:
    """One contestant beside ours: its name in the legend, its colour, whether it logs."""

    title: str
    colour: int
    logs: bool


@dataclass(frozen=True)
class Scale:
    """Where a ratio lies, between two powers of two that need not be whole."""

    low: float
    high: float

    @classmethod
    def around(cls, rows: Sequence[Row]) -> "Scale":
        """Return the scale that all ratios just fit on, with 1 inside."""
        values = [v for row in rows for s in row.spreads.values() for v in (s.least, s.most)]
        return cls(min(-0.6, math.log2(min(values)) - 0.1), max(0.6, math.log2(max(values)) + 0.1))

    def x(self, ratio: float) -> float:
        """Return the place of a ratio."""
        share = (math.log2(ratio) - self.low) / (self.high - self.low)
        return round(LEFT + share * (RIGHT - LEFT), 1)


def draw(run: Run) -> str:
    """Return the plot.

    Raises:
        ValueError: the run has no rate that ours can be compared by.

    """
    own, to_peers = figures(run.samples), ratios(run.samples)
    rows = list(drawn_rows(own, to_peers, [c.name for c in run.contestants if c.name != OURS]))
    if not rows:
        raise ValueError("the plot shows rates beside peers, and this run has none")
    peers = seen_peers(run, rows)
    scale, top = Scale.around(rows), TOP + 22.0 * ((len(peers) - 1) // 4)
    height = top + sum(row.height for row in rows) + 62
    parts = [*heading(height), *legend(peers), *grid(scale, top, rows)]
    for row in rows:
        parts += draw_row(row, top, scale, peers)
        top += row.height
    parts += footing(run, height)
    return document(parts, height)


def seen_peers(run: Run, rows: Sequence[Row]) -> dict[str, Peer]:
    """Return the peers that a row has; one with a log has the colour of the one without."""
    drawn = [c for c in run.contestants if any(c.name in row.spreads for row in rows)]
    kinds = list(dict.fromkeys(c.name.removesuffix("-log") for c in drawn))
    return {
        c.name: Peer(c.title, kinds.index(c.name.removesuffix("-log")) % len(COLOURS), c.logs)
        for c in drawn
    }


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


def draw_row(row: Row, top: float, scale: Scale, peers: dict[str, Peer]) -> Iterator[str]:
    """Yield one row: its name, a whisker and a mark for each peer, our own figure."""
    middle = top + row.height / 2
    yield text(16, middle + 4, row.title, "ink")
    yield text(WIDTH - 16, middle + 4, row.own, "ink end")
    first = middle - LANE * (len(row.spreads) - 1) / 2
    for lane, (name, spread) in enumerate(row.spreads.items()):
        yield from draw_spread(spread, round(first + LANE * lane, 1), scale, peers[name])


def draw_spread(spread: Spread, y: float, scale: Scale, peer: Peer) -> Iterator[str]:
    """Yield a whisker from the least to the most, and a mark at the median."""
    least, most = scale.x(spread.least), scale.x(spread.most)
    yield f'<path d="M{least} {y}H{most}" class="c{peer.colour}" stroke-width="2" opacity=".6"/>'
    yield mark(scale.x(spread.median), y, peer)


def mark(x: float, y: float, peer: Peer) -> str:
    """Return a peer's mark: full where it logs, else a ring."""
    kind = f"c{peer.colour}" if peer.logs else f"c{peer.colour} ring"
    return f'<circle cx="{x}" cy="{y}" r="4" class="{kind}" stroke-width="2"/>'


def heading(height: float) -> Iterator[str]:
    """Yield the ground, and the question that the plot answers."""
    box = f'width="{WIDTH - 1}" height="{height - 1}"'
    yield f'<rect class="ground" x=".5" y=".5" {box} rx="8"/>'
    title = "How many times as fast as these is echo-daemon, with its JSON log on?"
    yield text(16, 28, title, "ink title")


def legend(peers: dict[str, Peer]) -> Iterator[str]:
    """Yield a mark and a name for each peer, four in a line."""
    for number, peer in enumerate(peers.values()):
        x, y = 20 + LEGEND * (number % 4), 50 + 22 * (number // 4)
        yield mark(x, y, peer)
        yield text(x + 10, y + 4, peer.title, "ink")


def grid(scale: Scale, top: float, rows: Sequence[Row]) -> Iterator[str]:
    """Yield a band behind every other row, the axis, and a line for each power of two."""
    bottom = top + sum(row.height for row in rows)
    y = top
    for number, row in enumerate(rows):
        if number % 2 == 0:
            place = f'y="{y}" width="{WIDTH - 16}" height="{row.height}"'
            yield f'<rect class="band" x="8" {place}/>'
        y += row.height
    yield text(scale.x(1) - 10, top - 26, "← slower", "ink end")
    yield text(scale.x(1), top - 26, "|", "faint mid")
    yield text(scale.x(1) + 10, top - 26, "faster →", "ink")
    yield text(WIDTH - 16, top - 8, "echo-daemon", "faint end")
    for power in range(math.ceil(scale.low), math.floor(scale.high) + 1):
        x, kind = scale.x(2.0**power), "grid" if power else "even"
        yield f'<path class="{kind}" d="M{x} {top}V{bottom}"/>'
        yield text(x, top - 8, f"{2**power}×" if power >= 0 else f"1/{2**-power}×", "faint mid")


def footing(run: Run, height: float) -> Iterator[str]:
    """Yield how to read the plot, and what was measured on."""
    reading = (
        "Full dot: logs two JSON lines a session, as echo-daemon does. Ring: no log. "
        "Medians of rounds, lines from least to most."
    )
    yield text(16, height - 34, reading, "faint")
    yield text(16, height - 14, f"{run.machine['machine']}; {run.machine['python']}", "faint")


def text(x: float, y: float, content: str, kind: str) -> str:
    """Return a line of text."""
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(content)}</text>'


def style() -> str:
    """Return the style sheet, with the colours on each ground."""
    light, dark = (
        " ".join(
            f".c{number} {{ stroke: {pair[ground]}; fill: {pair[ground]} }}"
            for number, pair in enumerate(COLOURS)
        )
        for ground in (0, 1)
    )
    rings = " .ring { fill: #ffffff }", " .ring { fill: #0d1117 }"
    return STYLE.replace("LIGHT", light + rings[0]).replace("DARK", dark + rings[1])


def document(parts: Sequence[str], height: float) -> str:
    """Return the whole plot."""
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    title = "<title>How many times as fast as its peers echo-daemon is</title>"
    return "\n".join([head, title, f"<style>{style()}</style>", *parts, "</svg>\n"])
