"""Payload sizes as people write them: a number, a range, weighted sizes, a distribution."""

from __future__ import annotations

import random
from dataclasses import dataclass

from echo.limits import PAYLOAD_BYTES, BadLimit
from echo.units import parse_size


@dataclass(frozen=True, slots=True)
class Sizes:
    """A distribution of sizes: a span is chosen by its weight, and a size from within it.

    Where `mean` is set, sizes are distributed exponentially around it instead, within the span.
    """

    spans: tuple[tuple[int, int], ...]
    weights: tuple[int, ...] = (1,)
    mean: int = 0

    @property
    def most(self) -> int:
        """The largest size that there can be."""
        return max(high for _, high in self.spans)

    def draw(self, source: random.Random) -> int:
        """Draw one size."""
        low, high = self.spans[0]
        if len(self.spans) > 1:
            low, high = source.choices(self.spans, self.weights)[0]
        if self.mean:
            return min(max(low, round(source.expovariate(1 / self.mean))), high)
        return low if low == high else source.randint(low, high)


def parse_sizes(text: str) -> Sizes:
    """Return the sizes that `text` describes; raise `BadLimit` for text that is none.

    >>> parse_sizes("512").spans
    ((512, 512),)
    >>> parse_sizes("1-4k").spans
    ((1, 4096),)
    >>> parse_sizes("64*9,1m").weights  # nine of ten are 64 bytes, the tenth is a MiB
    (9, 1)
    >>> parse_sizes("exp:1000").mean  # exponential, at least 1 byte, at most 20 times the mean
    1000
    """
    if text.startswith("exp:"):
        mean = _size(text.removeprefix("exp:"))
        return Sizes(((1, min(20 * mean, PAYLOAD_BYTES)),), mean=mean)
    terms = [term.partition("*") for term in text.split(",")]
    spans = tuple(_span(span) for span, _, _ in terms)
    return Sizes(spans, tuple(_weight(weight) if star else 1 for _, star, weight in terms))


def _span(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low = _size(first)
    high = _size(last) if dash else low
    if high < low:
        raise BadLimit("size", f"must be a range from the smaller to the larger, not {text}")
    return low, high


def _size(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError as error:
        wanted = "must be as 512, 1-4k, 64*9,1M or exp:1000"
        raise BadLimit("size", f"{wanted}, not {text!r}") from error
    if not 1 <= size <= PAYLOAD_BYTES:
        raise BadLimit("size", f"must be from 1 to {PAYLOAD_BYTES} bytes, not {text.strip()}")
    return size


def _weight(text: str) -> int:
    if not text.strip().isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise BadLimit("size", f"must have whole weights from 1 on, not *{text}")
    return int(text)
