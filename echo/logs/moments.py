"""Moments as people write them: a time of the log, 15:00, 10 min ago."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, time, timedelta


class BadMoment(ValueError):
    """A text that names no moment."""


def moment(text: str, now: datetime, since: datetime | None = None) -> datetime:
    """Read an ISO time, a time of day, or a time that has passed; give it in UTC.

    What names no zone is UTC, as the log is. A time of day is the last one before `now`, or
    the first one after `since` where that is given. How long ago something was is left to
    DuckDB, whose intervals know the units, their plurals, their short forms and the lengths of
    months. Raises `BadMoment`; `ModuleNotFoundError` where DuckDB is asked for and missing.

    >>> now = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
    >>> moment("2026-01-30T12:00:00.5+02:00", now).isoformat()
    '2026-01-30T10:00:00.500000+00:00'
    >>> moment("15:00", now).isoformat()
    '2026-01-30T15:00:00+00:00'
    >>> moment("10 min ago", now).isoformat()
    '2026-01-31T09:50:00+00:00'
    """
    text = text.strip()
    with suppress(ValueError, OverflowError):
        return utc(datetime.fromisoformat(text))
    with suppress(ValueError, OverflowError):
        return _at(time.fromisoformat(text), now, since)
    return _ago(text, now)


def _at(time_of_day: time, now: datetime, since: datetime | None) -> datetime:
    found = utc(datetime.combine(since or now, time_of_day))
    if since:
        return found if found > since else found + timedelta(days=1)
    return found if found <= now else found - timedelta(days=1)


def utc(found: datetime) -> datetime:
    """Give a time in UTC, which it is in where it names no zone."""
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _ago(text: str, now: datetime) -> datetime:
    import duckdb

    words = text.removesuffix("ago").strip(" -")
    with duckdb.connect(":memory:") as database:
        try:
            row = database.execute(
                "SELECT ?::TIMESTAMP - try_cast(? AS INTERVAL)", [now.replace(tzinfo=None), words]
            ).fetchone()
        except duckdb.Error as error:  # before the year 1
            raise BadMoment(text) from error
    if row is None or not isinstance(row[0], datetime):
        raise BadMoment(text)
    return row[0].replace(tzinfo=UTC)
