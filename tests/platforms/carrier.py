"""A bad network in user space: packets are lost, doubled and overtaken between two addresses.

`python -m tests.platforms.carrier LOOP`, in a network namespace of its own, makes a TUN device
there, runs a server behind it, and sends sessions through it that end in every way; LOOP is
`python`, `compiled` or `tls`. It prints what it found as one JSON object.

Both ends are on this machine. The server has `HERE`; the client connects to `THERE`, which no
machine has, so that its packets come out of the device. They go back in with their two addresses
exchanged: what was sent from HERE to THERE arrives from THERE at HERE. Checksums are sums over
both addresses, and stay as they are.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from echo import EchoClient, Limits
from echo.client import EchoEnded
from echo.testing import running_server
from tests.authority import Authority
from tests.conftest import check_events, handler_of
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from echo.testing import RunningServer

# Of the block that is for tests of networks.
HERE, THERE = "198.18.0.1", "198.18.0.2"
# From linux/if_tun.h: make this descriptor a device of whole IP packets, without a header.
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
# Shares of all packets, and the seconds for which one that is to be overtaken waits.
LOST, DOUBLED, LATE, DELAY = 0.02, 0.02, 0.05, 0.005
MIB = 1024 * 1024
# What a session echoes at the most: the transfer, and a little.
LIMIT = 16 * MIB + 1000


class Carrier:
    """Carries packets between `HERE` and `THERE`, badly; used as a `with` block."""

    def __init__(self, seed: int) -> None:
        self.counts = dict.fromkeys(("carried", "lost", "doubled", "late"), 0)
        self._chance = random.Random(seed)
        self._device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        self._over, self._end = os.pipe()
        self._late: list[tuple[float, int, bytes]] = []
        self._numbers = count()
        self._thread = threading.Thread(target=self._carry)

    def __enter__(self) -> Self:
        flags = IFF_TUN | IFF_NO_PI
        fcntl.ioctl(self._device, TUNSETIFF, struct.pack("16sH22x", b"far0", flags))
        for words in (
            ["address", "add", f"{HERE}/30", "dev", "far0"],
            ["link", "set", "far0", "mtu", "1500", "up"],
            ["link", "set", "lo", "up"],
        ):
            subprocess.run(["ip", *words], check=True, timeout=seconds(20))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._end, b"!")
        self._thread.join()
        for descriptor in (self._device, self._over, self._end):
            os.close(descriptor)

    def _carry(self) -> None:
        poll = select.poll()
        poll.register(self._device, select.POLLIN)
        poll.register(self._over, select.POLLIN)
        while True:
            left = self._late[0][0] - time.monotonic() if self._late else 1
            ready = poll.poll(max(0, left) * 1000)
            if any(descriptor == self._over for descriptor, _ in ready):
                return
            while self._late and self._late[0][0] <= time.monotonic():
                os.write(self._device, heapq.heappop(self._late)[2])
            if ready:
                self._take(os.read(self._device, 65536))

    def _take(self, packet: bytes) -> None:
        if packet[0] >> 4 != 4:  # IPv6, which looks for neighbours
            return
        packet = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
        fate = self._chance.random()
        if fate < LOST:
            self.counts["lost"] += 1
        elif fate < LOST + LATE:
            self.counts["late"] += 1
            due = time.monotonic() + DELAY * self._chance.random()
            heapq.heappush(self._late, (due, next(self._numbers), packet))
        else:
            copies = 2 if fate > 1 - DOUBLED else 1
            self.counts["doubled"] += copies - 1
            self.counts["carried"] += 1
            for _ in range(copies):
                os.write(self._device, packet)


class Transfers:
    """The sessions, each with another end; `server` has the limits of `limits`."""

    limits = Limits(max_bytes=LIMIT, idle_timeout=seconds(3), write_timeout=seconds(3))

    def __init__(self, server: RunningServer, tls: Any) -> None:
        self._server = server
        self._options = {"timeout": seconds(60), "tls": tls}
        self.data = random.Random(1).randbytes(16 * MIB)

    def _client(self) -> EchoClient:
        return EchoClient(THERE, self._server.address[1], **self._options)

    def _ended(self, number: int) -> dict[str, Any]:
        return self._server.log.wait_for("session.closed", number, seconds(60))[-1]

    def run(self) -> dict[str, Any]:
        """Run them all, and return the closing line of each by the reason that is due."""
        ends = {}
        with self._client() as client:
            assert client.echo(self.data) == self.data
            assert client.finish() == b""
        ends["eof"] = self._ended(1)
        with self._client() as client:
            client.send(self.data + bytes(1100))
            assert client.receive(LIMIT) == (self.data + bytes(1000))
            try:
                client.finish()
            except EchoEnded as error:
                assert "100" in str(error), error  # noqa: PT017 - no test: a script
            else:
                raise AssertionError("more came back than the limit")
        ends["byte_limit"] = self._ended(2)
        with self._client() as client:
            client.echo(b"hello")
            ends["idle_timeout"] = self._ended(3)
        with self._client() as client:  # its reset may be lost, and comes again with each packet
            client.sock.setblocking(True)
            client.sock.sendall(bytes(200_000))
            client.reset()
        ends["reset"] = self._ended(4)
        with self._client() as client:
            client.echo(self.data[:MIB])
            wait_until(lambda: self._server.server.totals()["accepted"] == 5)
            assert self._server.server.drain(seconds(20))
            assert client.finish() == b""
        ends["drained"] = self._ended(5)
        return ends


def main(loop: str) -> None:
    """Carry all transfers of one loop."""
    with ExitStack() as stack:
        carrier = stack.enter_context(Carrier(seed=1))
        authority = Authority(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        context = None
        options: dict[str, Any] = {"handler": handler_of("python" if loop == "tls" else loop)}
        if loop == "tls":
            context = authority.trusting()
            options["tls"] = authority.certificates(address=THERE)
        with running_server(host=HERE, limits=Transfers.limits, **options) as server:
            ends = Transfers(server, context).run()
        check_events(server)
    sys.stdout.write(json.dumps({"ends": ends, "packets": carrier.counts}))


if __name__ == "__main__":
    main(sys.argv[1])
