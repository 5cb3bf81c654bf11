"""What a reader has to follow: the route of one session through the code."""

from __future__ import annotations

from benchmarks.route import changes, route
from tests.waiting import wait_until


def test_one_session_is_one_story() -> None:
    """A session of one message takes few calls, and few changes of file."""

    def is_short() -> bool:  # the first, unless the accept loop had time for another iteration
        found = route()
        accept, session = found["accept"], found["session-1"]
        return (
            10 < len(accept) <= 20
            and changes(accept) <= 10
            and 20 < len(session) <= 35
            and changes(session) <= 18
        )

    wait_until(is_short, what="a route that is no longer")
