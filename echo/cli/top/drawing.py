"""What `echod top` draws: a screen of lines, and a table where there is no screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from echo.cli.top.columns import COLUMNS, ENDED_COLUMNS, clock, compact, fitted, fitting
from echo.escape import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echo.cli.top.columns import Column
    from echo.cli.top.control import Control
    from echo.client.live import EndedSession, LiveSession, Sample

_STATES = {"sending": "yellow", "draining": "red"}
_KEYS = "F1 help  / filter  s sort  r reverse  e ended  space pause  q quit"
_HELP = """\
 up down PgUp PgDn Home End   scroll, also j k g G
 s F6 >   <                   sort by the next column, by the one before
 r                            the other way round
 / F4                         filter: part of a peer, a state, an id; Esc clears it
 e Tab                        the last sessions that are over, and why; and back
 space p                      pause, and go on
 q F10 Ctrl-C                 quit

 FD is the daemon's descriptor of the session's socket; all of them share the
 port of the listening socket. QUEUE counts the connections that the kernel has
 finished and the daemon has not accepted yet. RECV and SENT are bytes, as the
 daemon sees them: sending is a session whose peer has not taken all of its echo.

 Any key goes back."""
# Lines that are no sessions: four of facts, one of notices, the heads, the keys.
_OTHER_LINES = 7


def screen(control: Control, url: str, problem: str, size: tuple[int, int]) -> list[str]:
    """Give the lines of a screen of so many columns and lines."""
    width, height = size
    control.width, control.page = width, max(1, height - _OTHER_LINES)
    lines = [*_facts(control.sample, url), _notice(control, problem, width)]
    if control.helping:
        lines += [Text(line) for line in _HELP.splitlines()]
    else:
        columns = fitting(width, ENDED_COLUMNS if control.looking_back else COLUMNS)
        lines += _list(control, columns)
    lines = lines[: height - 1]
    lines += [Text()] * (height - 1 - len(lines))
    return _rendered([*lines, _foot(control)], width)


def _facts(sample: Sample, url: str) -> list[Text]:
    server, totals, rates = sample.server, sample.totals, sample.rates or {}
    rate = {name: f" ({compact(rates[name])}/s)" if name in rates else "" for name in totals}
    limit = dict(server.get("limits") or {}).get("max_sessions", "?")
    total = {name: compact(count) for name, count in totals.items()}
    return [
        _labelled("echod top", f"{url}  pid {server['pid']}  loop {server.get('loop')}"
                  f"  up {clock(sample.uptime_s)}  {server.get('version')}"),
        _labelled("listening", f"{_listening(sample)}  threads {totals.get('threads')}"),
        _labelled("sessions ", f"{totals.get('active_sessions', '?')} of {limit}  "
                  f"accepted {total.get('accepted')}{rate.get('accepted', '')}  "
                  f"closed {total.get('closed')}  refused {total.get('refused')}"),
        _labelled("bytes    ", f"received {total.get('received_bytes')}"
                  f"{rate.get('received_bytes', '')}  sent {total.get('sent_bytes')}"
                  f"{rate.get('sent_bytes', '')}  log dropped {total.get('log_dropped')}"),
    ]  # fmt: skip


def _listening(sample: Sample) -> str:
    """Describe the one socket that carries no bytes."""
    listening = sample.listening
    used = listening.get("backlog_used")
    queue = "?" if used is None else used
    return (
        f"{listening.get('host')} port {listening.get('port')}  fd {listening.get('fd')}  "
        f"queue {queue} of {listening.get('backlog')}"
    )


def _labelled(label: str, text: str) -> Text:
    return Text.assemble((label, "bold green"), "  ", escape(text))


def _notice(control: Control, problem: str, width: int) -> Text:
    """Give the line for what is unusual."""
    if problem:
        text = f" no answer: {escape(problem)}; it is asked again and again"
        return Text(fitted(text, width), style="bold white on red")
    notices = []
    if control.paused:
        notices.append("PAUSED")
    if control.sample.server.get("draining"):
        notices.append("DRAINING")
    if control.looking_back:
        notices.append("the last sessions that are over")
    if control.wanted and not control.editing:
        notices.append(f"only with {control.wanted!r}")
    return Text(escape("  ".join(notices)), style="bold yellow")


def _list(control: Control, columns: tuple[Column, ...]) -> Iterator[Text]:
    heads = Text(style="reverse")
    for number, column in enumerate(columns):
        is_sorted = column.sort == control.sort and not control.looking_back
        mark = ("▼" if control.descending else "▲") if is_sorted else ""
        heads.append((" " if number else "") + column.head(mark), style="bold" if mark else "")
    yield heads
    for session in control.visible():
        yield _row(session, columns)


def _row(session: LiveSession | EndedSession, columns: tuple[Column, ...]) -> Text:
    row = Text()
    for number, column in enumerate(columns):
        style = _STATES.get(column.text(session), "") if column.sort == "state" else ""
        row.append((" " if number else "") + column.cell(session), style=style)
    return row


def _foot(control: Control) -> Text:
    if control.editing:
        return Text.assemble(("filter: ", "bold"), control.wanted, ("_", "reverse"))
    count = len(control.rows())
    last = min(control.top + control.page, count)
    place = f"{min(control.top + 1, count)}-{last} of {count}"
    return Text.assemble((_KEYS, "dim"), f"  {place}")


def _rendered(lines: list[Text], width: int) -> list[str]:
    """Give the lines as the terminal takes them, none longer than it is wide."""
    console = Console(highlight=False, markup=False, emoji=False, width=width)
    with console.capture() as captured:
        for line in lines:
            line.truncate(width)
            console.print(line, no_wrap=True, overflow="crop", crop=True)
    return captured.get().split("\n")[: len(lines)]


# -- where there is no screen -------------------------------------------------------------


def snapshot(sample: Sample, url: str) -> Iterator[str]:
    """Give one sample as plain lines; of one sample there are no rates."""
    for line in _facts(sample, url):
        yield line.plain
    yield ""
    columns = [column for column in COLUMNS if not column.sort.endswith("_rate")]
    cells = [[column.title for column in columns]]
    cells += [[escape(column.text(row)) for column in columns] for row in sample.sessions]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            f"{cell:>{width}}" if column.is_number else f"{cell:<{width}}"
            for column, cell, width in zip(columns, row, widths, strict=True)
        )
        yield "  ".join(padded).rstrip()
