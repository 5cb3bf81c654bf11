"""Twenty seconds of the soak each time; `python -m tests.soak --seconds 600` is the whole of it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.soak import MAX_BYTES, Soak, Visit, problems, slope, soak

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("ECHO_SOAK_SECONDS", "20"))


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 120)
def test_mixed_traffic_and_faults(tmp_path: Path) -> None:
    """No corrupt byte, no line that differs from what a client saw, nothing left over."""
    figures, broken = soak(SECONDS, seed=1, folder=tmp_path)
    print("\n".join(figures))  # noqa: T201

    assert broken == []


LINE = {"event": "session.closed", "peer_ip": "127.1.0.1"}
FINE: list[tuple[Visit, dict[str, Any]]] = [
    (
        Visit("chat", "127.1.0.1", {"eof"}, sent=5, received=5),
        {**LINE, "reason": "eof", "received_bytes": 5, "sent_bytes": 5},
    ),
    (
        Visit("overdo", "127.1.0.1", {"byte_limit"}, MAX_BYTES + 9, MAX_BYTES, saw_end=True),
        {**LINE, "reason": "byte_limit", "received_bytes": MAX_BYTES, "sent_bytes": MAX_BYTES},
    ),
]
WRONG_LINES: list[list[dict[str, Any]]] = [
    [{"reason": "reset"}],
    [{"received_bytes": MAX_BYTES + 10}],
    [{"received_bytes": 4}],
    [{"sent_bytes": 4}],
    [{}, {}],
    [{}, {"peer_ip": "127.1.0.2"}],
    [],
]


def account(visit: Visit, lines: list[dict[str, Any]]) -> list[str]:
    """Hold one visit against a log."""
    process: Any = None
    return problems(Soak(process, 1, 1, visits=[visit]), lines)


@pytest.mark.parametrize(("visit", "line"), FINE)
def test_the_account_agrees(visit: Visit, line: dict[str, Any]) -> None:
    """What the client saw is what the log says."""
    assert account(visit, [line]) == []


@pytest.mark.parametrize("wrong", WRONG_LINES)
@pytest.mark.parametrize(("visit", "line"), FINE)
def test_each_disagreement_is_found(
    visit: Visit, line: dict[str, Any], wrong: list[dict[str, Any]]
) -> None:
    """A reason, a byte, a session too many or too few: the soak says so."""
    assert account(visit, [line | change for change in wrong])


@pytest.mark.parametrize(("visit", "line"), FINE)
def test_a_lost_byte_is_found(visit: Visit, line: dict[str, Any]) -> None:
    """The client that misses one, and the one whose bytes were not its own."""
    assert account(replace(visit, received=visit.received - 1), [line])
    assert account(replace(visit, problem="a byte is wrong"), [line])


def test_the_slope_is_a_slope() -> None:
    """The figure for the memory means what it says, in MB a minute."""
    samples = [(second, 100.0 if second < 60 else 40 + second / 30) for second in range(300)]

    assert slope(samples) == pytest.approx(2)
