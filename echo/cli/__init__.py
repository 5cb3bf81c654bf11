"""The roof: the command line. The one place that prints, and that picks an exit code."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import App, Parameter

from echo.cli.failure import CONFIG, FAILED, SOFTWARE, USAGE, Failure, reason, say
from echo.limits import BadLimit
from echo.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

ENVIRONMENT = cyclopts.config.Env("ECHOD_", command=False)

app = App(
    name="echod",
    help="A TCP echo server that people leave running, its client and its tools.",
    version=VERSION,
    help_format="plaintext",
    config=[ENVIRONMENT],
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False
# Named by path, so that a command imports only what it needs.
_COMMANDS = {
    "serve": (
        "echo.cli.serve:serve",
        "Run the daemon.\n\n"
        "TERM and INT drain it, a second one cuts; HUP reopens the log and rereads the "
        "certificate; USR1 logs the state; USR2 switches debug events on and off.",
    ),
    "connect": (
        "echo.cli.connect:connect",
        "Talk to an echo server: line by line on a terminal, stdin to stdout in a pipe.\n\n"
        "Every byte that comes back is compared with what was sent; a difference, a missing "
        "byte or an early end is exit code 1.",
    ),
    "ping": (
        "echo.cli.ping:ping",
        "Round-trip time, like ping(8), with percentiles.\n\n"
        "Exit codes are ping's: 0 for a reply, 1 for none (or for a wrong one), 2 for an error; "
        "--count 1 --quiet is a health check.",
    ),
    "load": (
        "echo.cli.load:load",
        "Many sessions at once, every byte of every echo verified.\n\n"
        "Whatever went wrong is counted apart, and is exit code 1.",
    ),
    "fuzz": (
        "echo.cli.fuzz:fuzz",
        "Look for a payload, a way of splitting it, pauses and a half-close that an echo server "
        "gets wrong.\n\n"
        "A case is shrunk to the smallest, shown so that it can be repeated, and exit code 1.",
    ),
    "top": (
        "echo.cli.top:top",
        "Show the live sessions of a daemon with --status-port, like htop(1).\n\n"
        "Where there is no terminal it prints them once. F1 shows the keys, q quits.",
    ),
    "demo": (
        "echo.cli.demo:demo",
        "Show the sockets of a small server and three clients, step by step.\n\n"
        "Each descriptor, address and TCP state is read from the system. On a terminal a key goes "
        "on at once.",
    ),
    "logs": ("echo.cli.logs:logs_app", "Read the JSON logs."),
}
for _name, (_path, _help) in _COMMANDS.items():
    app.command(_path, name=_name, help=_help)
app.command(
    "echo.cli.completion:install_completion",
    name="--install-completion",
    help="Install shell completion for bash, zsh or fish.",
    group="Parameters",
)


@app.meta.default
def _with_settings(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Path | None = None,
) -> int | None:
    """Read settings from the environment and a file, then run the command.

    Parameters
    ----------
    config
        TOML file with a table for each command, as in `[serve]`; flags and environment win.
    """
    app.config = [ENVIRONMENT] if config is None else [ENVIRONMENT, _read(config)]
    result: int | None = app(
        tokens, exit_on_error=False, print_error=False, result_action="return_value"
    )
    return result


def _read(path: Path) -> cyclopts.config.Dict:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"can't read {path}: {reason(error)}", CONFIG) from error
    except (ValueError, RecursionError) as error:  # bad UTF-8, bad TOML, brackets without end
        raise Failure(f"{path} is not TOML: {error}", CONFIG) from error
    for name in tables:
        if name not in _COMMANDS:
            known = ", ".join(f"[{command}]" for command in _COMMANDS)
            raise Failure(f"{path}: no command has the table [{name}]: use {known}", CONFIG)
    return cyclopts.config.Dict(tables, source=str(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, `sys.argv` if none is given, and return its exit code.

    Whatever goes wrong is one line on stderr.
    """
    try:
        code = _run(arguments)
        _flush()
    except cyclopts.CycloptsError as error:
        return _fail(str(error), USAGE)
    except BadLimit as error:
        return _fail(f"--{error.field.replace('_', '-')} {error.problem}", USAGE)
    except Failure as failure:
        return _fail(str(failure), failure.code)
    except KeyboardInterrupt:
        return 130  # as a shell reports a command that SIGINT ended
    except BrokenPipeError:  # whoever read the output has seen enough
        return _abandon_output(FAILED)
    except OSError as error:
        return _abandon_output(_fail(f"can't write the output: {reason(error)}", FAILED))
    except Exception as error:  # noqa: BLE001 - a fault of ours is no reason for a traceback
        fault = f"{type(error).__name__}: {error}"
        return _fail(f"a fault in echod itself, please report it: {fault}", SOFTWARE)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    code = app.meta(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    return code or 0


def _fail(text: str, code: int) -> int:
    say(text)
    return code


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _abandon_output(code: int) -> int:
    """Keep the interpreter from trying to write, at its end, what nobody can take."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
