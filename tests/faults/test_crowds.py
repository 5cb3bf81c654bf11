"""Thousands at once: connecting, waking and closing end, without a pile-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.peers import Crowd

if TYPE_CHECKING:
    from tests.faults.peers import Start


@pytest.mark.long
def test_thousands_connect_wake_and_close_at_once(daemon: Start) -> None:
    """5,000 connect at once; 2,000 of them wake at once, then all; 5,000 close at once."""
    # In Python, where those who wake have one lock to wait for.
    process = daemon("--max-sessions-per-peer", "5000", "--loop", "python", fault="brisk")
    with Crowd(process.port, 5000) as crowd:
        crowd.connect()
        crowd.echo(b"x" * 100, 2000)
        crowd.echo(b"y" * 3000)
        crowd.end()
    process.wait_for("session.closed", 5000)

    assert {line["reason"] for line in process.events("session.closed")} == {"eof"}
    assert process.events("session.refused") == []


@pytest.mark.long
def test_five_hundred_connect_at_once(daemon: Start) -> None:
    """None of a burst waits for the system's second try: all are through at the first."""
    process = daemon("--loop", "python", fault="brisk")
    with Crowd(process.port, 500) as crowd:
        crowd.connect()
        again = crowd.sent_again()
        process.wait_for("session.accepted", 500)
        crowd.end()
    process.wait_for("session.closed", 500)
    longest = max(line["active_sessions"] for line in process.events("session.accepted"))

    assert again == 0
    assert longest == 500
