"""What `echod top` draws: a screen of lines, and a table where there is no screen."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from echo.cli.top.columns import COLUMNS, clock, compact, fitted
from echo.cli.top.control import HEAD_LINE
from echo.escape import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.cli.top.columns import Column
    from echo.cli.top.control import Control, LineEditor
    from echo.cli.top.table import Table
    from echo.client.snapshot import EndedSession, LiveSession, Snapshot

# Only what is out of the ordinary has a colour.
_STATES = {"waiting for the peer": "yellow", "draining": "magenta", "handshaking": "cyan"}
_KEYS = "F1 help  / filter  s sort  r reverse  e ended  space pause  q quit"
_HELP_KEYS = {
    "up down PgUp PgDn Home End": "scroll; also j k g G",
    "left right": "reach the columns that have no room",
    "s F6 >   <": "sort by the next column, by the one before",
    "r": "sort the other way round",
    "/ F4": "filter by a part of a peer, a state or an id; Enter keeps it, Esc clears it",
    "e Tab": "the sessions that have ended, with their reasons; and back",
    "m": "mouse: a click on a head sorts, the wheel scrolls; m again to select text",
    "space p": "pause, and go on",
    "q F10 Ctrl-C": "quit",
}
_HELP = """\
FD is the daemon's descriptor of the session's socket; all of them share the port of the listening \
socket. QUEUE counts the connections that the kernel has finished and the daemon has not accepted \
yet. RECV and SENT are bytes, as the daemon sees them. A session that is waiting for the peer has \
echo to send that the peer does not read. Any key goes back."""
_HELP_INDENT = 29
# Beside the sessions there are the lines above them, and one for the keys.
_OTHER_LINES = HEAD_LINE + 1


def screen(control: Control, url: str, problem: str, size: tuple[int, int]) -> list[str]:
    """Return the lines of a screen; `size` is its columns and lines."""
    width, height = size
    table = control.table
    table.width, table.height = width, max(1, height - _OTHER_LINES)
    lines = [*_facts(table.snapshot, url), _notice(control, problem, width)]
    lines += _help(width) if control.helping else _list(table)
    lines = lines[: height - 1]
    lines += [Text()] * (height - 1 - len(lines))
    return _rendered([*lines, _foot(control, width)], width)


def _facts(snapshot: Snapshot, url: str) -> list[Text]:
    server, totals, rates = snapshot.server, snapshot.totals, snapshot.rates or {}
    rate = {name: f" ({compact(rates[name])}/s)" if name in rates else "" for name in totals}
    limit = dict(server.get("limits") or {}).get("max_sessions", "?")
    total = {name: compact(count) for name, count in totals.items()}
    return [
        _labelled("echod top", f"{url}  pid {server['pid']}  loop {server.get('loop')}"
                  f"  up {clock(snapshot.uptime_s)}  {server.get('version')}"),
        _labelled("listening", f"{_listening(snapshot)}  threads {totals.get('threads')}"),
        _labelled("sessions ", f"{totals.get('active_sessions', '?')} of {limit}  "
                  f"accepted {total.get('accepted')}{rate.get('accepted', '')}  "
                  f"closed {total.get('closed')}  refused {total.get('refused')}"),
        _labelled("bytes    ", f"received {total.get('received_bytes')}"
                  f"{rate.get('received_bytes', '')}  sent {total.get('sent_bytes')}"
                  f"{rate.get('sent_bytes', '')}  log dropped {total.get('log_dropped')}"),
    ]  # fmt: skip


def _listening(snapshot: Snapshot) -> str:
    """Describe the one socket that carries no bytes."""
    listening = snapshot.listening
    used, fd = listening.get("backlog_used"), listening.get("fd")
    return (
        f"{listening.get('host')} port {listening.get('port')}  "
        f"{'closed' if fd == -1 else f'fd {fd}'}  "
        f"queue {'-' if used is None else used} of {listening.get('backlog')}"
    )


def _labelled(label: str, text: str) -> Text:
    return Text.assemble((label, "bold"), "  ", escape(text))


def _notice(control: Control, problem: str, width: int) -> Text:
    """Return the line for what is out of the ordinary."""
    if problem:
        text = f" no answer: {escape(problem)}; asking again"
        return Text(fitted(text, width), style="bold white on red")
    snapshot, rates = control.table.snapshot, control.table.snapshot.rates or {}
    lost, refused = snapshot.totals.get("log_dropped", 0), rates.get("refused", 0)
    log_problem = snapshot.server.get("log_problem")
    notices = {
        f"REFUSING {compact(refused)}/s": refused > 0,
        f"LOG CAN'T BE WRITTEN: {log_problem}": log_problem,
        f"LOG LINES LOST {compact(lost)}": lost > 0,
        "DRAINING": snapshot.server.get("draining"),
        "PAUSED": control.paused,
        "MOUSE": control.mouse,
        "ended sessions": control.table.shows_ended,
        f"only with {control.filter.text!r}": control.filter.text and not control.editing,
    }
    shown = "  ".join(notice for notice, is_true in notices.items() if is_true)
    return Text(escape(shown), style="bold yellow")


def _help(width: int) -> Iterator[Text]:
    indent = " " * (_HELP_INDENT if width > 2 * _HELP_INDENT else 4)
    for keys, meaning in _HELP_KEYS.items():
        text = f"{keys:<{_HELP_INDENT - 1}} {meaning}" if len(indent) > 4 else f"{keys}: {meaning}"
        yield from map(Text, wrap(text, max(8, width), subsequent_indent=indent))
    yield Text()
    yield from map(Text, wrap(_HELP, max(8, width)))


def _list(table: Table) -> Iterator[Text]:
    columns = table.columns()
    heads = Text(style="reverse")
    for number, (column, width) in enumerate(columns):
        is_sorted = column.sort == table.sort and not table.shows_ended
        mark = ("▼" if table.descending else "▲") if is_sorted else ""
        head = column.head(width, mark)
        heads.append(head if number else head[1:], style="bold" if mark else "")
    yield heads
    for session in table.visible():
        yield _row(session, columns)


def _row(session: LiveSession | EndedSession, columns: list[tuple[Column, int]]) -> Text:
    row = Text()
    for number, (column, width) in enumerate(columns):
        style = _STATES.get(column.text(session), "") if column.sort == "state" else ""
        row.append((" " if number else "") + column.cell(session, width), style=style)
    return row


def _foot(control: Control, width: int) -> Text:
    if control.editing:
        return _typed(control.filter, width)
    if control.helping:
        return Text("any key goes back", style="dim")
    table = control.table
    count = len(table.rows())
    last = min(table.top + table.height, count)
    place = f"{min(table.top + 1, count)}-{last} of {count}"
    return Text.assemble((place, "bold"), (f"  {_KEYS}", "dim"))


def _typed(line: LineEditor, width: int) -> Text:
    """Return the line that is being typed, with its cursor in view."""
    label = "filter: "
    start = max(0, line.cursor + len(label) + 1 - width)
    shown = line.text[start:] + " "
    foot = Text.assemble((label, "bold"), shown)
    place = len(label) + line.cursor - start
    foot.stylize("reverse", place, place + 1)
    return foot


def _rendered(lines: list[Text], width: int) -> list[str]:
    """Return the lines as the terminal takes them, none longer than it is wide."""
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    with console.capture() as captured:
        for line in lines:
            line.truncate(width, overflow="ellipsis")
            console.print(line, no_wrap=True, overflow="crop", crop=True)
    return captured.get().split("\n")[: len(lines)]


# -- where there is no screen -------------------------------------------------------------


def plain(snapshot: Snapshot, url: str) -> Iterator[str]:
    """Return one snapshot as plain lines; there are no rates in one snapshot."""
    for line in _facts(snapshot, url):
        yield line.plain
    yield ""
    columns = [column for column in COLUMNS if not column.sort.endswith("_rate")]
    cells = [[column.title for column in columns]]
    cells += [[escape(column.text(row)) for column in columns] for row in snapshot.sessions]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            f"{cell:>{width}}" if column.is_number else f"{cell:<{width}}"
            for column, cell, width in zip(columns, row, widths, strict=True)
        )
        yield "  ".join(padded).rstrip()
