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

from echo.cli.failure import USAGE, Failure
from echo.cli.output import OutputError
from echo.cli.target import Target
from echo.client import EchoClient, EchoError
from echo.client.stream import EchoStream
from echo.errors import problem_of
from echo.escape import escape
from echo.limits import LONGEST
from echo.units import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TERMINATORS = {"newline": b"\n", "nul": b"\0", "none": b""}
MESSAGE_BYTES = 512
PIECE_BYTES = 64 * 1024
HISTORY_LINES = 1000

# None where it is not given.
_MessageSize = Annotated[int | None, Parameter(validator=Number(gte=1), show_default="512")]
_Terminator = Annotated[Literal["newline", "nul", "none"] | None, Parameter(show_default="newline")]


def connect(
    target: Annotated[Target, Parameter(name="*")] = Target(),
    *,
    message_size: _MessageSize = None,
    terminator: _Terminator = None,
    verify: bool = True,
    timeout: Annotated[float, Parameter(validator=Number(gt=0, lte=LONGEST))] = 10.0,
) -> None:
    """Talk to an echo server.

    Parameters
    ----------
    message_size
        On a terminal: largest message; a longer line is sent as several.
    terminator
        On a terminal: what is sent after each line.
    verify
        In a pipe: compare what comes back with what was sent.
    timeout
        Time without progress after which it gives up.
    """
    if sys.stdin is None or sys.stdout is None:
        raise Failure("connect: standard input or output is closed: give it both")
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if not on_terminal and (message_size or terminator):
        raise Failure(
            "connect: --message-size and --terminator are for lines typed on a terminal; a pipe "
            "is sent as it is: leave them out",
            USAGE,
        )
    try:
        with _connected(target, timeout) as client:
            if on_terminal:
                terminator_bytes = TERMINATORS[terminator or "newline"]
                _talk(client, message_size or MESSAGE_BYTES, terminator_bytes)
            else:
                _pass_through(EchoStream(client, verify=verify))
    except EchoError as error:
        raise Failure(target.explain(f"connect: {error}", error)) from error
    except OSError as error:  # the network's, or the terminal's
        raise Failure(f"connect: the connection failed: {problem_of(error)}") from error


def _connected(target: Target, timeout: float) -> EchoClient:
    client = EchoClient(target.host, target.port, timeout=timeout, tls=target.context("connect"))
    try:
        client.connect()
    except OSError as error:
        client.close()
        raise target.unreachable("connect", error) from error
    return client


# -- on a terminal ------------------------------------------------------------------------


def _talk(client: EchoClient, message_size: int, terminator: bytes) -> None:
    """Send each line, and show what came back, until the end of input."""
    host, port = client.sock.getpeername()[:2]
    print(f"connected to {host} port {port}; a message a line, Ctrl-D ends")
    try:
        with _line_editing():
            for line in _lines():
                data = line + terminator
                for start in range(0, len(data), message_size):
                    _exchange(client, data[start : start + message_size])
    except KeyboardInterrupt:
        print()  # the prompt, or the ^C of the terminal, has a line of its own
        raise
    client.finish()
    print(f"{plural(client.ledger.offset, 'byte')} sent, all came back")


def _exchange(client: EchoClient, message: bytes) -> None:
    client.send(message)
    print(f"sent {plural(len(message), 'byte')}")
    answer = client.receive(len(message)).rstrip(b"\n\0")
    text = escape(answer.decode("utf-8", "backslashreplace"))
    print(f"received {plural(len(message), 'byte')}: {text}")


def _lines() -> Iterator[bytes]:
    """Yield the lines that are typed, as bytes."""
    with suppress(EOFError):
        while True:
            yield input("> ").encode(sys.stdin.encoding, "surrogateescape")
    print()


@contextmanager
def _line_editing() -> Iterator[None]:
    """Edit and recall lines with readline; the history is kept for the next run."""
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    try:
        import readline
    except ImportError:  # pragma: no cover - a Python that was built without it
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


class _InputError(OSError):
    """Standard input can't be read, which is no error of the connection."""


def _pass_through(stream: EchoStream) -> None:
    """Send stdin, write what comes back to stdout."""
    # The descriptors are used directly: a buffered reader would hold its lock at the exit.
    source, target = sys.stdin.fileno(), sys.stdout.fileno()

    def write(data: bytes) -> None:
        _write(target, data)
        advance(len(data))

    try:
        with _progress(source) as advance:
            stream.run(lambda: _read(source), write)
    except _InputError as error:
        raise Failure(f"connect: can't read standard input: {problem_of(error)}") from error


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, PIECE_BYTES)
        except BlockingIOError:  # another process that shares the descriptor made it non-blocking
            select.select((fd,), (), ())
        except OSError as error:
            raise _InputError(*error.args) from error


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            select.select((), (fd,), ())
        except OSError as error:
            raise OutputError(error) from error


@contextmanager
def _progress(source: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr how much has come back, unless it is no terminal or shows the output."""
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
