"""The server for tests, and the list of what it has logged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from echo import EchoClient, EchoEnded, EchoHandler, EchoServer
from echo.server.faults import FaultyHandler
from echo.testing import EventList, Faults, running_server
from tests.waiting import seconds


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


def test_a_server_class_of_one_s_own_is_what_runs() -> None:
    """`server` is an instance of it, and typed as it."""

    class Mine(EchoServer):
        motto = "mine"

    with running_server(server_class=Mine) as server:
        motto = server.server.motto

    assert motto == "mine"


def test_faults_with_a_handler_that_has_none_are_refused() -> None:
    """They would do nothing, and the test would prove nothing."""

    class Mine(EchoHandler):
        pass

    class MyServer(EchoServer):
        pass

    for options in ({"handler": Mine}, {"server_class": MyServer}):
        with pytest.raises(TypeError, match="faults need a handler and a server that can do wrong"):
            running_server(faults=Faults(), **options).__enter__()  # type: ignore[arg-type]


def test_a_faulty_handler_of_one_s_own_has_its_faults() -> None:
    """Derived from the one that can do wrong, it does."""

    class Mine(FaultyHandler):
        pass

    with running_server(faults=Faults(close_after=3), handler=Mine) as server:
        with EchoClient(*server.address, timeout=seconds(60)) as client:
            with pytest.raises(EchoEnded, match="at offset 3, with 2 bytes missing"):
                client.echo(b"hello")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("session.close", "session.closed"),
        ("session.opened", "session."),
        ("closed", "session.closed"),
        ("server.start", "server.started"),
    ],
)
def test_an_event_that_there_isn_t_fails_at_once(name: str, meant: str) -> None:
    """A mistyped name is no time-out: the message has the nearest one."""
    log = EventList()

    with pytest.raises(ValueError, match=f"no event is called {name}: did you mean {meant}"):
        log.wait_for(name, timeout=seconds(60))
    with pytest.raises(ValueError, match="did you mean"):
        log.named(name)


def test_events_can_be_waited_for_in_asyncio() -> None:
    """`asyncio.to_thread` waits, and the loop goes on."""

    async def exchange() -> list[dict[str, Any]]:
        reader, writer = await asyncio.open_connection(*server.address)
        waiting = asyncio.create_task(asyncio.to_thread(server.log.wait_for, "session.closed"))
        writer.write(b"hello")
        await reader.readexactly(5)
        writer.close()
        return await waiting

    with running_server() as server:
        closed = asyncio.run(exchange())

    assert closed[0]["received_bytes"] == 5


def test_changing_the_faults_takes_no_descriptors() -> None:
    """At any time, as often as a test likes."""
    with running_server(faults=Faults()) as server:
        with EchoClient(*server.address, timeout=seconds(60)) as client:
            client.echo(b"hello")
            before = len(list(Path("/proc/self/fd").iterdir()))
            for number in range(50):
                server.faults = Faults(delay=number / 10_000)
            client.echo(b"hello")
            after = len(list(Path("/proc/self/fd").iterdir()))

    assert after <= before
