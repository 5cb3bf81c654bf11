"""The fixture that holds every test's daemon to the promises: each of its checks can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.peers import Peers, echoes
from tests.process import DaemonProcess

if TYPE_CHECKING:
    from pathlib import Path

FOUND_BY = {
    "thread": "threads given back",
    "descriptor": "descriptors given back",
    "socket": "descriptors given back",
    "closed": "every session's closing line",
    "totals": r"\b2 == 1\b",
    "stderr": r"b'!' == b''",
    "line": "Unterminated string",
    "long line": "xxxx",
    "error": "server.error",
}


@pytest.mark.long
@pytest.mark.parametrize("promise", FOUND_BY)
def test_a_broken_promise_is_found(tmp_path: Path, promise: str) -> None:
    """One session that leaves something behind, or tells the log what is not so, is enough."""
    process = DaemonProcess(tmp_path, fault=f"broken:{promise}")
    peers = Peers()
    answer = echoes(peers(process.port))
    peers.close()
    if promise not in ("line", "long line"):
        process.wait_for("session.accepted" if promise == "closed" else "session.closed")
    if promise in ("thread", "descriptor", "socket", "closed"):
        process.patience = 1  # it is for what never comes; all else it would find is there

    with pytest.raises((AssertionError, ValueError), match=FOUND_BY[promise]):
        process.check_and_stop()
    assert answer


def test_nothing_is_found_where_nothing_is_broken(tmp_path: Path) -> None:
    """The same session, and it keeps its promises, by the strictest of looks."""
    process = DaemonProcess(tmp_path, fault="brisk")
    peers = Peers()
    answer = echoes(peers(process.port))
    peers.close()
    process.check_and_stop()

    assert answer
    assert process.spare_threads == 0


def test_another_code_is_found(tmp_path: Path) -> None:
    """A daemon that ended otherwise than the test expects, though by itself."""
    process = DaemonProcess(tmp_path)
    process.kill()

    with pytest.raises(AssertionError, match=r"-9 == 0"):
        process.check_and_stop()
