"""A line of the log as a person reads it: nothing in it can reach the terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echo.logs.lines import json_line
from echo.logs.pretty import pretty


def test_nested_values_are_shown_whole() -> None:
    """Limits and other structures are shown as they are written."""
    shown = pretty(json_line("info", "server.started", {"limits": {"a": 1}}), colors=False)

    assert "limits=\"{'a': 1}\"" in shown


@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_no_line_moves_the_cursor(data: bytes) -> None:
    """Whatever stands in a file, what is shown has no control characters."""
    shown = pretty(data, colors=False)

    assert shown.isprintable() or "\n" not in shown
    assert "\x1b" not in shown


@given(value=st.text(max_size=100), name=st.text(max_size=10))
def test_no_field_moves_the_cursor(value: str, name: str) -> None:
    """Nor does anything in an event's fields."""
    shown = pretty(json_line("info", "session.data", {name: value}), colors=False)

    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in shown)
