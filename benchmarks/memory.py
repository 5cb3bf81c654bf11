"""What sessions cost in memory: `python -m benchmarks.memory [--sessions 2000]`, as root, on Linux.

Each daemon runs in a memory cgroup of its own, so that the kernel's share (thread stacks, sockets)
is counted, too, as a container's limit counts it. Clients live outside of it.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import ssl
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from echo.server.tuning import memory_groups
from tests.authority import Authority
from tests.process import DaemonProcess
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Wrap = Callable[[socket.socket], socket.socket]

KIB = 1024
MESSAGE = bytes(64 * KIB)
SILENCE = 12.0
LOOPS = ("python", "compiled")


class Group:
    """A memory cgroup, version 1 or 2, as long as it is entered."""

    def __init__(self) -> None:
        self.path = next(memory_groups()) / f"echod-{os.getpid()}"
        self.path.mkdir()

    def join(self) -> None:
        """Put the calling process in."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def used(self) -> int:
        """Return the bytes that it holds, the cache of files left out."""
        files = (self.path / name for name in ("memory.usage_in_bytes", "memory.current"))
        (used,) = [int(file.read_text()) for file in files if file.exists()]
        lines = (self.path / "memory.stat").read_text().splitlines()
        stat = {name: int(value) for name, value in (line.split() for line in lines)}
        # Anonymous shared memory is among the cache, and is the daemon's own.
        return used - stat.get("cache", stat.get("file", 0)) + stat.get("shmem", 0)

    def close(self) -> None:
        """Remove it, once its processes are gone."""
        wait_until(self._removed)

    def _removed(self) -> bool:
        with suppress(OSError):
            self.path.rmdir()
            return True
        return False


@contextmanager
def daemon(folder: Path, *flags: str) -> Iterator[tuple[DaemonProcess, Group]]:
    """Run a daemon in a cgroup of its own."""
    group = Group()
    try:
        process = DaemonProcess(
            folder, "--max-sessions-per-peer", "20000", *flags, before=group.join
        )
        try:
            yield process, group
        finally:
            process.kill()
    finally:
        group.close()


def own(process: DaemonProcess) -> int:
    """Return the bytes of memory that a process holds itself."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    kinds = ("RssAnon:", "RssShmem:")
    return sum(int(status.partition(kind)[2].split()[0]) for kind in kinds) * KIB


def connect(
    port: int, count: int, stack: ExitStack, wrap: Callable[..., socket.socket]
) -> list[socket.socket]:
    """Open sessions and use each once, so that its thread and its loop are there."""
    socks = []
    for _ in range(count):
        sock = wrap(stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)))
        echo(sock, b"x")
        socks.append(sock)
    return socks


def echo(sock: socket.socket, data: bytes) -> None:
    """Send, and read the echo."""
    sock.sendall(data)
    left = len(data)
    while left:
        left -= len(sock.recv(left))


def measure(
    count: int, folder: Path, flags: list[str], wrap: Callable[..., socket.socket]
) -> list[str]:
    """Return a row: own and total KiB a session, silent, after a message, and in a drain."""
    cells = []
    with daemon(folder, *flags) as (process, group), ExitStack() as stack:
        with socket.create_connection(("127.0.0.1", process.port)) as first:
            wrap(first)
        time.sleep(1)
        base = own(process), group.used()

        def note() -> None:
            now = own(process), group.used()
            cells.append(
                " / ".join(f"{(x - y) / count / KIB:.0f}" for x, y in zip(now, base, strict=True))
            )

        socks = connect(process.port, count, stack, wrap)
        note()
        for sock in socks:
            echo(sock, MESSAGE)
        note()
        time.sleep(SILENCE)
        note()
        process.send(signal.SIGTERM)
        most = group.used()
        while process.process.poll() is None:
            most = max(most, group.used())
            time.sleep(0.005)
        cells.append(f"{(most - base[1]) / count / KIB:.0f}")
    return [*cells, f"{base[0] / KIB / KIB:.0f} / {base[1] / KIB / KIB:.0f}"]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000)
    count = parser.parse_args().sessions
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (count + 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    print("KiB a session, its own / in all; MiB without any")
    print("loop | silent | after 64 KiB | 12 s later | most in a drain | without any")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority(folder / "tls")
        cert, key = authority.issue("server")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for loop in LOOPS:
            print(loop, *measure(count, folder, ["--loop", loop], lambda sock: sock), sep=" | ")
            (folder / "echo.jsonl").unlink()
        tls = ["--tls-cert", str(cert), "--tls-key", str(key)]
        print("tls", *measure(count, folder, tls, context.wrap_socket), sep=" | ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
