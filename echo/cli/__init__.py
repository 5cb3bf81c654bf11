"""The command line: the one place that prints, and that picks an exit code."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import App, Group, Parameter

from echo.cli.arguments import named_plainly, normalize
from echo.cli.failure import CONFIG, FAILED, OSERR, SOFTWARE, USAGE, Failure, say
from echo.cli.help import HelpFormatter
from echo.cli.output import OutputError, abandon_output, open_output
from echo.errors import problem_of
from echo.limits import BadLimit
from echo.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

# Not shown with each option: the end of the help says it once.
ENVIRONMENT = cyclopts.config.Env("ECHOD_", command=False, show=False)
EPILOGUE = (
    "Each option can also come from a variable (ECHOD_LOG_FILE for --log-file) or from the file "
    "of --config (log-file in the command's table). An option wins over a variable, a variable "
    "over the file. TIME is in seconds, or has a unit: 200ms, 90s, 5m, 1h30m, 1d. SIZE is in "
    "bytes, or has a unit: 64k, 1.5M, 1G (powers of 1,024)."
)

OPTIONS = Group("Options", sort_key=0)

app = App(
    name="echod",
    help="A TCP echo server that people leave running, with a client and tools.",
    version=VERSION,
    help_format="plaintext",
    help_formatter=HelpFormatter(),
    help_epilogue=EPILOGUE,
    group_parameters=OPTIONS,
    group_arguments=OPTIONS,
    config=[ENVIRONMENT, normalize],
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False
# Named by path, so that a command imports only what it needs.
_COMMANDS = {
    "serve": (
        "echo.cli.serve:serve",
        "[OPTIONS]",
        "Run the daemon.\n\n"
        "TERM and INT drain it, a second one ends it at once; HUP reopens the log and reads the "
        "certificate again; USR1 logs the state; USR2 switches debug events on and off.",
    ),
    "connect": (
        "echo.cli.connect:connect",
        "[OPTIONS] [HOST [PORT]]",
        "Talk to an echo server: line by line on a terminal, stdin to stdout in a pipe.\n\n"
        "Every byte that comes back is compared with what was sent. A difference, a missing "
        "byte or an early end is exit code 1.",
    ),
    "ping": (
        "echo.cli.ping:ping",
        "[OPTIONS] [HOST [PORT]]",
        "Measure the round-trip time, like ping(8), with percentiles.\n\n"
        "Exit codes are ping's: 0 for a reply, 1 for none (or for a wrong one), 2 for an error. "
        "A health check is: echod ping -q -c 1 HOST:PORT",
    ),
    "load": (
        "echo.cli.load:load",
        "[OPTIONS] [HOST [PORT]]",
        "Put load on an echo server: many sessions at once, every byte of every echo verified.\n\n"
        "Each kind of failure is counted on its own. Any failure is exit code 1.",
    ),
    "fuzz": (
        "echo.cli.fuzz:fuzz",
        "[OPTIONS] [HOST [PORT]]",
        "Search for a payload, a way of splitting it, pauses and a half-close that an echo server "
        "gets wrong.\n\n"
        "What is found is made as small as possible, shown so that it can be repeated, and is "
        "exit code 1.",
    ),
    "top": (
        "echo.cli.top:top",
        "[OPTIONS] [URL]",
        "Show the live sessions of a daemon with --status-port, like htop(1).\n\n"
        "Where there is no terminal it prints them once. F1 shows the keys, q quits.",
    ),
    "demo": (
        "echo.cli.demo:demo",
        "[OPTIONS]",
        "Show the sockets of a small server and three clients, step by step.\n\n"
        "Each descriptor, address and TCP state is read from the system. On a terminal any key "
        "skips a pause.",
    ),
    "logs": ("echo.cli.logs:logs_app", "", "Read the JSON logs."),
}
for _order, (_name, (_path, _usage, _help)) in enumerate(_COMMANDS.items()):
    app.command(
        _path,
        name=_name,
        sort_key=_order,
        help=_help,
        **({"usage": f"echod {_name} {_usage}"} if _usage else {}),
    )
app.command(
    "echo.cli.completion:install_completion",
    name="--install-completion",
    help="Install completion for bash, zsh or fish.",
    group="Options",
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
        TOML file of settings, with a table for each command, such as [serve].
    """
    if tokens[:1] == ("help",):
        tokens = (*tokens[1:], "--help")
    sources = [ENVIRONMENT] if config is None else [ENVIRONMENT, read_settings(config)]
    app.config = [*sources, normalize]
    result: int | None = app(
        tokens, exit_on_error=False, print_error=False, result_action="return_value"
    )
    return result


def read_settings(path: Path) -> cyclopts.config.Dict:
    """Return a file's settings; a `Failure` names the file and what is wrong with it."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise Failure(f"can't read {path}: {problem_of(error)}", CONFIG) from error
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
    open_output()
    try:
        code: int | None = app.meta(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130  # as a shell reports a command that SIGINT ended
    except OutputError as error:
        if not isinstance(error.cause, BrokenPipeError):  # the reader has seen enough
            say(f"can't write the output: {problem_of(error.cause)}")
        abandon_output()
        return FAILED
    except Exception as error:  # noqa: BLE001 - even a fault of ours is one line
        failure = _failure_of(error)
        say(str(failure))
        return failure.code
    return code or 0


def _failure_of(error: Exception) -> Failure:
    """Return what to tell the user, and the exit code."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, cyclopts.UnusedCliTokensError):
        command = " ".join(error.command_chain or ())
        words = " ".join(error.unused_tokens or ())
        return Failure(
            f"{command}: unexpected argument: {words}; see echod {command} --help", USAGE
        )
    if isinstance(error, cyclopts.UnknownOptionError):
        error.token = named_plainly(error.token)
    if isinstance(error, cyclopts.UnknownOptionError | cyclopts.MissingArgumentError):
        advice = f" See echod {' '.join(error.command_chain or ())} --help"
        return Failure(f"{error}{'' if 'Did you mean' in str(error) else advice}", USAGE)
    if isinstance(error, cyclopts.CycloptsError):
        return Failure(str(error), USAGE)
    if isinstance(error, BadLimit):
        return Failure(f"--{error.field.replace('_', '-')} {error.problem}", USAGE)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return Failure(f"the system refuses: {name}{problem_of(error)}", OSERR)
    fault = f"{type(error).__name__}: {error}"
    return Failure(f"a fault in echod itself, please report it: {fault}", SOFTWARE)
