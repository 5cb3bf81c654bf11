"""What the demo does, act by act, with its explanations.

An act is a generator: it does something, reads the result from the system, and yields the lines
that describe it.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echo.cli.demo import kernel
from echo.cli.demo.theatre import HOST, OTHER_HOST, PATIENCE
from echo.cli.failure import Failure
from echo.errors import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from echo.cli.demo.theatre import Theatre

    Act = Iterator["Said | ShowSockets"]


@dataclass(frozen=True, slots=True)
class Said:
    """One line of the demo; the text between backquotes is code."""

    who: str
    text: str


class ShowSockets:
    """Marks where a table of all sockets is shown, as they are at that moment."""


def acts() -> list[tuple[str, Callable[[Theatre], Act]]]:
    """Return the acts in their order, each with its title."""
    return [
        ("listen", _listen),
        ("connect: the handshake", _connect),
        ("accept: a new descriptor", _accept),
        ("send and recv: a stream", _talk),
        ("two more clients: one port, many sockets", _crowd),
        ("half-close: FIN in one direction", _half_close),
        ("the server ends first", _stop),
        ("the port afterwards", _afterwards),
    ]


def _listen(theatre: Theatre) -> Act:
    server, (host, port) = theatre.server, theatre.address
    number = server.fileno()
    yield Said("server", f"`socket()` gave descriptor {number}: an end without an address.")
    yield Said("server", f"`bind()` tied it to {host} port {port}; the kernel chose the port.")
    yield Said("server", "`listen()` made it the listening socket: connections arrive there,")
    yield Said("server", "but it will never carry a client's bytes.")
    room = kernel.backlog(server.socket)
    if room is not None:
        yield Said("kernel", f"Up to {room} connections may wait in its queue to be accepted.")
    yield ShowSockets()


def _connect(theatre: Theatre) -> Act:
    began = time.perf_counter()
    client = theatre.connect("A")
    took = (time.perf_counter() - began) * 1000
    yield Said("client A", f"`socket()` gave descriptor {client.fileno()}.")
    yield Said("client A", f"`connect()` to {_text(theatre.address)} was back after {took:.2f} ms.")
    port = client.getsockname()[1]
    yield Said("kernel", f"It chose port {port} for the client, and sent SYN, SYN-ACK, ACK.")
    theatre.until_states("A", server="ESTABLISHED", client="ESTABLISHED")
    listener = theatre.listener()
    if listener is not None:
        yield Said("kernel", "Handshake done, both ends ESTABLISHED, and nobody called `accept()`!")
        waiting = _times(listener.unread, "connection")
        yield Said("kernel", f"In the queue: {waiting}. (The demo holds the server back.)")
    yield ShowSockets()


def _accept(theatre: Theatre) -> Act:
    theatre.accept()
    _accepted(theatre, 1)
    session, listener = theatre.session("A").sock.fileno(), theatre.server.fileno()
    yield Said(
        "server", f"`accept({listener})` gave a new descriptor: {session}. A thread serves it."
    )
    queue = theatre.listener()
    left = "" if queue is None else f", its queue down to {queue.unread}"
    yield Said("server", f"The listening socket is still descriptor {listener}{left}.")
    yield Said("server", "It waits for others; all that A says goes through the new one.")
    yield ShowSockets()


def _talk(theatre: Theatre) -> Act:
    client, session = theatre.clients["A"], theatre.session("A")
    theatre.server.gate.clear()
    for message in (b"hello\n", b"kernel\n"):
        sent = client.send(message)
        yield Said("client A", f"`send({client.fileno()}, {_code(message)})` took {sent} bytes.")
    due = len(b"hello\nkernel\n")
    if kernel.known():
        _until_unread(theatre, "A", due)
        yield Said(
            "kernel",
            f"{_unread(theatre, 'A')} bytes wait at the server's end, which the demo holds back.",
        )
        yield ShowSockets()
    theatre.server.gate.set()
    echo = _receive(client, due)
    read = theatre.log.wait_for("session.data", timeout=PATIENCE)
    descriptor = session.sock.fileno()
    for data in read:
        yield Said(
            "server", f"`recv({descriptor})` gave {data['bytes']} bytes: `{data['preview']}`"
        )
    theatre.until(lambda: session.sent_bytes >= due, f"{due} bytes sent", lambda: session)
    yield Said("server", f"`send({descriptor})` took {session.sent_bytes} bytes back.")
    yield Said("client A", f"`recv({client.fileno()})` gave {len(echo)} bytes: {_code(echo)}")
    yield Said(
        "kernel", f"2 sends, {_times(len(read), 'read')}: TCP carries bytes, and knows no messages."
    )


def _crowd(theatre: Theatre) -> Act:
    for number, (name, host) in enumerate((("B", HOST), ("C", OTHER_HOST)), 2):
        client = theatre.connect(name, host)
        _accepted(theatre, number)
        own, port = client.getsockname()
        where = "the same address as A" if own == HOST else "another address"
        session = theatre.session(name).sock.fileno()
        yield Said(f"client {name}", f"`connect()` from {own} port {port}: {where}.")
        yield Said("server", f"`accept()` gave descriptor {session} for it.")
        if own != host:
            yield Said(f"client {name}", f"This system has no {host}: {own} must do.")
    for name in ("B", "C"):
        theatre.until_states(name, server="ESTABLISHED", client="ESTABLISHED")
    yield ShowSockets()
    ends = [theatre.session(name).sock.getsockname() for name in theatre.clients]
    ports = {theatre.server.socket.getsockname(), *ends}
    yield Said(
        "kernel",
        f"{len(ends) + 1} sockets of the server share {_times(len(ports), 'local address')}.",
    )
    yield Said("kernel", "A packet finds its socket by the four-tuple: local address and port,")
    yield Said("kernel", "peer's address and port. B differs from A in nothing but the last.")
    for name in ("B", "C"):
        line = f"I am {name}\n".encode()
        theatre.clients[name].sendall(line)
        echo = _receive(theatre.clients[name], len(line))
        yield Said(f"client {name}", f"sent {_code(line)}, and got {_code(echo)}")


def _half_close(theatre: Theatre) -> Act:
    client, session = theatre.clients["A"], theatre.session("A")
    descriptor, before = session.sock.fileno(), session.received_bytes
    theatre.server.gate.clear()
    line = b"last words\n"
    sent = client.send(line)
    client.shutdown(socket.SHUT_WR)
    yield Said("client A", f"`send()` took {sent} bytes; `shutdown(SHUT_WR)` then sent FIN:")
    yield Said("client A", "no more from here, but what comes back can still be read.")
    theatre.until_states("A", server="CLOSE_WAIT", client="FIN_WAIT2")
    if kernel.known():
        _until_unread(theatre, "A", sent + 1)
        yield Said("kernel", "The FIN is acknowledged: FIN_WAIT2 there, CLOSE_WAIT at the server.")
        yield Said(
            "kernel", f"Queue: {_unread(theatre, 'A')}, the FIN counts as one. (Held back again.)"
        )
    yield ShowSockets()
    theatre.server.gate.set()
    echo = _receive(client, sent)
    end = client.recv(1)
    closed = theatre.log.wait_for("session.closed", timeout=PATIENCE)[0]
    rest = closed["received_bytes"] - before
    yield Said("server", f"`recv({descriptor})` gave {rest} bytes, then 0: the end of the stream.")
    yield Said(
        "server", f"`send()`, then `close({descriptor})`: its own FIN. Reason: {closed['reason']}."
    )
    yield Said("client A", f"`recv()` gave {_code(echo)}, then {len(end)} bytes: the end.")
    number = client.fileno()
    client.close()
    theatre.until_states("A", server=None, client="TIME_WAIT")
    yield Said("client A", f"`close({number})`.")
    yield from _time_wait(theatre.client_end("A"))
    yield ShowSockets()


def _time_wait(end: kernel.TcpSocket | None) -> Act:
    if end is not None:
        yield Said(
            "kernel", f"A's end, first to send FIN, is {end.state} for {end.seconds:.0f} s more:"
        )
        yield Said("kernel", "late packets must not reach a new connection. No descriptor is left.")
    elif kernel.known():
        yield Said("kernel", "A's end should be in TIME_WAIT now, but this system's table is full.")


def _stop(theatre: Theatre) -> Act:
    number = theatre.server.fileno()
    yield Said("server", f"It is told to stop. `close({number})`: nobody listens any more.")
    yield Said("server", "Then `shutdown(SHUT_WR)` on every session: this time it sends FIN first.")
    theatre.server.start_draining()
    theatre.until(lambda: theatre.server.fileno() < 0, "nobody listens", theatre.server.fileno)
    ends = {name: theatre.clients[name].recv(1) for name in ("B", "C")}
    for name in ends:
        theatre.until_states(name, server="FIN_WAIT2", client="CLOSE_WAIT")
    yield ShowSockets()
    if kernel.known():
        yield Said("kernel", "The same states, ends exchanged: now the clients are in CLOSE_WAIT.")
    for name, end in ends.items():
        client = theatre.clients[name]
        number = client.fileno()
        client.close()
        text = f"`recv({number})` gave {len(end)} bytes: the end. `close({number})`."
        yield Said(f"client {name}", text)
    for name in ends:
        theatre.until_states(name, server="TIME_WAIT", client=None)
    theatre.log.wait_for("session.closed", 3, timeout=PATIENCE)
    if theatre.server_end("B") is not None:
        yield Said("kernel", "This time TIME_WAIT is at the server's end, and on its port.")
    yield ShowSockets()


def _afterwards(theatre: Theatre) -> Act:
    port, plain, reusing = theatre.address[1], _bind(theatre), _bind(theatre, reuse=True)
    yield Said("kernel", f"`bind()` to port {port} again {plain}.")
    yield Said("kernel", f"With SO_REUSEADDR set before, it {reusing}.")
    if plain == reusing:
        yield Said(
            "kernel", "Connections of the port that are in TIME_WAIT would keep the first off."
        )
    yield Said("server", "That is why a server sets it: else a restart had to wait for TIME_WAIT.")


# -- what the acts share ------------------------------------------------------------------


def _accepted(theatre: Theatre, count: int) -> None:
    theatre.log.wait_for("session.accepted", count, timeout=PATIENCE)


def _until_unread(theatre: Theatre, name: str, count: int) -> None:
    theatre.until(
        lambda: _unread(theatre, name) >= count,
        f"{count} unread at the server",
        lambda: _unread(theatre, name),
    )


def _unread(theatre: Theatre, name: str) -> int:
    end = theatre.server_end(name)
    return end.unread if end else 0


def _receive(client: socket.socket, count: int) -> bytes:
    """Read exactly this many bytes: one `recv` may return fewer."""
    data = b""
    while len(data) < count:
        piece = client.recv(count - len(data))
        if not piece:
            raise Failure(f"demo: the echo ended after {len(data)} of {count} bytes")
        data += piece
    return data


def _bind(theatre: Theatre, *, reuse: bool = False) -> str:
    with socket.socket() as another:
        if reuse:
            another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            another.bind(theatre.address)
        except OSError as error:
            return f"fails: {problem_of(error)}"
        return "works"


def _text(address: kernel.Address) -> str:
    return f"{address[0]} port {address[1]}"


def _code(data: bytes) -> str:
    return "`" + repr(data)[1:].replace("'", '"') + "`"


def _times(count: int, noun: str) -> str:
    plural = "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{'' if count == 1 else plural}"
