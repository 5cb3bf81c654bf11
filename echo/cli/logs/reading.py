"""What the commands that read logs share: which files, which lines, and what can go wrong."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from echo.cli.failure import FAILED, USAGE, Failure, reason, say
from echo.cli.networks import network
from echo.logs.files import DEFAULT_LOG, STDIN, LogFile, named, open_all
from echo.logs.filters import Filter
from echo.logs.moments import BadMoment, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from echo.logs.journal import Journal

# The modules of the extra `logs`.
_EXTRA = ("duckdb", "jinja2", "plotext")

File = Annotated[str, Parameter(allow_leading_hyphen=True)]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which lines."""

    peer: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Address or network of the peer, as 10.0.0.0/8; may be repeated, as the next three may."""

    session: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Id of a session."""

    event: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Name of an event, as session.closed."""

    reason: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Why a session ended or was refused, as idle_timeout."""

    since: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    """From this moment on: 10 min ago, 15:00, 2026-01-31T15:00 (UTC where no zone is named)."""

    until: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None
    """Before this moment."""

    level: Literal["debug", "info", "warning", "error"] = "debug"
    """Least level."""

    def filter(self, command: str) -> Filter:
        """Read what was given; `Failure` says what can't be read."""
        now = datetime.now(UTC)
        try:
            with extra(command):
                since = moment(self.since, now) if self.since else None
                return Filter(
                    peers=tuple(map(network, self.peer)),
                    sessions=self.session,
                    events=self.event,
                    reasons=self.reason,
                    since=since,
                    until=moment(self.until, now, since) if self.until else None,
                    level=self.level,
                )
        except BadMoment as error:
            text = f"{error} is no time: use 2026-01-31T15:00, 15:00 or 10 min ago"
            raise Failure(f"logs {command}: {text}", USAGE) from error
        except ValueError as error:
            text = f"--peer: {error}: use 10.0.0.7 or 10.0.0.0/8"
            raise Failure(f"logs {command}: {text}", USAGE) from error


Chosen = Annotated[Choice, Parameter(name="*", group=Group("Which lines", sort_key=1))]


@contextmanager
def extra(command: str) -> Iterator[None]:
    """Say how to install what a command needs, where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise Failure(
            f"logs {command}: {error.name} is not installed: pip install 'echo-daemon[logs]'"
        ) from error


@contextmanager
def opened(command: str, names: Sequence[str]) -> Iterator[list[LogFile]]:
    """Open the files to read; `Failure` where none of them can be."""
    found = open_all(named(names))
    try:
        if not any(file.stream for file in found):
            raise _unreadable(command, found[0])
        yield found
    finally:
        for file in found:
            file.close()


@contextmanager
def journal(command: str, names: Sequence[str], choice: Choice, *columns: str) -> Iterator[Journal]:
    """Read files into tables, with these columns or those that are needed anyway."""
    with extra(command):
        import duckdb

        from echo.logs.journal import Journal
        from echo.logs.tables import NEEDED
    wanted = choice.filter(command)
    with opened(command, names) as found:
        try:
            with Journal(found, wanted, columns or NEEDED) as tables:
                if not tables.feed.rows and found[0].problem:
                    raise _unreadable(command, found[0])
                yield tables
        except duckdb.Error as error:
            text = str(error).partition("\n")[0]
            raise Failure(f"logs {command}: {text}") from error
        except OSError as error:
            text = f"can't write to the temporary folder: {reason(error)}"
            raise Failure(f"logs {command}: {text}; name a larger one in TMPDIR") from error


def problems(command: str, files: Sequence[LogFile]) -> int:
    """Tell of each file that could not be read, and give the exit code."""
    bad = [file for file in files if file.problem]
    for file in bad:
        say(str(_unreadable(command, file)))
    return FAILED if bad else 0


def _unreadable(command: str, file: LogFile) -> Failure:
    advice = "name a log that echod serve wrote"
    if file.name == DEFAULT_LOG:
        advice += ", or go to the folder it was started in"
    name = "standard input" if file.name == STDIN else file.name
    return Failure(f"logs {command}: can't read {name}: {file.problem}; {advice}")
