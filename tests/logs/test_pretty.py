"""A line of the log as a person reads it: nothing in it can reach the terminal."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo.logs.lines import render
from echo.logs.pretty import pretty


def test_nested_values_are_shown_whole() -> None:
    """Limits and other structures are shown as they are written."""
    shown = pretty(render({"event": "server.started", "limits": {"a": 1}}), colors=False)

    assert 'limits={"a":1}' in shown.replace("'", "")


@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_no_line_moves_the_cursor(data: bytes) -> None:
    """Whatever stands in a file, what is shown has no control characters."""
    shown = pretty(data, colors=False)

    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in shown)


@given(value=st.text(max_size=100), name=st.text(max_size=10))
def test_no_field_moves_the_cursor(value: str, name: str) -> None:
    """Nor does anything in an event's fields."""
    shown = pretty(render({"event": "session.data", name: value}), colors=False)

    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in shown)


@pytest.mark.parametrize(
    ("sent", "shown"), [("hello\\n", "hello\\n"), ("hello world\\n\\x00", "'hello world\\n\\x00'")]
)
def test_an_escape_is_the_same_in_quotes(sent: str, shown: str) -> None:
    """A space puts a value into quotes, and changes nothing else in it."""
    line = render({"event": "session.data", "preview": sent})

    assert pretty(line, colors=False).endswith(f"preview={shown}")


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
NAMES = st.sampled_from(
    ["timestamp", "level", "logger", "logger_name", "stack", "stack_info", "exception", "exc_info"]
)


@given(fields=st.dictionaries(NAMES | st.text(max_size=5), VALUES, max_size=8), event=VALUES)
def test_whatever_the_fields_are_it_is_one_line(fields: dict[str, object], event: object) -> None:
    """A log that somebody else wrote may have anything where a name or a level should be."""
    shown = pretty(orjson.dumps({**fields, "event": event}), colors=False)

    assert not any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in shown)


def test_a_value_that_is_too_deep_is_left_out() -> None:
    """Brackets without end are no reason to stop."""
    deep = b'{"event":"x","y":' + b"[" * 900 + b"]" * 900 + b"}"

    assert "y=…" in pretty(deep, colors=False)
