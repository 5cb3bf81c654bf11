"""The server for tests, and the list of what it has logged."""

from __future__ import annotations

import pytest

from echo.testing import EventList, Faults, running_server


def test_events_are_kept_with_their_level() -> None:
    """Each level has its method, as structlog's loggers have."""
    log = EventList()
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)("something", number=1)

    assert [entry["level"] for entry in log.events] == ["debug", "info", "warning", "error"]
    assert len(log.named("something")) == 4
    assert repr(log) == "<EventList 4 events>"


def test_waiting_for_an_event_ends() -> None:
    """What does not come is an error that says how much of it did."""
    log = EventList()
    log.info("something")

    with pytest.raises(TimeoutError, match=r"1 of 2 something in 0\.01 s"):
        log.wait_for("something", 2, timeout=0.01)


def test_a_server_says_where_it_is_and_what_it_does_wrong() -> None:
    """Host, port and faults are there to be read; the representation names the server."""
    with running_server(host="localhost", faults=Faults(delay=1)) as server:
        shown = repr(server)
        faults = server.faults

    assert (server.host, server.port) == server.address
    assert str(server.port) in shown
    assert faults == Faults(delay=1)
