"""`echod connect`: talk to an echo server, line by line on a terminal, as a stream in a pipe."""

from __future__ import annotations

import os
import select
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.failure import Failure, reason
from echo.cli.tls import ClientTls
from echo.client import EchoClient, EchoError
from echo.client.stream import EchoStream
from echo.escape import escape
from echo.limits import LONGEST

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

TERMINATORS = {"newline": b"\n", "nul": b"\0", "none": b""}
PIECE_BYTES = 64 * 1024
HISTORY_LINES = 1000

Port = Annotated[int, Parameter(validator=Number(gte=1, lte=65535))]


def connect(
    host: str = "127.0.0.1",
    port: Port = 9000,
    *,
    message_size: Annotated[int, Parameter(validator=Number(gte=1))] = 512,
    terminator: Literal["newline", "nul", "none"] = "newline",
    verify: bool = True,
    timeout: Annotated[float, Parameter(validator=Number(gt=0, lte=LONGEST))] = 10.0,
    tls: Annotated[ClientTls, Parameter(name="*")] = ClientTls(),
) -> None:
    """Talk to an echo server.

    Parameters
    ----------
    host
        Address or name of the server.
    port
        Its TCP port.
    message_size
        On a terminal: bytes of one message at the most; a longer line is sent as several.
    terminator
        On a terminal: what follows each line.
    verify
        In a pipe: compare what comes back with what was sent.
    timeout
        Seconds without progress after which it gives up.
    """
    if sys.stdin is None or sys.stdout is None:
        raise Failure("connect: standard input or output is closed: give it both")
    try:
        with _connected(host, port, timeout, tls.context("connect")) as client:
            if sys.stdin.isatty() and sys.stdout.isatty():
                _talk(client, message_size, TERMINATORS[terminator])
            else:
                _pass_through(EchoStream(client, verify=verify))
    except EchoError as error:
        raise Failure(f"connect: {error}") from error
    except OSError as error:  # the network's, or the terminal's
        raise Failure(f"connect: the connection failed: {reason(error)}") from error


def _connected(host: str, port: int, timeout: float, context: ssl.SSLContext | None) -> EchoClient:
    client = EchoClient(host, port, timeout=timeout, tls=context)
    try:
        client.connect()
    except OSError as error:
        client.close()
        raise Failure(
            f"connect: can't connect to {host} port {port}: {reason(error)}; "
            "is a server running there?"
        ) from error
    return client


# -- on a terminal ------------------------------------------------------------------------


def _talk(client: EchoClient, message_size: int, terminator: bytes) -> None:
    """Send each line, and show what came back, until the end of input."""
    host, port = client.sock.getpeername()[:2]
    print(f"connected to {host} port {port}; a message a line, Ctrl-D ends")
    with _line_editing():
        for line in _lines():
            data = line + terminator
            for start in range(0, len(data), message_size):
                _exchange(client, data[start : start + message_size])
    client.finish()
    print(f"{client.ledger.offset} bytes sent, all came back")


def _exchange(client: EchoClient, message: bytes) -> None:
    client.send(message)
    print(f"sent {len(message)} bytes")
    answer = client.receive(len(message)).rstrip(b"\n\0")
    text = escape(answer.decode("utf-8", "backslashreplace"))
    print(f"received {len(message)} bytes: {text}")


def _lines() -> Iterator[bytes]:
    """Give the lines that are typed, as the bytes they are."""
    with suppress(EOFError):
        while True:
            yield input("> ").encode(sys.stdin.encoding, "surrogateescape")
    print()


@contextmanager
def _line_editing() -> Iterator[None]:
    """Let the lines be edited and recalled, in this run and the next; where the system can."""
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    try:
        import readline
    except ImportError:  # pragma: no cover - Windows edits lines in its console
        yield
        return
    path = _history_file()
    with suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        readline.set_history_length(HISTORY_LINES)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(path)


def _history_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "echod" / "history"


# -- in a pipe ----------------------------------------------------------------------------


def _pass_through(stream: EchoStream) -> None:
    """Send stdin, write what comes back to stdout."""
    # The descriptors themselves: a buffered reader would hold its lock when the process ends.
    source, target = sys.stdin.fileno(), sys.stdout.fileno()

    def write(data: bytes) -> None:
        _write(target, data)
        advance(len(data))

    try:
        with _progress(source) as advance:
            stream.run(lambda: _read(source), write)
    except BrokenPipeError as error:
        raise Failure("connect: nobody reads the output any more") from error
    except OSError as error:
        raise Failure(f"connect: can't pass the data on: {reason(error)}") from error


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, PIECE_BYTES)
        except BlockingIOError:  # whoever shares the descriptor has made it so
            select.select((fd,), (), ())


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            select.select((), (fd,), ())


@contextmanager
def _progress(source: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr how much has come back, where that is a terminal of its own."""
    if sys.stderr is None or not sys.stderr.isatty() or sys.stdout.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    status = os.fstat(source)
    total = status.st_size if stat.S_ISREG(status.st_mode) else None
    columns = (TextColumn("echo"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as progress:
        task = progress.add_task("echo", total=total)
        yield lambda count: progress.advance(task, count)
