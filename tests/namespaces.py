"""A network namespace of a test's own: a loopback on which nobody else is, with any MTU."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def own_loopback(mtu: int) -> Iterator[None]:
    """Have the sockets of this thread, and the processes that it starts, in a network of their own.

    Its loopback carries packets of at most `mtu` bytes. Skips the test where none can be made.
    """
    if not hasattr(os, "unshare") or not (ip := shutil.which("ip")):
        pytest.skip("a network namespace needs Python 3.12 on Linux, and ip(8)")
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            os.unshare(os.CLONE_NEWNET)
        except PermissionError:
            pytest.skip("a network namespace needs root, or CAP_SYS_ADMIN")
        try:
            subprocess.run([ip, "link", "set", "lo", "up", "mtu", str(mtu)], check=True)
            yield
        finally:
            os.setns(before, os.CLONE_NEWNET)
    finally:
        os.close(before)
