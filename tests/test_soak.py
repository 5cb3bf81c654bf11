"""A minute of the soak each time; `python -m tests.soak --seconds 600` is the whole of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.soak import slope, soak

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("ECHO_SOAK_SECONDS", "60"))


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
def test_mixed_traffic_and_faults(tmp_path: Path) -> None:
    """No corrupt byte, no line that differs from what a client saw, nothing left over."""
    figures, broken = soak(SECONDS, seed=1, folder=tmp_path)
    print("\n".join(figures))  # noqa: T201

    assert broken == []


def test_the_slope_is_a_slope() -> None:
    """The figure for the memory means what it says, in MB a minute."""
    samples = [(second, 100.0 if second < 60 else 40 + second / 30) for second in range(300)]

    assert slope(samples) == pytest.approx(2)
