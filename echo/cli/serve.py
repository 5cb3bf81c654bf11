"""`echod serve`: run the daemon."""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from echo.cli.failure import (
    CANTCREAT,
    CONFIG,
    NOPERM,
    OSERR,
    SOFTWARE,
    UNAVAILABLE,
    Failure,
    reason,
)
from echo.events import Stop
from echo.limits import LOG_FILE_BYTES, LOG_FILES_KEPT, Limits
from echo.logs.eventlog import EventLog
from echo.logs.sinks import FileSink, Sink, StreamSink, TerminalSink
from echo.logs.writer import LogWriter
from echo.server import EchoHandler, EchoServer
from echo.server.daemon import Daemon
from echo.server.signals import Signals
from echo.server.tuning import fit_descriptors, tune

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


@dataclass(frozen=True, kw_only=True)
class Logging:
    """What to log, and where to."""

    log_file: Annotated[str, Parameter(allow_leading_hyphen=True)] = "logs/echo.jsonl"
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
) -> int:
    """Run the daemon until TERM or INT."""
    with Signals() as signals:
        fitting = _fitting(limits)
        _tune(listen.cpu)
        log = _open_log(logging)
        logger = log.configure()
        try:
            with _bind(listen, fitting, logger, log.debug) as server:
                stop = Daemon(server, log, signals).run()
        finally:
            log.close(LOG_FLUSH_TIMEOUT)
    return 0 if stop is Stop.SIGNAL else SOFTWARE


def _fitting(limits: Limits) -> Limits:
    """Fit the sessions into the descriptors; say so where the user asked for more."""
    fitting = fit_descriptors(limits)
    if fitting != limits != Limits():
        print(
            f"echod serve: warning: --max-sessions {limits.max_sessions} is more than the "
            f"descriptors allow, serving {fitting.max_sessions}: raise the hard limit (ulimit -Hn)",
            file=sys.stderr,
        )
    return fitting


def _tune(cpu: str) -> None:
    try:
        tune(cpu)
    except ValueError as error:
        raise Failure(f"serve: --cpu {cpu} can't be used: {error}", CONFIG) from error


def _open_log(settings: Logging) -> EventLog:
    try:
        path, sink = _log_target(settings)
    except OSError as error:
        raise Failure(
            f"serve: can't open the log {settings.log_file}: {reason(error)}; "
            "name another with --log-file, or - for standard output",
            CANTCREAT,
        ) from error
    writers = [LogWriter(sink)]
    if path is not None and sys.stderr is not None and sys.stderr.isatty():
        writers.append(LogWriter(TerminalSink(sys.stderr)))
    return EventLog(*writers, level=settings.log_level, path=path)


def _log_target(settings: Logging) -> tuple[Path | None, Sink]:
    if settings.log_file == "-":
        return None, StreamSink(_stdout())
    path = Path(settings.log_file)
    return path, FileSink(path, settings.log_max_size, settings.log_keep)


def _stdout() -> int:
    if sys.stdout is None:  # it is where somebody closed it
        raise OSError(errno.EBADF, "standard output is closed")
    return sys.stdout.fileno()


def _bind(listen: Listen, limits: Limits, logger: object, log_payload: bool) -> EchoServer:
    try:
        return EchoServer(
            (listen.host, listen.port),
            EchoHandler,
            limits=limits,
            log=logger,
            log_payload=log_payload,
            reuse_port=listen.reuse_port,
        )
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
