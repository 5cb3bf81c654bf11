"""A daemon under mixed traffic and a schedule of faults, and a history that is checked afterwards.

`python -m tests.soak --seconds 600` prints its figures and ends with 1 where a promise is broken.
The same `--seed` is the same traffic and the same faults, as far as the machine's own timing goes.
"""

from __future__ import annotations

import argparse
import random
import resource
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from echo.client import EchoClient, EchoEnded, EchoError
from echo.server.threads import SPARE_THREADS
from tests import vocabulary
from tests.process import DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 3_000_000
CROWD = "127.0.0.1"  # where only the crowds come from
FLAGS = {
    "--max-sessions": "150",
    "--max-sessions-per-peer": "100",
    "--idle-timeout": "1",
    "--session-timeout": "8",
    "--write-timeout": "1",
    "--max-bytes": str(MAX_BYTES),
    "--log-max-size": "4000000",
    "--log-keep": "1000",
    "--status-port": "0",
}
CLIENTS = 16
# What hostile clients begin with at the status port.
HOSTILE = [b"", b"GET / HTTP", b"GET /sessions HTTP/1.0\r\n\r\n", (b"a:\r" * 21_800 + b"\n") * 98]
# What may end any session: on a busy machine a client can be late with whatever it meant to do.
ANYWAY = {"session_timeout", "write_timeout", "idle_timeout"}


@dataclass
class Visit:
    """What one client did, and how it saw its session end."""

    kind: str
    peer_ip: str
    reasons: set[str]
    sent: int = 0
    received: int = 0
    problem: str = ""
    saw_end: bool = False  # of the stream, not a reset


@dataclass
class Soak:
    """One run: its traffic, its faults, and the account of both."""

    process: DaemonProcess
    seconds: float
    seed: int
    visits: list[Visit] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds, MB
    probes: Counter[str] = field(default_factory=Counter)  # what /healthz answered
    after: tuple[int, int] = (0, 0)  # threads and descriptors, when all clients are gone
    over: threading.Event = field(default_factory=threading.Event)
    numbers: count[int] = field(default_factory=lambda: count(1))

    def run(self) -> None:
        """Let clients come and faults happen for the time that was asked for."""
        threads = [
            threading.Thread(target=self._visit, args=(random.Random(f"{self.seed}/{n}"),))
            for n in range(CLIENTS)
        ]
        threads.append(threading.Thread(target=self._break))
        threads.append(threading.Thread(target=self._probe))
        threads.append(threading.Thread(target=self._besiege))
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while (passed := time.monotonic() - began) < self.seconds:
            self.memory.append((passed, resident(self.process.pid)))
            self.over.wait(0.5)
        self.over.set()
        for thread in threads:
            thread.join()

    # -- the traffic --------------------------------------------------------------------

    def _visit(self, chance: random.Random) -> None:
        while not self.over.is_set():
            behave, reasons = chance.choice(BEHAVIOURS)
            number = next(self.numbers)
            # An address of its own for each visit: by it the log's session is found.
            peer_ip = f"127.{(number >> 16) + 1}.{number >> 8 & 255}.{number & 255}"
            visit = Visit(behave.__name__, peer_ip, set(reasons))
            self.visits.append(visit)
            self._attend(behave, visit, chance)

    def _attend(self, behave: Behaviour, visit: Visit, chance: random.Random) -> None:
        client = Visitor("127.0.0.1", self.process.port, timeout=30)
        try:
            client.connect_from(visit.peer_ip)
            behave(client, chance)
        except EchoEnded as error:  # the log says why, and the account whether it may
            visit.saw_end = error.how == "ended"
        except OSError:  # refused, or reset
            pass
        except EchoError as error:  # a byte is wrong, or none comes
            visit.problem = str(error)
        finally:
            visit.received = client.ledger.offset
            visit.sent = client.ledger.offset + client.ledger.missing
            client.close()

    # -- the status port ----------------------------------------------------------------

    def _probe(self) -> None:
        """Ask for the daemon's health as an orchestrator does, whose patience is 5 s."""
        url = f"http://127.0.0.1:{self.process.started['status_port']}/healthz"
        while not self.over.wait(0.5):
            try:
                with urlopen(url, timeout=5) as answer:
                    self.probes[str(answer.status)] += 1
            except OSError as error:
                self.probes[repr(error)] += 1

    def _besiege(self) -> None:
        """Be silent, drip, or send megabytes of headers, from more places than there are slots."""
        chance = random.Random(f"{self.seed}/status")
        address = ("127.0.0.1", self.process.started["status_port"])
        open_: deque[socket.socket] = deque()
        while not self.over.wait(0.05):
            with suppress(OSError):
                open_.append(socket.create_connection(address, 5))
                open_[-1].sendall(chance.choice(HOSTILE))
            if open_ and chance.random() < 0.5:
                with suppress(OSError):
                    open_[0].sendall(b"a")
            while len(open_) > 40:
                open_.popleft().close()
        while open_:
            open_.pop().close()

    # -- the faults ---------------------------------------------------------------------

    def _break(self) -> None:
        chance = random.Random(f"{self.seed}/faults")
        while not self.over.wait(chance.uniform(0.2, 2)):
            fault = chance.choice(FAULTS)
            fault(self, chance)
            self.faults[fault.__name__] += 1


if TYPE_CHECKING:
    Behaviour = Callable[[EchoClient, random.Random], None]
    Fault = Callable[[Soak, random.Random], None]


class Visitor(EchoClient):
    """A client that comes from an address of its own."""

    def connect_from(self, peer_ip: str) -> None:
        """Connect."""
        address = (self.host, self.port)
        self._sock = socket.create_connection(address, self.timeout, (peer_ip, 0))
        self._sock.setblocking(False)
        self._selector.register(self._sock, selectors.EVENT_READ)


def resident(pid: int) -> float:
    """Return a process's resident memory, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


# -- what clients do --------------------------------------------------------------------------


def chat(client: EchoClient, chance: random.Random) -> None:
    """Send a little, again and again, and end."""
    for _ in range(chance.randrange(1, 30)):
        client.echo(chance.randbytes(chance.randrange(1, 2000)))
    client.finish()


def stream(client: EchoClient, chance: random.Random) -> None:
    """Send much at once, and take leave."""
    client.echo(chance.randbytes(chance.randrange(100_000, 2_000_000)))
    client.finish()


def leave(client: EchoClient, chance: random.Random) -> None:
    """Send, end, and read what is left."""
    client.send(chance.randbytes(chance.randrange(1, 300_000)))
    client.finish()


def overdo(client: EchoClient, chance: random.Random) -> None:
    """Send more than the limit, and read to the end."""
    client.send(chance.randbytes(3_000_000 + chance.randrange(1, 500_000)))
    client.finish()


def reset(client: EchoClient, chance: random.Random) -> None:
    """Reset in mid-stream, or at once."""
    if chance.random() < 0.7:
        client.send(chance.randbytes(chance.randrange(1, 100_000)))
    client.reset()


def vanish(client: EchoClient, chance: random.Random) -> None:
    """Close without reading: the system resets, if there was something to read."""
    client.send(chance.randbytes(chance.randrange(1, 50_000)))


def idle(client: EchoClient, chance: random.Random) -> None:
    """Send a few bytes, then nothing, until the server has had enough."""
    client.echo(chance.randbytes(10))
    client.receive(1)


def stall(client: EchoClient, chance: random.Random) -> None:
    """Send without reading until the server has had enough."""
    data = chance.randbytes(100_000)
    client.sock.settimeout(20)
    while True:
        client.ledger.sent(data)
        client.sock.sendall(data)


def trickle(client: EchoClient, chance: random.Random) -> None:
    """Send a byte now and then for a while, and leave by closing."""
    for _ in range(chance.randrange(1, 15)):
        client.echo(chance.randbytes(1))
        threading.Event().wait(0.2)
    client.finish()


BEHAVIOURS: list[tuple[Behaviour, set[str]]] = [
    *[(chat, {"eof"})] * 6,
    *[(stream, {"eof"})] * 3,
    *[(leave, {"eof"})] * 4,
    (overdo, {"byte_limit"}),
    *[(reset, {"reset", "eof"})] * 2,
    (vanish, {"reset", "eof"}),
    (idle, {"idle_timeout"}),
    (stall, {"write_timeout", "byte_limit"}),
    (trickle, {"eof"}),
]


# -- what happens to the daemon ---------------------------------------------------------------


def reopen(soak: Soak, chance: random.Random) -> None:
    """HUP."""
    del chance
    soak.process.send(signal.SIGHUP)


def show_state(soak: Soak, chance: random.Random) -> None:
    """USR1, many times."""
    for _ in range(chance.randrange(1, 30)):
        soak.process.send(signal.SIGUSR1)


def debug_for_a_while(soak: Soak, chance: random.Random) -> None:
    """USR2, and again."""
    soak.process.send(signal.SIGUSR2)
    soak.over.wait(chance.uniform(0.1, 0.5))
    soak.process.send(signal.SIGUSR2)


def stop_and_continue(soak: Soak, chance: random.Random) -> None:
    """STOP, then CONT."""
    soak.process.send(signal.SIGSTOP)
    soak.over.wait(chance.uniform(0.05, 0.5))
    soak.process.send(signal.SIGCONT)


def take_descriptors(soak: Soak, chance: random.Random) -> None:
    """Leave it hardly a descriptor for a while."""
    pid = soak.process.pid
    _, hard = usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    few = min(hard, soak.process.descriptors() + chance.randrange(3))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, hard))
    soak.over.wait(chance.uniform(0.1, 1))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)


def crowd(soak: Soak, chance: random.Random) -> None:
    """More than there is room for, all at once, gone as soon."""
    address = ("127.0.0.1", soak.process.port)
    socks = [socket.socket() for _ in range(chance.randrange(50, 300))]
    for sock in socks:
        sock.setblocking(False)
        sock.connect_ex(address)
    soak.over.wait(0.2)
    for sock in socks:
        sock.close()


FAULTS: list[Fault] = [
    reopen,
    show_state,
    debug_for_a_while,
    stop_and_continue,
    take_descriptors,
    crowd,
]


# -- the account ------------------------------------------------------------------------------


def problems(soak: Soak, lines: list[vocabulary.Line]) -> list[str]:
    """Hold the log against what the clients saw; each sentence is a broken promise."""
    closed = {x["peer_ip"]: x for x in lines if x["event"] == "session.closed"}
    found = [f"{visit.kind}: {visit.problem}" for visit in soak.visits if visit.problem]
    found += strangers(soak, lines)
    found += [
        f"/healthz: {answer}, {n} times" for answer, n in soak.probes.items() if answer != "200"
    ]
    for visit in soak.visits:
        line = closed.get(visit.peer_ip)
        if line is None:
            if visit.received:
                found.append(f"{visit} was served, and has no line")
        else:
            found += disagreements(visit, line)
    return found


def strangers(soak: Soak, lines: list[vocabulary.Line]) -> list[str]:
    """Name the addresses of sessions that nobody has had, or of one that was had twice."""
    ended = Counter(x["peer_ip"] for x in lines if x["event"] == "session.closed")
    del ended[CROWD]
    known = {visit.peer_ip for visit in soak.visits}
    return [f"{peer_ip} has {n} sessions" for peer_ip, n in ended.items() if n > (peer_ip in known)]


def disagreements(visit: Visit, line: vocabulary.Line) -> list[str]:
    """Return what differs between one visit and its session's last line."""
    found = []
    if line["reason"] not in visit.reasons | ANYWAY:
        found.append(f"{visit} ended by {line['reason']}")
    if line["received_bytes"] > visit.sent:
        found.append(f"{visit} sent less than {line['received_bytes']}")
    if line["sent_bytes"] < visit.received:
        found.append(f"{visit} received more than {line['sent_bytes']}")
    if line["reason"] == "byte_limit" and line["received_bytes"] != MAX_BYTES:
        found.append(f"{visit} had {line['received_bytes']} for the limit")
    # Without an end of stream it was reset: the daemon lingers for a second, not for ever.
    if line["reason"] == "byte_limit" and visit.saw_end and visit.received != MAX_BYTES:
        found.append(f"{visit} saw the end before the limit")
    clean = line["reason"] == "eof" and visit.kind not in ("reset", "vanish")
    if clean and not visit.sent == visit.received == line["received_bytes"] == line["sent_bytes"]:
        found.append(f"{visit} is not {line['received_bytes']} in, {line['sent_bytes']} out")
    return found


def slope(samples: list[tuple[float, float]]) -> float:
    """Fit a line through what comes after the first fifth; give MB a minute."""
    warm = samples[len(samples) // 5 :]
    mean_x = sum(x for x, _ in warm) / len(warm)
    mean_y = sum(y for _, y in warm) / len(warm)
    steep = sum((x - mean_x) * (y - mean_y) for x, y in warm)
    return 60 * steep / (sum((x - mean_x) ** 2 for x, _ in warm) or 1)


def figures(soak: Soak, lines: list[vocabulary.Line], before: tuple[int, int]) -> list[str]:
    """Return the figures of the run, a line each."""
    stopped = lines[-1]
    reasons = Counter(x["reason"] for x in lines if x["event"] == "session.closed")
    dropped = sum(x["count"] for x in lines if x["event"] == "log.dropped")
    return [
        f"{soak.seconds:g} s, seed {soak.seed}, the {soak.process.started['loop']} loop, "
        f"Python {sys.version.split()[0]}",
        f"sessions {stopped['accepted']} accepted, {stopped['closed']} closed, "
        f"{stopped['refused']} refused",
        f"ends {dict(reasons.most_common())}",
        f"bytes {stopped['received_bytes']} received, {stopped['sent_bytes']} sent, "
        f"{sum(visit.received for visit in soak.visits)} verified by clients",
        f"faults {sum(soak.faults.values())}: {dict(soak.faults.most_common())}",
        f"status {dict(soak.probes)} of /healthz",
        f"log {len(lines)} lines, {dropped} dropped",
        f"memory {soak.memory[0][1]:.1f} MB at first, {soak.memory[len(soak.memory) // 5][1]:.1f} "
        f"warm, {soak.memory[-1][1]:.1f} at last, slope {slope(soak.memory):+.2f} MB a minute",
        f"threads {before[0]} before, {soak.after[0]} after, of which up to {SPARE_THREADS} are "
        f"kept for the next sessions; "
        f"descriptors {before[1]} before, {soak.after[1]} after",
    ]


def soak(seconds: float, seed: int, folder: Path) -> tuple[list[str], list[str]]:
    """Run it; give the figures and the broken promises."""
    flags = [part for flag in FLAGS.items() for part in flag]
    process = DaemonProcess(folder, *flags)
    before = process.threads(), process.descriptors()
    run = Soak(process, seconds, seed)
    run.run()
    process.check_leftovers()
    run.after = process.threads(), process.descriptors()
    # Opening the log anew takes a descriptor, of which it may have had none.
    process.expect_errors = sum(x["where"] == "log" for x in process.events("server.error"))
    process.check_and_stop()
    lines = process.lines()
    return figures(run, lines, before), problems(run, lines)


def main() -> int:
    """Run it for as long as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shown, broken = soak(options.seconds, options.seed, Path(folder))
    print("\n".join([*shown, *broken[:20], f"{len(broken)} broken promises"]))  # noqa: T201
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
