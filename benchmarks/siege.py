"""What hostile status clients cost: `python -m benchmarks.siege [--seconds 10]`.

Four clients send requests of 6.4 MB, whose headers are all carriage returns, one after the other;
a fifth opens silent connections. Meanwhile sessions are opened and used, one after the other.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from tests.faults.test_status import BOMB, MIB, peak
from tests.process import DaemonProcess


def bomb(address: tuple[str, int], over: threading.Event) -> None:
    """Send requests of megabytes."""
    while not over.is_set():
        with suppress(OSError), socket.create_connection(address, 10) as sock:
            sock.sendall(BOMB)
            sock.recv(100)


def be_silent(address: tuple[str, int], over: threading.Event) -> None:
    """Open connections and say nothing, a hundred a second."""
    socks: deque[socket.socket] = deque(maxlen=100)
    while not over.wait(0.01):
        with suppress(OSError):
            socks.append(socket.create_connection(address, 10))


def session(process: DaemonProcess) -> float:
    """Return the seconds that a new session and its first echo take."""
    began = time.perf_counter()
    with process.client() as client:
        client.echo(b"hello")
    return time.perf_counter() - began


def main() -> int:
    """Print the figures for each loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    duration = parser.parse_args().seconds
    for loop in ("python", "compiled"):
        with tempfile.TemporaryDirectory() as folder:
            process = DaemonProcess(Path(folder), "--status-port", "0", "--loop", loop)
            address = ("127.0.0.1", process.started["status_port"])
            session(process)
            before, over = peak(process), threading.Event()
            attacks = [bomb] * 4 + [be_silent]
            threads = [threading.Thread(target=attack, args=(address, over)) for attack in attacks]
            for thread in threads:
                thread.start()
            times, end = [], time.monotonic() + duration
            while time.monotonic() < end:
                times.append(session(process))
            over.set()
            for thread in threads:
                thread.join()
            grown = (peak(process) - before) / MIB
            process.kill()
        times.sort()
        print(
            f"{loop}: {grown:.1f} MiB more; {len(times)} new sessions, in the middle "
            f"{times[len(times) // 2] * 1e3:.1f} ms, at most {times[-1] * 1e3:.0f} ms"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
