"""`python -m echo` is `echod`.

It handles signals before it imports the rest: the imports of a whole command line take longer
than the daemon's own start, and a stop has to end it at any moment.
"""

import os
import signal
import sys


def main() -> int:
    """Run the command line, and return its exit code.

    To stop a daemon on request is success at any moment of its life.
    """
    try:
        return _run(serving=_command(sys.argv[1:]) == "serve")
    except KeyboardInterrupt:  # pragma: no cover - in the moment before or after a command
        return 130


def _run(*, serving: bool) -> int:
    # Until a command runs, a stop ends the process at once: nothing is open yet, and an
    # exception could strike where the interpreter swallows it, such as in a callback of the
    # garbage collector.
    usual = signal.getsignal(signal.SIGINT)  # or it is ignored, as of a shell's background job
    if serving or usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(0 if serving else 130))
    if serving:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)  # the daemon has nothing to reopen yet
        # The last of them: from when the system shows that it is caught, none does any harm.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from echo.cli import main as run

    if not serving:
        signal.signal(signal.SIGINT, usual)
    try:
        return run()
    finally:  # a second Ctrl-C would be a traceback of the interpreter's own end
        for number in (signal.SIGINT, signal.SIGTERM) if serving else (signal.SIGINT,):
            signal.signal(number, signal.SIG_IGN)


def _command(arguments: list[str]) -> str:
    """Return the name of the command that a command line runs, without parsing all of it.

    >>> _command(["ping", "serve", "9000"]), _command(["--config", "f.toml", "serve"])
    ('ping', 'serve')
    """
    words = iter(arguments)
    for word in words:
        if word == "--config":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


if __name__ == "__main__":
    sys.exit(main())
