"""A network that loses, doubles and reorders packets: every byte arrives, every end is right.

`pytest tests/platforms/network.py` needs root, ip(8), unshare(1) and /dev/net/tun, and takes a
minute. Everything happens in a network namespace of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.platforms.carrier import LIMIT, MIB
from tests.waiting import seconds

TUN = Path("/dev/net/tun")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("loop", ["python", "compiled", "tls"])
def test_transfers_through_a_bad_network(loop: str) -> None:
    """16 MiB come back whole, and each session ends with its right reason and exact counts."""
    if os.geteuid() or not (shutil.which("ip") and shutil.which("unshare") and TUN.exists()):
        pytest.skip("a network of its own needs root, ip(8), unshare(1) and /dev/net/tun")
    alone = ["unshare", "--net", sys.executable]
    if subprocess.run([*alone, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    done = subprocess.run(
        [*alone, "-m", "tests.platforms.carrier", loop],
        capture_output=True,
        text=True,
        timeout=seconds(300),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ends, packets = found["ends"], found["packets"]
    counts = {
        reason: (line["received_bytes"], line["sent_bytes"])
        for reason, line in ends.items()
        if reason != "reset"
    }

    assert {reason: line["reason"] for reason, line in ends.items()} == {
        reason: reason for reason in ("eof", "byte_limit", "idle_timeout", "reset", "drained")
    }
    assert counts == {
        "eof": (16 * MIB, 16 * MIB),
        "byte_limit": (LIMIT, LIMIT),
        "idle_timeout": (5, 5),
        "drained": (MIB, MIB),
    }
    assert min(packets[fate] for fate in ("lost", "doubled", "late")) > 100
