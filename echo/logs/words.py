"""Figures as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from echo.logs.feed import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

_AGES = 1e10
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def size(count: int | None) -> str:
    """Write bytes.

    >>> size(1234), size(5_000_000_000), size(None)
    ('1.2 kB', '5.0 GB', '-')
    """
    return "-" if count is None else decimal(count)


def number(count: int | None) -> str:
    """Write a count.

    >>> number(1234567), number(None)
    ('1,234,567', '-')
    """
    return "-" if count is None else f"{count:,}"


def span(seconds: float | None) -> str:
    """Write a duration.

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
    """Write a part of a whole.

    >>> share(1, 8), share(0, 0)
    ('12.5 %', '-')
    """
    return f"{100 * part / whole:.1f} %" if whole else "-"


def moment(text: str | None) -> str:
    """Write a time of the log, to the second.

    >>> moment("2026-01-31T10:00:00.000001Z")
    '2026-01-31 10:00:00 UTC'
    """
    return "-" if text is None else f"{text[:10]} {text[11:19]} UTC"


def tick(start: datetime, bar_seconds: int) -> str:
    """Write where on the time axis a bar is: what is shorter than a bar is left out.

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


_STATES = {"open": "open", "crashed": "cut by a crash", "lost": "without an end"}


def facts(figures: Mapping[str, Any]) -> dict[str, str]:
    """Write the figures of a summary that are no table; what there is none of is left out."""
    more = {name: figures[state] for state, name in _STATES.items() if figures[state]}
    found = {
        "Log": f"{_files(figures['files'])}: {number(figures['lines']['events'])} events",
        "Period": f"{moment(figures['first'])} to {moment(figures['last'])}",
        "Sessions": f"{number(figures['accepted'])} accepted, {number(figures['closed'])} closed"
        + "".join(f", {number(count)} {name}" for name, count in more.items())
        + f"; at most {number(figures['at_once'])} at once",
        "Bytes": f"{size(figures['received_bytes'])} received, {size(figures['sent_bytes'])} sent",
        "Ends": _shares(figures["reasons"]),
        "Refused": _shares(figures["refusals"]),
        "Left out": left_out(figures["lines"]),
    }
    return {name: text for name, text in found.items() if text}


def left_out(lines: Mapping[str, Any]) -> str:
    """Say what stands in the files beside events that are known."""
    parts = [
        f"{number(lines[kind])} {kind.replace('_', ' ')} line{'s' * (lines[kind] > 1)}"
        for kind in KINDS
        if lines[kind]
    ]
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
