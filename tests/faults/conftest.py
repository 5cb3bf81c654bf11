"""What the fault tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.peers import Peers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.peers import Start


@pytest.fixture
def connect(daemon: Start) -> Iterator[Peers]:
    """Connect on plain sockets, which are closed before the daemon is held to its promises."""
    del daemon
    peers = Peers()
    yield peers
    peers.close()
