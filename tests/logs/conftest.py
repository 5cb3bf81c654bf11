"""Fixtures: a made log, and the same log read into tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.logs.making import Maker

if TYPE_CHECKING:
    from pathlib import Path

    Lines = list[dict[str, Any]]


@pytest.fixture(scope="session")
def made() -> list[str]:
    """Return the lines of a log: five daemons one after the other, one of them crashed."""
    return list(Maker(5_000).lines())


@pytest.fixture
def log(made: list[str], tmp_path: Path) -> Path:
    """Write them to a file."""
    path = tmp_path / "echo.jsonl"
    path.write_text("".join(made))
    return path


@pytest.fixture(scope="session")
def events(made: list[str]) -> Lines:
    """Return the made lines as any JSON reader sees them."""
    return [json.loads(line) for line in made]
