"""`echod serve`: run the daemon."""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from echo.cli.failure import (
    CANTCREAT,
    CONFIG,
    NOPERM,
    OSERR,
    SOFTWARE,
    UNAVAILABLE,
    USAGE,
    Failure,
    say,
)
from echo.cli.settings import Encryption, Listen, Logging, Monitoring, Proxying
from echo.errors import problem_of
from echo.events import Stop
from echo.limits import Limits
from echo.logs.eventlog import EventLog
from echo.logs.sinks import FileSink, Sink, StreamSink, TerminalSink
from echo.logs.writer import LogWriter
from echo.server import EchoHandler, EchoServer
from echo.server.daemon import Daemon
from echo.server.faults import Faults, FaultyHandler, FaultyServer, parse_faults
from echo.server.signals import Signals
from echo.server.systemd import STATUS_NAME, BadDescriptor, Notifier, inherited
from echo.server.tuning import Pin, fit_descriptors, fit_memory, tune

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socketserver import BaseRequestHandler

    from echo.server.status import StatusServer
    from echo.server.tls import TlsConfig

    Kind = tuple[Callable[..., EchoServer], type[BaseRequestHandler]]

# Seconds at the end for lines that are not written yet: a stuck log must not keep the daemon
# running.
LOG_FLUSH_TIMEOUT = 1.0


# Each value of --fault: the faults' names, and what they take.
_FAULT_VALUES = {"delay": "TIME", "jitter": "TIME", "throttle": "SIZE"}
FAULTS = ", ".join(
    field.name.replace("_", "-")
    + ("" if field.default is False else f"={_FAULT_VALUES.get(field.name, 'BYTES')}")
    for field in fields(Faults)
)


def _group(title: str, order: int) -> Parameter:
    """Show the fields of a group of settings as options of their own, under a heading."""
    return Parameter(name="*", group=Group(title, sort_key=order))


def serve(
    *,
    limits: Annotated[Limits, _group("Limits", 1)] = Limits(),
    listen: Annotated[Listen, _group("CPU and port sharing", 2)] = Listen(),
    logging: Annotated[Logging, _group("Log rotation", 3)] = Logging(),
    tls: Annotated[Encryption, _group("Client certificates", 4)] = Encryption(),
    proxying: Annotated[Proxying, _group("Behind a load balancer", 5)] = Proxying(),
    monitoring: Annotated[Monitoring, _group("Status pages", 6)] = Monitoring(),
    fault: Annotated[
        tuple[str, ...],
        Parameter(
            group=Group("To test clients", sort_key=9),
            negative="",
            help=f"Do something wrong; may be repeated. One of {FAULTS}; see docs/testing.md.",
        ),
    ] = (),
) -> int:
    """Run the daemon until TERM or INT."""
    faults = _faults(fault)
    certificates = tls.certificates()
    make, handler = _kind(faults, certificates, listen.loop)
    options: dict[str, Any] = {
        "proxies": proxying.proxies(),
        "reuse_port": listen.reuse_port,
        "tls": certificates,
    }
    sockets = _inherited(listen, monitoring)
    with Signals() as signals:
        options["limits"] = _fitting(limits, encrypted=certificates is not None)
        options["pin"] = _tune(listen.processor)
        log = _open_log(logging)
        options |= {"log": log.configure(), "log_payload": log.debug}
        try:
            with (
                _bind(make, sockets.get("echo") or listen.address, handler, options) as server,
                _status(sockets.get("status"), monitoring, server, log) as status,
            ):
                _announce(server, logging.target)
                daemon = Daemon(
                    server, log, signals, notifier=Notifier(), tls=certificates, status=status
                )
                stop = daemon.run()
        finally:
            log.close(LOG_FLUSH_TIMEOUT)
    return 0 if stop is Stop.SIGNAL else SOFTWARE


def _announce(server: EchoServer, log: str) -> None:
    """Print where the daemon listens, unless a terminal or standard output shows its log.

    Somebody who never reads the output must not stop the start: it is skipped where the output
    takes nothing at the moment.
    """
    output, errors = sys.stdout, sys.stderr
    if log == "-" or output is None or (output.isatty() and errors and errors.isatty()):
        return
    host, port = server.server_address[:2]
    line = f"echod: listening on {host!s} port {port}, log in {log}\n"
    with suppress(OSError):
        if select.select((), (output.fileno(),), (), 0)[1]:
            # Past the stream's buffer, in which a line that can't be written would stay.
            os.write(output.fileno(), line.encode())


def _inherited(listen: Listen, monitoring: Monitoring) -> dict[str, socket]:
    """Return the sockets that a service manager has passed, by `echo` and `status`."""
    try:
        sockets = inherited()
    except BadDescriptor as error:
        raise Failure(
            f"serve: can't use the sockets of LISTEN_FDS: {error}; "
            "check the ListenStream= of the socket unit",
            CONFIG,
        ) from error
    found = {STATUS_NAME: sockets.pop(STATUS_NAME)} if STATUS_NAME in sockets else {}
    if len(sockets) > 1:
        raise Failure(
            f"serve: {len(sockets)} sockets are inherited ({', '.join(sockets)}), and one can be "
            f"served: leave one, and call one for the status pages {STATUS_NAME}",
            CONFIG,
        )
    _refuse_both(bool(sockets), listen.given, "--host, --port and --reuse-port")
    _refuse_both(bool(found), monitoring.status_port is not None, "--status-port")
    found.update(zip(("echo",), sockets.values(), strict=False))
    return found


def _refuse_both(handed_over: bool, given: bool, flags: str) -> None:
    if handed_over and given:
        raise Failure(
            f"serve: a socket is inherited, so {flags} can't be used: leave them out", USAGE
        )


def _faults(words: tuple[str, ...]) -> Faults:
    try:
        return parse_faults(words)
    except ValueError as error:
        raise Failure(f"serve: --fault can't be used: {error}", USAGE) from error


def _kind(faults: Faults, certificates: TlsConfig | None, loop: str) -> Kind:
    """Return the server class and its handler: the ones with faults only for --fault."""
    if certificates and faults.active():
        raise Failure("serve: --fault can't speak TLS: leave one of them out", USAGE)
    if certificates and loop == "compiled":
        raise Failure("serve: --loop compiled can't speak TLS: leave one of them out", USAGE)
    if faults.active():
        return partial(FaultyServer, faults=faults), FaultyHandler
    return EchoServer, _handler("python" if certificates else loop)


def _handler(loop: str) -> type[EchoHandler]:
    """Return the handler; the compiled one exists where a C compiler was at the installation."""
    if loop == "python":
        return EchoHandler
    try:
        from echo.server.compiled import CompiledHandler
    except ImportError as error:
        if loop == "auto":
            _report_python_loop()
            return EchoHandler
        raise Failure(
            "serve: --loop compiled isn't there: install again with a C compiler, or leave it out",
            CONFIG,
        ) from error
    return CompiledHandler


def _report_python_loop() -> None:
    """Report to a person at a terminal that sessions get the slower loop, and what mends that."""
    if sys.platform == "linux" and sys.stderr is not None and sys.stderr.isatty():
        say(
            "serve: the compiled loop isn't there, sessions run Python's, which is slower: install "
            "a C compiler, then echod again with pip's --no-cache-dir and --force-reinstall; "
            "--loop python runs it without this line"
        )


def _fitting(limits: Limits, *, encrypted: bool) -> Limits:
    """Fit the sessions into descriptors and memory; warn where the user asked for more."""
    fits = (
        (fit_descriptors(limits), "the descriptors allow", "the hard limit (ulimit -Hn)"),
        (fit_memory(limits, tls=encrypted), "the memory allows", "the limit of its cgroup"),
    )
    fitting, allowed, advice = min(fits, key=lambda fit: fit[0].max_sessions)
    if fitting.max_sessions != limits.max_sessions != Limits().max_sessions:
        say(
            f"serve: warning: --max-sessions {limits.max_sessions} is more than {allowed}, "
            f"serving {fitting.max_sessions}: raise {advice}"
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
        stop = "stop that server, or " if isinstance(error, BlockingIOError) else ""
        raise Failure(
            f"serve: can't open the log {settings.target}: {problem_of(error)}; "
            f"{stop}name another with --log-file, or - for standard output",
            CANTCREAT,
        ) from error
    sinks, lock = [sink], threading.RLock()
    if path is not None and sys.stderr is not None and sys.stderr.isatty():
        sinks.append(TerminalSink(sys.stderr))
    try:
        writers = [LogWriter(sink, lock=lock) for sink in sinks]
    except RuntimeError as error:
        raise _no_thread(error) from error
    return EventLog(*writers, level=settings.log_level, path=path, lock=lock)


def _log_target(settings: Logging) -> tuple[Path | None, Sink]:
    if settings.target == "-":
        return None, StreamSink(_stdout())
    path = Path(settings.target)
    return path, FileSink(path, settings.log_max_size, settings.log_keep)


def _stdout() -> int:
    if sys.stdout is None:  # it is where somebody closed it
        raise OSError(errno.EBADF, "standard output is closed")
    return sys.stdout.fileno()


def _bind(
    make: Callable[..., EchoServer],
    where: tuple[str, int] | socket,
    handler: type[BaseRequestHandler],
    options: dict[str, Any],
) -> EchoServer:
    try:
        return make(where, handler, **options)
    except UnicodeError as error:  # a name that no name server can be asked for
        raise _no_host_name(where, "") from error
    except OSError as error:
        raise _cant_listen(error, where, "") from error


@contextmanager
def _status(
    handed_over: socket | None, settings: Monitoring, server: EchoServer, log: EventLog
) -> Iterator[StatusServer | None]:
    """Run the status server, if there is to be one."""
    where = handed_over or settings.address
    if where is None:
        yield None
        return
    from echo.server.assets import assets
    from echo.server.live import Live
    from echo.server.metrics import Metrics
    from echo.server.status import StatusServer, health_of

    live = Live(server, log)
    pages = {
        **assets(),
        "/sessions": live.page,
        "/metrics": Metrics(server, log).page,
        "/healthz": health_of(server),
    }
    with ExitStack() as stack:
        try:
            status = StatusServer(
                where,
                pages,
                log=server.log,
                names={settings.status_host},
                each_iteration=live.history.tick,
            )
            stack.enter_context(status)
        except UnicodeError as error:
            raise _no_host_name(where, "status-") from error
        except OSError as error:
            raise _cant_listen(error, where, "status-") from error
        except RuntimeError as error:
            raise _no_thread(error) from error
        yield status


def _no_thread(error: RuntimeError) -> Failure:
    return Failure(
        f"serve: {error}: raise the limit on threads (ulimit -u, or the container's)", OSERR
    )


def _no_host_name(where: Any, prefix: str) -> Failure:
    host = where[0]
    return Failure(
        f"serve: can't listen on {host}: that is not a host name; check --{prefix}host", UNAVAILABLE
    )


def _cant_listen(error: OSError, where: tuple[str, int] | socket, prefix: str) -> Failure:
    host, port = where.getsockname()[:2] if isinstance(where, socket) else where
    usual = ("check --{0}host and --{0}port", UNAVAILABLE)
    advice, code = _BIND_ADVICE.get(error.errno or 0, usual)
    return Failure(
        f"serve: can't listen on {host} port {port}: {problem_of(error)}; {advice.format(prefix)}",
        code,
    )


_BIND_ADVICE = {
    errno.EADDRINUSE: (
        "another program has the port: stop it, or choose another with --{}port (0 picks one)",
        UNAVAILABLE,
    ),
    errno.EACCES: ("ports below 1024 need a privilege: choose another with --{}port", NOPERM),
    errno.EMFILE: ("raise the limit on descriptors (ulimit -n)", OSERR),
}
