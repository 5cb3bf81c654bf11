"""Times as people write them on a command line, by a grammar that is written down.

    now | today | yesterday | today TIME | yesterday TIME
    @SECONDS                     since 1970, as @1738200000
    DATE | DATE TIME | DATETTIME ISO 8601, as 2026-01-31, 2026-01-31T15:00:05.5+01:00
    TIME                         one or two digits of hours, as 9:30, 15:00:05Z
    SPAN | SPAN ago              as 10 min, 2h, 1 hour 30 minutes ago, 1 month ago

A TIME may end with Z, UTC or an offset. Letters may be of any case.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta, tzinfo

EXAMPLES = "2026-01-31T15:00, 9:30, yesterday 15:00, @1738200000, 10 min ago, 2h"

_DATE = r"(?P<date>\d{4}-\d\d-\d\d|\d{8}|today|yesterday)"
_ZONE = r"\s*(?P<zone>z|utc|[+-]\d\d(?::?\d\d)?)?"
_TIME = r"(?P<hour>[01]?\d|2[0-3])(?P<rest>:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)"
_TIME_OF_DAY = (_TIME + _ZONE).replace("?P<", "?P<only_")
_MOMENT = re.compile(rf"{_DATE}(?:(?:\s+|t){_TIME}?{_ZONE})?|{_TIME_OF_DAY}")
_PART = r"(\d+(?:\.\d+)?)\s*([a-z]+)"
_SPAN = re.compile(rf"-?\s*({_PART}(?:[\s,]*{_PART})*)\s*(?:ago)?")
_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
    **dict.fromkeys(("w", "week", "weeks"), 7 * 86400),
}
_MONTHS = {
    **dict.fromkeys(("mon", "month", "months"), 1),
    **dict.fromkeys(("y", "year", "years"), 12),
}


class BadTime(ValueError):
    """A text that names no time."""


def parse_time(
    text: str, now: datetime, since: datetime | None = None, zone: tzinfo = UTC
) -> datetime:
    """Return the time that a text names, in UTC; raise `BadTime` for any other text.

    What names no zone is in `zone`. A time of day is the last one before `now`, or the first one
    after `since` where that is given.

    >>> now = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
    >>> parse_time("2026-01-30T12:00:00.5+02:00", now).isoformat()
    '2026-01-30T10:00:00.500000+00:00'
    >>> parse_time("15:00", now).isoformat()
    '2026-01-30T15:00:00+00:00'
    >>> parse_time("10 min ago", now).isoformat()
    '2026-01-31T09:50:00+00:00'
    """
    plain = text.strip().lower()
    try:
        if plain == "now":
            return now
        if re.fullmatch(r"@\d+(\.\d+)?", plain):
            return datetime.fromtimestamp(float(plain[1:]), UTC)
        if match := _MOMENT.fullmatch(plain):
            return _moment(match, now, since, zone)
        if match := _SPAN.fullmatch(plain):
            return _ago(match[1], now, zone)
    except (ValueError, OverflowError, OSError, KeyError) as error:  # no such day, unit, year
        raise BadTime(text) from error
    raise BadTime(text)


def _moment(match: re.Match[str], now: datetime, since: datetime | None, zone: tzinfo) -> datetime:
    date, time = match["date"], match["hour"] or match["only_hour"]
    rest, named = (match["rest"] or match["only_rest"]), (match["zone"] or match["only_zone"])
    clock = f"{int(time):02}{rest or ':00'}" if time else "00:00"
    offset = ("+00:00" if named in ("z", "utc") else named) if named else ""
    if date in ("today", "yesterday") or not date:
        base = (since if since and not date else now).astimezone(_zone(offset, zone))
        day = base.date() - timedelta(days=date == "yesterday")
    else:
        day = datetime.fromisoformat(date).date()
    found = _in_zone(datetime.fromisoformat(f"{day}T{clock}{offset}"), zone)
    if date:
        return found.astimezone(UTC)
    if since:
        return (found if found > since else found + timedelta(days=1)).astimezone(UTC)
    return (found if found <= now else found - timedelta(days=1)).astimezone(UTC)


def _zone(offset: str, zone: tzinfo) -> tzinfo | None:
    return datetime.fromisoformat(f"2000-01-01T00:00{offset}").tzinfo if offset else zone


def _in_zone(found: datetime, zone: tzinfo) -> datetime:
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _ago(span: str, now: datetime, zone: tzinfo) -> datetime:
    seconds, months = 0.0, 0
    for number, unit in re.findall(_PART, span):
        if unit in _MONTHS:
            months += int(number) * _MONTHS[unit]
        else:
            seconds += float(number) * _SECONDS[unit]
    here = now.astimezone(zone)
    year, month = divmod(here.year * 12 + here.month - 1 - months, 12)
    day = min(here.day, monthrange(year, month + 1)[1])
    moved = here.replace(year=year, month=month + 1, day=day).astimezone(UTC)
    return moved - timedelta(seconds=seconds)


def utc(found: datetime) -> datetime:
    """Return a time in UTC, which it is in where it names no zone."""
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
