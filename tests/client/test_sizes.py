"""Sizes as a person writes them, and as they are drawn."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from echo.client.sizes import parse_sizes
from echo.limits import BadLimit


def drawn(text: str, count: int = 2000) -> Counter[int]:
    """Draw sizes."""
    source = random.Random(1)
    sizes = parse_sizes(text)
    return Counter(sizes.draw(source) for _ in range(count))


def test_a_number_is_that_size() -> None:
    """One size is drawn each time; k and m are KiB and MiB."""
    assert set(drawn("512")) == {512}
    assert set(drawn("64k")) == {65536}
    assert set(drawn("1M")) == {1024 * 1024}


def test_a_range_is_drawn_whole() -> None:
    """Both ends of a range are drawn, and nothing beyond."""
    assert set(drawn("3-7")) == {3, 4, 5, 6, 7}


def test_a_choice_keeps_its_weights() -> None:
    """Weighted sizes are drawn in proportion to their weights."""
    counts = drawn("64*9,1k")

    assert set(counts) == {64, 1024}
    assert 1700 < counts[64] < 1900


def test_a_choice_may_hold_ranges() -> None:
    """Weighted sizes may be ranges."""
    assert set(drawn("1-2, 5")) == {1, 2, 5}


def test_an_exponential_has_its_mean() -> None:
    """Small ones are frequent, large ones are rare, and there is a largest one."""
    counts = drawn("exp:100")
    mean = sum(size * count for size, count in counts.items()) / 2000

    assert 90 < mean < 110
    assert min(counts) >= 1
    assert max(counts) <= parse_sizes("exp:100").most == 2000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "x",
        "-1",
        "1-",
        "7-3",
        "1k-",
        "65m",
        "99999999999",
        "1.5",
        "exp:",
        "exp:0",
        "1*0",
        "1*x",
        "1*",
        "1,,2",
        "1*9999999",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    """A value out of range is one line that names the field."""
    with pytest.raises(BadLimit) as caught:
        parse_sizes(text)

    assert caught.value.field == "size"
