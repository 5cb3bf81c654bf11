"""`echod serve`: run the daemon."""

from __future__ import annotations

import errno
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from echo.cli.failure import (
    CANTCREAT,
    CONFIG,
    NOPERM,
    OSERR,
    SOFTWARE,
    UNAVAILABLE,
    USAGE,
    Failure,
    reason,
    say,
)
from echo.events import Stop
from echo.limits import LOG_FILE_BYTES, LOG_FILES_KEPT, Limits
from echo.logs.eventlog import EventLog
from echo.logs.files import DEFAULT_LOG
from echo.logs.sinks import FileSink, Sink, StreamSink, TerminalSink
from echo.logs.writer import LogWriter
from echo.server import EchoHandler, EchoServer
from echo.server.daemon import Daemon
from echo.server.signals import Signals
from echo.server.tuning import Pin, fit_descriptors, tune
from echo.testing.faults import Faults, FaultyHandler, FaultyServer, parse_faults

if TYPE_CHECKING:
    from collections.abc import Callable

    Kind = tuple[Callable[..., EchoServer], type[EchoHandler]]

_CLIENT_TESTS = Group("Tests of clients", sort_key=9)
# Seconds at the end for the lines that are not written yet: a log that is stuck must not
# keep the daemon.
LOG_FLUSH_TIMEOUT = 1.0


@dataclass(frozen=True, kw_only=True)
class Listen:
    """Where to listen."""

    host: str = "127.0.0.1"
    """Address or name to listen on; 0.0.0.0 is every IPv4 interface, :: also every IPv6 one."""

    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 9000
    """TCP port; 0 picks a free one, which the log's server.started shows."""

    reuse_port: Annotated[bool, Parameter(negative="")] = False
    """Share the port with other daemons that do the same; the kernel spreads the clients."""

    cpu: str = "auto"
    """Processor to stay on: auto (one, unless Python has no global lock), none, or its number."""

    loop: Literal["auto", "compiled", "python"] = "auto"
    """The echo loop: compiled where it could be installed, or in Python."""


@dataclass(frozen=True, kw_only=True)
class Logging:
    """What to log, and where to."""

    log_file: Annotated[str, Parameter(allow_leading_hyphen=True)] = DEFAULT_LOG
    """JSON log; - is standard output."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged; debug shows the beginning of each payload."""

    log_max_size: Annotated[int, Parameter(validator=Number(gte=0))] = LOG_FILE_BYTES
    """Bytes at which a new log file is begun; 0 leaves the turning to others (HUP reopens)."""

    log_keep: Annotated[int, Parameter(validator=Number(gte=0, lte=1000))] = LOG_FILES_KEPT
    """Older log files that are kept."""


def serve(
    *,
    listen: Annotated[Listen, Parameter(name="*", group=Group("Listening", sort_key=1))] = Listen(),
    limits: Annotated[Limits, Parameter(name="*", group=Group("Limits", sort_key=2))] = Limits(),
    logging: Annotated[Logging, Parameter(name="*", group=Group("Log", sort_key=3))] = Logging(),
    fault: Annotated[tuple[str, ...], Parameter(group=_CLIENT_TESTS, negative="")] = (),
) -> int:
    """Run the daemon until TERM or INT.

    Parameters
    ----------
    fault
        Do wrong on purpose, as delay=0.1 or stall; may be repeated.
    """
    faults = _faults(fault)
    with Signals() as signals:
        fitting = _fitting(limits)
        kind = _kind(faults, listen.loop)
        pin = _tune(listen.cpu)
        log = _open_log(logging)
        logger = log.configure()
        try:
            with _bind(listen, kind, fitting, logger, log.debug, pin) as server:
                stop = Daemon(server, log, signals).run()
        finally:
            log.close(LOG_FLUSH_TIMEOUT)
    return 0 if stop is Stop.SIGNAL else SOFTWARE


def _faults(words: tuple[str, ...]) -> Faults:
    try:
        return parse_faults(words)
    except ValueError as error:
        raise Failure(f"serve: --fault can't be used: {error}", USAGE) from error


def _kind(faults: Faults, loop: str) -> Kind:
    """Choose the server and its handler: those that do wrong only where that is asked for."""
    if faults.active():
        return partial(FaultyServer, faults=faults), FaultyHandler
    return EchoServer, _handler(loop)


def _handler(loop: str) -> type[EchoHandler]:
    """Choose the loop; the compiled one is there where a compiler was at the installation."""
    if loop == "python":
        return EchoHandler
    try:
        from echo.server.compiled import CompiledHandler
    except ImportError as error:
        if loop == "auto":
            return EchoHandler
        raise Failure(
            "serve: --loop compiled isn't there: install again with a C compiler, or leave it out",
            CONFIG,
        ) from error
    return CompiledHandler


def _fitting(limits: Limits) -> Limits:
    """Fit the sessions into the descriptors; say so where the user asked for more."""
    fitting = fit_descriptors(limits)
    if fitting.max_sessions != limits.max_sessions != Limits().max_sessions:
        say(
            f"serve: warning: --max-sessions {limits.max_sessions} is more than the descriptors "
            f"allow, serving {fitting.max_sessions}: raise the hard limit (ulimit -Hn)"
        )
    return fitting


def _tune(cpu: str) -> Pin:
    try:
        return tune(cpu)
    except (ValueError, OSError) as error:
        raise Failure(f"serve: --cpu {cpu} can't be used: {error}", CONFIG) from error


def _open_log(settings: Logging) -> EventLog:
    try:
        path, sink = _log_target(settings)
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        raise Failure(
            f"serve: can't open the log {settings.log_file}: {reason(error)}; "
            "name another with --log-file, or - for standard output",
            CANTCREAT,
        ) from error
    sinks, lock = [sink], threading.RLock()
    if path is not None and sys.stderr is not None and sys.stderr.isatty():
        sinks.append(TerminalSink(sys.stderr))
    try:
        writers = [LogWriter(sink, lock=lock) for sink in sinks]
    except RuntimeError as error:
        raise Failure(
            f"serve: {error}: raise the limit on threads (ulimit -u, or the container's)", OSERR
        ) from error
    return EventLog(*writers, level=settings.log_level, path=path, lock=lock)


def _log_target(settings: Logging) -> tuple[Path | None, Sink]:
    if settings.log_file == "-":
        return None, StreamSink(_stdout())
    path = Path(settings.log_file)
    return path, FileSink(path, settings.log_max_size, settings.log_keep)


def _stdout() -> int:
    if sys.stdout is None:  # it is where somebody closed it
        raise OSError(errno.EBADF, "standard output is closed")
    return sys.stdout.fileno()


def _bind(
    listen: Listen,
    kind: Kind,
    limits: Limits,
    logger: object,
    log_payload: bool,
    pin: Pin,
) -> EchoServer:
    make, handler = kind
    try:
        return make(
            (listen.host, listen.port),
            handler,
            limits=limits,
            log=logger,
            log_payload=log_payload,
            pin=pin,
            reuse_port=listen.reuse_port,
        )
    except UnicodeError as error:  # a name that no name server can be asked for
        raise Failure(
            f"serve: can't listen on {listen.host}: it is no host name; check --host", UNAVAILABLE
        ) from error
    except OSError as error:
        advice, code = _BIND_ADVICE.get(error.errno or 0, ("check --host and --port", UNAVAILABLE))
        where = f"{listen.host} port {listen.port}"
        raise Failure(f"serve: can't listen on {where}: {reason(error)}; {advice}", code) from error


_BIND_ADVICE = {
    errno.EADDRINUSE: (
        "another program has the port: stop it, or choose another with --port (0 picks one)",
        UNAVAILABLE,
    ),
    errno.EACCES: ("ports below 1024 need a privilege: choose another with --port", NOPERM),
    errno.EMFILE: ("raise the limit on descriptors (ulimit -n)", OSERR),
}
