"""The page about reliability names tests that are there."""

from __future__ import annotations

import re

from tests.process import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_proof_exists() -> None:
    """Each test that the page names is a function of the file that it names."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    missing = [
        f"{path}::{name}"
        for path, name in named
        if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8") and name
    ]

    assert len(named) > 50
    assert missing == []


def test_every_fault_is_on_the_page() -> None:
    """Each file of fault tests has its place on the page."""
    files = {path.name for path in (ROOT / "tests" / "faults").glob("test_*.py")}

    assert {name for name in files if name not in PAGE} == {"test_documents.py"}
