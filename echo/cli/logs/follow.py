"""`echod logs follow`: events while they are written."""

from __future__ import annotations

import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from echo.cli.failure import USAGE, Failure, reason, say
from echo.cli.logs.reading import Choice, Chosen, File, opened
from echo.cli.logs.screen import on_terminal, output
from echo.cli.logs.show import matching
from echo.logs.files import DEFAULT_LOG, STDIN
from echo.logs.filters import Filter, Matcher
from echo.logs.passing import Follower, lines_of
from echo.logs.pretty import parsed, pretty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Show = Callable[[Iterable[bytes]], None]

_DEFAULT = Choice()
# Seconds between two looks at the files. Notices from the kernel would save a stat a file, and
# there are none of a network file system or from outside a container.
_LOOK_INTERVAL = 0.2


def follow(
    *files: File,
    choice: Chosen = _DEFAULT,
    lines: Annotated[int, Parameter(validator=Number(gte=0))] = 10,
) -> None:
    """Print events live, through the turns of the log.

    Parameters
    ----------
    files
        Log files, or a pipe, - for standard input; the default log where none is given.
    lines
        How many earlier lines to begin with.
    """
    wanted = choice.filter("follow")
    names = tuple(str(file) for file in files) or (DEFAULT_LOG,)
    with suppress(KeyboardInterrupt), output() as write:  # INT is how it ends
        if any(map(_is_pipe, names)):
            _follow_pipe(names, wanted, _printer(write))
        else:
            _follow_files(names, wanted, lines, _printer(write))


def _is_pipe(name: str) -> bool:
    return name == STDIN or Path(name).is_fifo()


def _printer(write: Callable[[str], object]) -> Show:
    colors = on_terminal()

    def show(lines: Iterable[bytes]) -> None:
        for line in lines:
            write(pretty(line, colors=colors) + "\n")
        sys.stdout.flush()

    return show


def _follow_pipe(names: tuple[str, ...], wanted: Filter, show: Show) -> None:
    if len(names) > 1:
        raise Failure("logs follow: a pipe can't be followed beside files", USAGE)
    with opened("follow", [Path(name) for name in names]) as (pipe,):
        assert pipe.stream is not None
        for line in matching(lines_of(pipe.stream), wanted):
            show([line])


def _follow_files(names: tuple[str, ...], wanted: Filter, lines: int, show: Show) -> None:
    matcher = Matcher(wanted)
    pause = threading.Event()
    followers = [_follower(name) for name in names]
    for follower in followers:
        show(deque(_new(follower, matcher), maxlen=lines))
    while not pause.wait(_LOOK_INTERVAL):
        for follower in followers:
            show(_new(follower, matcher))


def _new(follower: Follower, matcher: Matcher) -> Iterator[bytes]:
    try:
        for line in follower.read():
            if matcher.matches(parsed(line)):
                yield line
    except OSError as error:
        raise _unreadable(str(follower.path), error) from error


def _follower(name: str) -> Follower:
    if name.endswith(".gz"):
        raise Failure(f"logs follow: {name} is compressed, nobody writes to it: use show", USAGE)
    try:
        follower = Follower(Path(name))
    except OSError as error:
        raise _unreadable(name, error) from error
    if not follower.found:
        say(f"logs follow: waiting for {name}")
    return follower


def _unreadable(name: str, error: OSError) -> Failure:
    return Failure(f"logs follow: can't read {name}: {reason(error)}")
