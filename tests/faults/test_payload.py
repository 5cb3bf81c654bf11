"""Hostile payload at debug level: every line strict, none forged, none over 2 KiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echo.client import EchoClient
from echo.server.handler import PREVIEW_BYTES
from echo.testing import running_server
from tests import vocabulary
from tests.waiting import seconds

if TYPE_CHECKING:
    from tests.faults.peers import Start

FORGED = b'{"timestamp":"2026-01-31T10:00:00.000001Z","level":"info","event":"server.stopped"}'
HOSTILE = {
    "newlines": b"\n" * 500 + b"\r\n" * 500,
    "a forged line": b"\n" + FORGED + b"\n",
    "a forged field": b'","event":"server.stopped","x":"',
    "an escaped quote": b'\\"\\\\","level":"error',
    "terminal escapes": b"\x1b[2J\x1b]0;title\x07\x9b31m",
    "NUL": b"\0" * 4096,
    "what is no UTF-8": b"\xff\xfe\x80\xc0\xaf" * 100,
    "lone surrogates": b"\xed\xa0\x80\xed\xbf\xbf" * 100,
    "line separators": "\u2028\u2029\u0085\ufeff".encode(),
    "right to left": "\u202e\u2066gnp.exe".encode(),
    "much of it": bytes(range(256)) * 4000,
    "percent and braces": b"%s%n{0.__class__}${jndi:ldap://x}",
}


def test_no_payload_forges_or_breaks_a_line(daemon: Start) -> None:
    """Each read has a line of its own, with a short preview of printable characters."""
    process = daemon("--log-level", "debug")
    with process.client() as client:
        for payload in HOSTILE.values():
            client.echo(payload)
    (closed,) = process.wait_for("session.closed")
    shown = process.events("session.data")
    previews = [line["preview"] for line in shown]

    assert sum(line["bytes"] for line in shown) == closed["received_bytes"]
    assert all(preview.isprintable() for preview in previews)
    assert {line["event"] for line in process.lines()} == {
        "server.started",
        "session.accepted",
        "session.data",
        "session.closed",
    }


def test_no_payload_shows_unless_it_is_asked_for(daemon: Start) -> None:
    """At the usual level nothing of what a peer sends gets into the log."""
    process = daemon()
    with process.client() as client:
        client.echo(b"secret" * 1000 + FORGED)
    process.wait_for("session.closed")

    assert b"secret" not in process.log.read_bytes()
    assert process.log.read_bytes().count(b"\n") == 3


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5))
def test_previews_are_printable_and_short(payloads: list[bytes]) -> None:
    """The preview of any bytes can be printed, and is no longer than their escapes."""
    with running_server(log_payload=True) as server:
        with EchoClient(*server.address, timeout=seconds(60)) as client:
            for payload in payloads:
                client.echo(payload)
        shown = server.log.wait_for("session.data", len(payloads), seconds(60))
    vocabulary.check(server.events)

    for line, payload in zip(shown, payloads, strict=False):
        assert line["preview"].isprintable()
        assert len(line["preview"]) <= 4 * min(len(payload), PREVIEW_BYTES)


def test_text_is_shown_as_text(daemon: Start) -> None:
    """A message in UTF-8 can be read in the log."""
    process = daemon("--log-level", "debug")
    with process.client() as client:
        client.echo("안녕하세요\n".encode())
    (shown,) = process.wait_for("session.data")

    assert shown["preview"] == "안녕하세요\\n"
