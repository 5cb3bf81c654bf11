"""Runs `echod` with one thing wrong inside: `python -m tests.faults.launch FAULT serve ...`.

The process, its command line, its daemon and its signals are the real ones; one collaborator
is another. FAULT is the name of a function below, with its argument after a colon; several
are joined with a plus.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from echo import limits

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

HANDLER_HOOKS = ("setup", "handle", "finish")
OF_THE_HANDLER = ("hook", "deaf", "broken", "unseen", "mortal")


# -- other bounds ---------------------------------------------------------------------------


def keepalive(numbers: str) -> None:
    """Look for peers that are gone sooner: `keepalive:1/1/2`."""
    from echo.server import sockets

    idle, interval, probes = map(int, numbers.split("/"))
    sockets.KEEPALIVE = (idle, interval, probes)


def lingering(seconds: str) -> None:
    """Wait this long for the end of a peer whose session has ended."""
    from echo.server import server, sockets

    server.linger = partial(sockets.linger, seconds=float(seconds))


def queue(size: str) -> None:
    """Limit the log's queue to fewer bytes."""
    limits.LOG_QUEUE_BYTES = int(size)


def brisk(_: str) -> None:
    """Keep no idle session thread for long: whichever is still there at the end is left over."""
    from echo.server import threads

    threads.SPARE_THREADS = 0
    threads.SPARE_THREAD_TIMEOUT = 0.2


def stubborn(_: str) -> None:
    """Wait for a service manager that reads nothing for as long as it takes."""
    from echo.server import systemd

    systemd.SEND_TIMEOUT = 1000.0


# -- the log --------------------------------------------------------------------------------


def rotation(fault: str) -> None:
    """Let the first new log file not be had, twice, after the full one was renamed.

    `rotation:shipped` for want of a descriptor, while another program takes the full file away;
    `rotation:readonly` since the file system has become read-only, so that no name comes back.
    """
    number = errno.EMFILE if fault == "shipped" else errno.EROFS
    failures = [number, number]
    real = {name: getattr(os, name) for name in ("open", "rename", "replace")}

    def bad_open(path: str | Path, flags: int, *more: Any, **named: Any) -> int:
        full = Path(f"{path}.1")
        if flags & os.O_CREAT and (len(failures) == 1 or (failures and full.exists())):
            if fault == "shipped" and full.exists():
                real["rename"](full, f"{path}.99")
            raise OSError(failures.pop(), f"injected {fault}")
        return int(real["open"](path, flags, *more, **named))

    def bad(name: str) -> Callable[..., Any]:
        def rename(*paths: Any) -> Any:
            if fault == "readonly" and len(failures) == 1:
                raise OSError(errno.EROFS, "injected readonly")
            return real[name](*paths)

        return rename

    os.open, os.rename, os.replace = bad_open, bad("rename"), bad("replace")


# -- the listening socket -------------------------------------------------------------------


class BadSocket:
    """A listening socket whose `accept` raises what it is told, then works."""

    def __init__(self, sock: socket.socket, errors: Iterator[str]) -> None:
        self._sock = sock
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def accept(self) -> tuple[socket.socket, Any]:
        """Raise the next error, or accept."""
        name = next(self._errors, "ok")
        if name != "ok":
            number = getattr(errno, name)
            raise OSError(number, f"injected {name}")
        return self._sock.accept()


def accept(names: str) -> None:
    """Let accept raise: `accept:EMFILE,ok,ENFILE` in turn, `accept:EPERM*` for ever."""
    from echo.cli import serve

    errors = iter(lambda: names[:-1], "") if names.endswith("*") else iter(names.split(","))

    class BadServer(serve.EchoServer):
        def server_activate(self) -> None:
            super().server_activate()
            self.socket = BadSocket(self.socket, errors)  # type: ignore[assignment]

    serve.EchoServer = BadServer  # type: ignore[misc]


# -- threads --------------------------------------------------------------------------------


def threads(fault: str) -> None:
    """Let the start of a thread whose name begins so fail: `threads:session` the first two.

    `threads:session/9` is the first nine; `threads:hang` lets the first session's thread hang in
    its start.
    """
    start = threading.Thread.start
    names, _, number = fault.partition("/")
    names = "session-1" if fault == "hang" else names
    left = [int(number or 2)]

    def bad_start(thread: threading.Thread) -> None:
        if thread.name.startswith(names) and left[0]:
            left[0] -= 1
            if fault == "hang":
                threading.Event().wait()
            raise RuntimeError("can't start new thread")
        start(thread)

    threading.Thread.start = bad_start  # type: ignore[method-assign]


def unseen(_: str) -> None:
    """Let each session leave a thread that fails, which nobody looks after."""
    from echo.cli import serve

    def fail() -> None:
        raise LookupError("nobody looks")

    class LeavingHandler(serve.EchoHandler):
        def finish(self) -> None:
            super().finish()
            threading.Thread(target=fail, name="helper", daemon=True).start()

    serve.EchoHandler = LeavingHandler  # type: ignore[misc]


def mortal(name: str) -> None:
    """Let a watched thread end with the first session: `mortal:log-writer`."""
    from echo.cli import serve
    from echo.server import daemon

    over = threading.Event()

    class LastHandler(serve.EchoHandler):
        def finish(self) -> None:
            super().finish()
            over.set()

    class Mortal(daemon.Watchdog):
        def __init__(self, watched: Any) -> None:
            thread = threading.Thread(target=over.wait, name=name, daemon=True)
            thread.start()
            super().__init__([*watched, thread])

    serve.EchoHandler = LastHandler  # type: ignore[misc]
    daemon.Watchdog = Mortal  # type: ignore[misc]


def impatient(_: str) -> None:
    """Abandon a thread after two looks without a sign of life."""
    from echo.server import watchdog

    watchdog.PATIENCE = 2


def frozen(_: str) -> None:
    """Let the status port's accept loop hang."""
    from echo.server import history

    history.History.tick = lambda _: threading.Event().wait()  # type: ignore[assignment, return-value]


def unhurried(factor: str) -> None:
    """Allow a stop this many times as long for each thing that may hang."""
    from echo.cli import serve
    from echo.server import daemon, listener, server, systemd

    for module, name in (
        (daemon, "STOP_GRACE"),
        (daemon, "SHUTDOWN_GRACE"),
        (listener, "SHUTDOWN_GRACE"),
        (server, "CUT_GRACE"),
        (server, "LINE_GRACE"),
        (serve, "LOG_FLUSH_TIMEOUT"),
        (systemd, "SEND_TIMEOUT"),
    ):
        setattr(module, name, float(factor) * getattr(module, name))


# -- hooks ----------------------------------------------------------------------------------


def hook(name: str) -> None:
    """Let the first call of a hook of the server or its handler raise."""
    from echo.cli import serve

    owner = "EchoHandler" if name in HANDLER_HOOKS else "EchoServer"
    base = getattr(serve, owner)
    setattr(serve, owner, type(owner, (base,), {name: _raises_once(getattr(base, name), name)}))


def _raises_once(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    calls = []

    def bad(*arguments: Any) -> Any:
        calls.append(name)
        if len(calls) == 1:
            raise Fault(name)
        return original(*arguments)

    return bad


class Fault(Exception):
    """What a hook raises; even its text raises."""

    def __str__(self) -> NoReturn:
        raise ValueError("no text")


# -- broken promises, which the fixture is to find ------------------------------------------


def broken(promise: str) -> None:
    """Let every session break a promise: `broken:thread`, and whatever else stands below."""
    from echo.cli import serve

    class BrokenHandler(serve.EchoHandler):
        def finish(self) -> None:
            super().finish()
            BREAKS[promise](self)

    serve.EchoHandler = BrokenHandler  # type: ignore[misc]


def _leave_thread(handler: Any) -> None:
    del handler
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def _lose_closing_line(handler: Any) -> None:
    handler.server.sessions.end = lambda *_: None


def _count_twice(handler: Any) -> None:
    handler.server.sessions.totals.accepted += 1


def _say_on_stderr(handler: Any) -> None:
    del handler
    os.write(2, b"!")


def _write_into_log(data: bytes) -> None:
    with Path(sys.argv[sys.argv.index("--log-file") + 1]).open("ab") as log:
        log.write(data)


LEFT: list[object] = []
BREAKS: dict[str, Callable[[Any], object]] = {
    "thread": _leave_thread,
    "descriptor": lambda _: LEFT.append(os.pipe()),
    "socket": lambda handler: LEFT.append(handler.request.dup()),
    "closed": _lose_closing_line,
    "totals": _count_twice,
    "stderr": _say_on_stderr,
    "line": lambda _: _write_into_log(b'{"event":"session.clo\n'),
    "long line": lambda _: _write_into_log(b'{"event":"' + b"x" * 2048 + b'"}\n'),
    "error": lambda handler: handler.server.log.error("server.error", error="x", where="x"),
}


def deaf(_: str) -> None:
    """Let the handler hang, whatever happens to its socket."""
    from echo.cli import serve

    class DeafHandler(serve.EchoHandler):
        def handle(self) -> None:
            threading.Event().wait()

    serve.EchoHandler = DeafHandler  # type: ignore[misc]


def main() -> int:
    """Bring the faults in, then run the command line as ever."""
    brisk("")
    faults = [fault.partition(":") for fault in sys.argv.pop(1).split("+")]
    for name, _, argument in faults:
        globals()[name](argument)
    if any(name in OF_THE_HANDLER for name, _, _ in faults):
        sys.argv += ["--loop", "python"]  # of which the handlers here are made
    from echo.__main__ import main as run

    return run()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
