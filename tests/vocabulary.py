"""Holds a log against the vocabulary: names, levels, fields, and the promises that span lines."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from echo.events import EVENTS, SESSION_ACCEPTED, SESSION_CLOSED, Reason
from echo.limits import LOG_LINE_BYTES

Line = dict[str, Any]


def parse(data: bytes) -> list[Line]:
    """Parse a log as strictly as JSON can be; what is not whole fails."""
    assert data == b"" or data.endswith(b"\n"), f"torn: {data[-200:]!r}"
    lines = data.decode("utf-8", "strict").split("\n")[:-1]
    return [_parse_line(line) for line in lines]


def _parse_line(line: str) -> Line:
    found: Line = json.loads(line, parse_constant=_no_constant, object_pairs_hook=_no_twins)
    assert len(line.encode()) < LOG_LINE_BYTES, line
    return found


def _no_twins(pairs: list[tuple[str, Any]]) -> Line:
    found = dict(pairs)
    assert len(found) == len(pairs), f"a name twice: {pairs}"
    return found


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def check(lines: list[Line]) -> None:
    """Check each line, then what the lines together promise."""
    check_lines(lines)
    check_sessions(lines)


def check_lines(lines: list[Line]) -> None:
    """Check each line for itself: of a log that has gaps, nothing more can be said."""
    for line in lines:
        check_line(line)


def check_line(line: Line) -> None:
    """Check one line's name, level and fields."""
    event = EVENTS[line["event"]]
    allowed = {"timestamp", "level", "event", *event.fields, *event.optional}

    assert line["level"] == event.level, line
    assert set(event.fields) <= set(line) <= allowed, line
    assert line.get("duration_s", 0) >= 0, line


def check_sessions(lines: list[Line]) -> None:
    """Check that each accepted session has exactly one closing line, and a right one."""
    accepted = Counter(x["session_id"] for x in lines if x["event"] == SESSION_ACCEPTED.name)
    closed = [x for x in lines if x["event"] == SESSION_CLOSED.name]

    assert set(accepted.values()) <= {1}, "a session was accepted twice"
    assert Counter(x["session_id"] for x in closed) == accepted, "accepted and closed differ"
    for line in closed:
        assert line["reason"] in {*Reason}, line
        assert line["sent_bytes"] <= line["received_bytes"], line
        if line["reason"] == Reason.EOF:
            assert line["sent_bytes"] == line["received_bytes"], line


def check_totals(lines: list[Line]) -> None:
    """Check that the last line's totals are the sums over the sessions."""
    (stopped,) = [x for x in lines if x["event"] == "server.stopped"]
    closed = [x for x in lines if x["event"] == SESSION_CLOSED.name]
    refused = sum(x["count"] for x in lines if x["event"] == "session.refused")

    assert lines[-1] is stopped, "server.stopped is not the last line"
    assert stopped["accepted"] == stopped["closed"] == len(closed)
    assert stopped["refused"] == refused
    for name in ("received_bytes", "sent_bytes"):
        assert stopped[name] == sum(x[name] for x in closed), name
