"""`python -m echo` is `echod`.

It is the first of ours to run, so that a daemon answers a stop while it still starts: the
imports of a whole command line take longer than the daemon's own start.
"""

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | signal.Handlers


def main() -> int:
    """Run the command line. To stop a daemon on request is success at any moment of its life."""
    try:
        return _run()
    except KeyboardInterrupt:  # while a client's command was still imported, or a second one
        return 130


def _run() -> int:
    serving = "serve" in sys.argv[1:]
    if serving:
        _pass_over_others()
        _answer_stops(_leave)
    from echo.cli import main as run

    try:
        return run()
    finally:
        if serving:  # the interpreter would restore what ends the process with the signal
            _answer_stops(signal.SIG_IGN)
        else:  # a second Ctrl-C would be a traceback of the interpreter's own end
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _answer_stops(answer: "Handler") -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, answer)


def _pass_over_others() -> None:
    """Let no signal that the daemon takes later end it before: it has nothing to reopen yet."""
    names = ("SIGHUP", "SIGUSR1", "SIGUSR2")
    for number in [getattr(signal, name) for name in names if hasattr(signal, name)]:
        signal.signal(number, signal.SIG_IGN)


def _leave(
    number: int, frame: "FrameType | None"
) -> None:  # pragma: no cover - the process is gone before anybody can write down that it ran
    """End at once: nothing has been opened yet, or all of it is closed."""
    del number, frame
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
