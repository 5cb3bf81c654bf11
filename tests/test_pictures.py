"""The documents' pictures that come from a recording: they show the program as it is."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from echo.cli.demo.play import acts

DOCS = Path(__file__).parent.parent / "docs"


def script() -> Any:
    """Load the script that makes the pictures."""
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_recording_is_of_the_demo_as_it_is() -> None:
    """Each act is in it, under its title; else: python docs/pictures.py demo."""
    head, *events = map(json.loads, (DOCS / "demo.cast").read_text().splitlines())
    text = "".join(data for _, kind, data in events if kind == "o")

    assert head["version"] == 2
    assert [f"{number}. {title}" in text for number, (title, _) in enumerate(acts(), 1)] == [
        True
    ] * len(acts())
    assert "It takes about three minutes; any key goes on at once" in text


def test_the_animated_picture_is_of_the_recording(tmp_path: Path) -> None:
    """The picture is what the script makes of the recording, to the byte."""
    pictures = script()
    pictures.HERE = tmp_path
    (tmp_path / "demo.cast").write_bytes((DOCS / "demo.cast").read_bytes())
    pictures.animate_demo()

    assert (tmp_path / "demo.svg").read_text() == (DOCS / "demo.svg").read_text()


def test_a_picture_of_a_terminal_keeps_columns_and_styles() -> None:
    """Each piece is at its own column, as wide as on the terminal; text is escaped."""
    drawn = script().svg(["\x1b[1;32mab\x1b[0m  <c>  ", "\x1b[7mhead \x1b[0m"], 20, 2, "a title")

    assert 'textLength="16.8" class="b green">ab</text>' in drawn
    assert "&lt;c&gt;</text>" in drawn
    assert '<rect x="14.0"' in drawn
    assert "@keyframes" not in drawn
