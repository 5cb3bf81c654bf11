"""Figures and verdicts as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from echo.logs.reader import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from echo.logs.promises import Audit

_AGES = 1e10
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def size(count: int | None) -> str:
    """Return bytes.

    >>> size(1234), size(5_000_000_000), size(None)
    ('1.2 kB', '5.0 GB', '-')
    """
    return "-" if count is None else decimal(count)


def number(count: int | None) -> str:
    """Return a count.

    >>> number(1234567), number(None)
    ('1,234,567', '-')
    """
    return "-" if count is None else f"{count:,}"


def span(seconds: float | None) -> str:
    """Return a duration.

    >>> span(0.0123), span(90), span(100_000), span(1e300), span(None)
    ('0.012 s', '1 min 30 s', '1 d 3 h', '1e+300 s', '-')
    """
    if seconds is None:
        return "-"
    if not 0 <= seconds < _AGES:  # no daemon lived so long
        return f"{seconds:g} s"
    for unit, name in _UNITS:
        if seconds >= unit:
            rest, smaller = _smaller(seconds % unit, unit)
            return f"{int(seconds // unit)} {name}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"


def _smaller(seconds: float, than: int) -> tuple[int, str]:
    unit, name = next((pair for pair in _UNITS if pair[0] < than), (1, "s"))
    return int(seconds // unit), name


def share(part: int, whole: int) -> str:
    """Return a part of a whole; what happened is never 0, and what is missing never 100.

    >>> share(1, 8), share(0, 0), share(1, 100_000), share(99_999, 100_000), share(0, 5)
    ('12.5 %', '-', '< 0.1 %', '> 99.9 %', '0 %')
    """
    if not whole:
        return "-"
    if part in (0, whole):
        return f"{100 * part // whole} %"
    percent = 100 * part / whole
    if percent < 0.05:
        return "< 0.1 %"
    return "> 99.9 %" if percent >= 99.95 else f"{percent:.1f} %"


def moment(text: str | None) -> str:
    """Return a time of the log, to the second.

    >>> moment("2026-01-31T10:00:00.000001Z")
    '2026-01-31 10:00:00 UTC'
    """
    return "-" if text is None else f"{text[:10]} {text[11:19]} UTC"


def tick(start: datetime, bar_seconds: int) -> str:
    """Return the label of a bar on the time axis, without what is shorter than a bar.

    >>> from datetime import datetime
    >>> [tick(datetime(2026, 1, 31, 10), width) for width in (1, 3600, 86400)]
    ['10:00:00', '01-31 10:00', '2026-01-31']
    """
    if bar_seconds >= 86400:
        return f"{start:%Y-%m-%d}"
    return f"{start:%m-%d %H:%M}" if bar_seconds >= 3600 else f"{start:%H:%M:%S}"


# Of both percentiles: the title, the name in the figures, and how a value is written.
PERCENTILES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("duration", "duration_s", span),
    ("received", "size_bytes", size),
)


_STATES = {"open": "still open", "crashed": "cut by a crash", "lost": "without an end"}


def verdict(found: Audit) -> list[str]:
    """Return the answers to what a person asks of an audit, a sentence each, the first in short."""
    if not found.events:
        return [f"No event of echod was found: the input holds {found.nothing}."]
    answers = [_promises(found), _clean_ends(found), _other_ends(found), _without_end(found)]
    return [answer for answer in [*answers, _runs(found)] if answer]


def _promises(found: Audit) -> str:
    if not found.breach_counts:
        return "No promise is broken."
    kinds = ", ".join(f"{kind} ({number(count)})" for kind, count in found.breach_counts.items())
    count = sum(found.breach_counts.values())
    return f"{number(count)} breach{'es' * (count > 1)} of the daemon's promises: {kinds}."


def _clean_ends(found: Audit) -> str:
    if not found.clean:
        return f"None of {counted(found.sessions, 'session')} ended cleanly."
    clean = counted(found.clean, "session")
    if found.clean_short:
        return f"In {number(found.clean_short)} of {clean} that ended cleanly, bytes are missing."
    every = "the one session that ended" if found.clean == 1 else f"all {clean} that ended"
    return f"Every byte came back in {every} cleanly ({size(found.clean_bytes)})."


def _other_ends(found: Audit) -> str:
    if not (others := found.closed - found.clean):
        return ""
    ended = f"{counted(others, 'session')} ended otherwise"
    if not found.untaken_sessions:
        return f"{ended}, and got every byte back that had been received."
    most = "; ".join(
        f"{end['session_id']} of {end['peer_ip']}: {number(end['bytes'])} ({end['reason']})"
        for end in found.untaken
    )
    most = f"most by {most}" if found.untaken_sessions > len(found.untaken) else most
    return (
        f"{ended}; {number(found.untaken_sessions)} of them did not take back"
        f" {counted(found.untaken_bytes, 'byte')} that had been received ({most})."
    )


def _without_end(found: Audit) -> str:
    if not found.without_end:
        return ""
    parts = ", ".join(f"{number(n)} {_STATES[state]}" for state, n in found.without_end.items())
    count = sum(found.without_end.values())
    return f"{counted(count, 'session')} {'has' if count == 1 else 'have'} no end: {parts}."


def _runs(found: Audit) -> str:
    if not found.runs:
        return ""
    runs = f"all {counted(found.runs, 'daemon')}" if found.runs > 1 else "the daemon"
    if not found.runs_not_compared:
        return f"The totals of {runs} were compared with the sessions."
    reasons = "; ".join(f"{number(n)} {why}" for why, n in found.runs_not_compared.items())
    compared = f"{number(found.runs_compared)} of {counted(found.runs, 'daemon')}"
    return f"The totals of {compared} were compared with the sessions; not compared: {reasons}."


def counted(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "session"), counted(2000, "session")
    ('1 session', '2,000 sessions')
    """
    return f"{number(count)} {noun}{'s' * (count != 1)}"


def facts(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the figures of a summary that are no table; what there is none of is left out."""
    more = {name: figures[state] for state, name in _STATES.items() if figures[state]}
    period = f"{moment(figures['first'])} to {moment(figures['last'])}"
    found = {
        "Log": f"{_files(figures['files'])}: {counted(figures['lines']['events'], 'event')}",
        "Daemons": _daemons(figures),
        "Period": period * bool(figures["first"]),
        "Sessions": f"{number(figures['accepted'])} accepted, {number(figures['closed'])} closed"
        + "".join(f", {number(count)} {name}" for name, count in more.items())
        + f"; at most {number(figures['at_once'])} at once",
        "Busiest": busiest(figures),
        "Bytes": f"{size(figures['received_bytes'])} received, {size(figures['sent_bytes'])} sent",
        "Ends": _shares(figures["reasons"]),
        "Refused": _shares(figures["refusals"]),
        "Left out": left_out(figures["lines"]),
    }
    return {name: text for name, text in found.items() if text}


def busiest(figures: Mapping[str, Any]) -> str:
    """Return the minute in which most sessions began."""
    if not (minute := figures["busiest_minute"]):
        return ""
    count = counted(minute["accepted"], "session")
    return f"{count} begun in the minute from {moment(minute['start'])}"


def _daemons(figures: Mapping[str, Any]) -> str:
    if not (last := figures["daemons"] and figures["daemons"][-1]):
        return ""
    where = f"{last['host']} port {last['port']}, version {last['version']}"
    return f"{where}, started {counted(figures['starts'], 'time')}"


def left_out(lines: Mapping[str, Any]) -> str:
    """Return what stands in the files beside events that are known, and what was to be left out."""
    parts = [
        counted(lines[kind], f"{kind.replace('_', ' ')} line") for kind in KINDS if lines[kind]
    ]
    if lines["small_sessions"]:
        parts.append(f"{counted(lines['small_sessions'], 'session')} below --min-bytes")
    for name in ("unknown_events", "unknown_fields", "unreadable_files"):
        if lines[name]:
            parts.append(f"{name.replace('_', ' ')}: {', '.join(lines[name])}")
    return "; ".join(parts)


def _files(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (names[-1] if names else "no file") + more


def _shares(counts: Mapping[str, int]) -> str:
    whole = sum(counts.values())
    return ", ".join(
        f"{name} {number(count)} ({share(count, whole)})" for name, count in counts.items()
    )
