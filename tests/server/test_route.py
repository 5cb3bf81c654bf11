"""What a reader has to follow: the route of one session through the code."""

from __future__ import annotations

from benchmarks.route import changes, route


def test_one_session_is_one_story() -> None:
    """A session of one message takes few calls, and few changes of file."""
    found = route()
    accept, session = found["accept"], found["session-1"]

    assert 10 < len(accept) <= 20
    assert changes(accept) <= 10
    assert 20 < len(session) <= 35
    assert changes(session) <= 18
