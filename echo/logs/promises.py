"""The promises, as questions to the tables: each answer is a line that breaks one, or explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from echo.events import (
    EVENTS,
    LOG_DROPPED,
    LOG_REOPENED,
    SERVER_ERROR,
    SERVER_STOPPED,
    SESSION_ACCEPTED,
    SESSION_CLOSED,
    SESSION_REFUSED,
    Reason,
)
from echo.logs.feed import FOREIGN, HUGE, NOT_UTF8, TORN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TOTALS = ("accepted", "closed", "refused", "received_bytes", "sent_bytes")


@dataclass(frozen=True)
class Check:
    """One question to the tables: `rows` gives the row of each finding and what it is about.

    `text` takes what the other columns hold. What is no breach is a remark.
    """

    kind: str
    text: str
    rows: str
    breach: bool = True


def checks() -> Iterator[Check]:
    """Give all questions, in the order in which a reader wants the answers."""
    yield from _line_checks()
    yield from _session_checks()
    yield from _run_checks()


def _line_checks() -> Iterator[Check]:
    unfinished = "rowid IN (SELECT row FROM unfinished)"
    of_kind = "SELECT rowid AS row FROM lines WHERE kind ="
    yield Check(
        "torn line", "this line is a piece of an event", f"{of_kind} '{TORN}' AND NOT {unfinished}"
    )
    yield Check(
        "unfinished line",
        "the last line has no end yet: the daemon is writing it",
        f"{of_kind} '{TORN}' AND {unfinished}",
        breach=False,
    )
    for kind, text in (
        (FOREIGN, "not a line of the daemon: left out"),
        (HUGE, "too long for a line of the daemon: left out"),
        (NOT_UTF8, "not UTF-8: left out"),
    ):
        yield Check(f"{kind} line", text, f"{of_kind} '{kind}'", breach=False)
    yield Check("incomplete event", "{} lacks {}, or has it in a wrong type", _incomplete())
    yield Check(
        "unknown event",
        "{}: from a newer version?",
        f"SELECT rowid AS row, event FROM lines WHERE kind IS NULL AND event NOT IN "
        f"({_quoted(EVENTS)})",
        breach=False,
    )
    yield Check(
        "unknown reason",
        "a session ended for {}: from a newer version?",
        f"SELECT rowid AS row, reason FROM lines WHERE event = '{SESSION_CLOSED.name}'"
        f" AND reason NOT IN ({_quoted(Reason)})",
        breach=False,
    )
    yield Check("time runs backwards", "{} follows {}", _BACKWARDS)
    yield Check(
        "lines dropped",
        "the daemon could not write {} lines here",
        f"SELECT rowid AS row, count FROM lines WHERE event = '{LOG_DROPPED.name}'",
        breach=False,
    )


def _session_checks() -> Iterator[Check]:
    yield Check(
        "accepted twice",
        "session {} is accepted {} times",
        "SELECT accepted_row AS row, session_id, accepted_lines FROM all_sessions"
        " WHERE accepted_lines > 1",
    )
    yield Check(
        "closed twice",
        "session {} is closed {} times",
        "SELECT closed_row AS row, session_id, closed_lines FROM all_sessions"
        " WHERE closed_lines > 1",
    )
    for name in ("never closed", "never accepted"):
        yield Check(name, "session {}", f"SELECT row, session_id FROM gaps WHERE kind = '{name}'")
    yield Check(
        "closed before accepted",
        "session {}",
        "SELECT closed_row AS row, session_id FROM all_sessions WHERE closed_row < accepted_row",
    )
    yield Check(
        "bytes differ",
        "session {} ended with eof: {} bytes received, {} sent",
        "SELECT rowid AS row, session_id, received_bytes, sent_bytes FROM lines"
        f" WHERE event = '{SESSION_CLOSED.name}' AND reason = '{Reason.EOF}'"
        " AND sent_bytes <> received_bytes",
    )
    yield Check(
        "more sent than received",
        "session {} ended with {}: {} bytes received, {} sent",
        "SELECT rowid AS row, session_id, reason, received_bytes, sent_bytes FROM lines"
        f" WHERE event = '{SESSION_CLOSED.name}' AND reason <> '{Reason.EOF}'"
        " AND sent_bytes > received_bytes",
    )
    for name, text in _EXPLAINED.items():
        rows = f"SELECT row, session_id FROM gaps WHERE kind = '{name}'"
        yield Check(name, text, rows, breach=False)


_EXPLAINED = {
    "cut by a crash": "session {}: its daemon ended without a last word",
    "still open": "session {}: its daemon may still run",
    "lost by the log": "session {}: log.dropped tells of lines that could not be written",
    "before the log begins": "session {}: what came before is in a file that is not here",
}


def _run_checks() -> Iterator[Check]:
    for name in TOTALS:
        yield Check(
            f"total {name} differs",
            f"server.stopped says {{}} {name}, its sessions add up to {{}}",
            f'SELECT stopped_row AS row, "{name}", sum_{name} FROM compared'
            f' WHERE "{name}" <> sum_{name} AND why IS NULL',
        )
    yield Check(
        "totals not compared",
        "{}",
        "SELECT stopped_row AS row, why FROM compared WHERE why IS NOT NULL",
        breach=False,
    )


# -- the tables behind them -------------------------------------------------------------


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


# A session's id says whose it is.
_DAEMON = "split_part({}.session_id, '-', 1)"
# The events that the promises are about. Others may lack what later versions have.
_PROMISED = (SESSION_ACCEPTED, SESSION_CLOSED, SESSION_REFUSED, SERVER_STOPPED, LOG_DROPPED)


def _incomplete() -> str:
    """Find events that lack a field which the vocabulary promises."""
    branches = []
    for event in _PROMISED:
        missing = " ".join(f"""WHEN "{name}" IS NULL THEN '{name}'""" for name in event.fields)
        branches.append(f"WHEN '{event.name}' THEN CASE {missing} END")
    field = (
        "CASE WHEN timestamp IS NULL THEN 'timestamp' WHEN level IS NULL THEN 'level' "
        f"ELSE CASE event {' '.join(branches)} END END"
    )
    return (
        f"SELECT row, event, field FROM (SELECT rowid AS row, event, {field} AS field FROM lines"
        " WHERE kind IS NULL) WHERE field IS NOT NULL"
    )


# The log's own lines are stamped by its writer, beside the others and not in one order with them.
# So are the lines of another daemon that writes to the same log: of those, the ones that name a
# session are compared with their own daemon's.
_BACKWARDS = f"""
WITH stamped AS (
    SELECT rowid AS row, timestamp FROM lines
    WHERE timestamp IS NOT NULL AND event NOT IN ('{LOG_DROPPED.name}', '{LOG_REOPENED.name}')
          AND NOT (event = '{SERVER_ERROR.name}' AND coalesce("where", '') = 'log')
), steps AS (
    SELECT row, timestamp, lag(row) OVER () AS row_before, lag(timestamp) OVER () AS before
    FROM stamped
), back AS (SELECT * FROM steps WHERE timestamp < before)
SELECT row, back.timestamp, before
FROM back ASOF JOIN logs ON row >= logs.first_row
JOIN runs ON row BETWEEN runs.first_row AND runs.last_row JOIN sums USING (run)
JOIN lines this ON this.rowid = row JOIN lines that ON that.rowid = row_before
WHERE row_before >= logs.first_row
      AND (NOT coalesce(mixed, false) OR {_DAEMON.format("this")} = {_DAEMON.format("that")})
"""

# Sessions that lack a line, each with what explains it, or with what it is where nothing does.
CREATE_GAPS = f"""
CREATE TEMP TABLE gaps AS
WITH dropped AS (
    SELECT rowid AS row, count FROM lines WHERE event = '{LOG_DROPPED.name}'
), losses AS (
    SELECT run, max(dropped.row) AS last_row, min(dropped.row) AS first_row, sum(count) AS lines
    FROM dropped ASOF JOIN runs ON dropped.row >= runs.first_row GROUP BY run
), lacking AS (
    SELECT s.row, session_id, s.state, s.run, closed_row, started_row IS NULL AS begins_late,
           CASE WHEN closed_row IS NULL THEN losses.last_row > s.row
                ELSE losses.first_row < s.row END AS lossy, lines
    FROM all_sessions s JOIN runs USING (run) LEFT JOIN losses USING (run)
    WHERE accepted_row IS NULL OR closed_row IS NULL
), counted AS (
    SELECT *, count(*) FILTER (lossy AND state IN ('closed', 'lost')) OVER (PARTITION BY run)
           AS lost FROM lacking
)
SELECT row, session_id, CASE
    WHEN state = 'open' THEN 'still open'
    WHEN state = 'crashed' THEN 'cut by a crash'
    WHEN closed_row IS NOT NULL AND begins_late THEN 'before the log begins'
    WHEN lossy AND lost <= lines THEN 'lost by the log'
    WHEN closed_row IS NULL THEN 'never closed' ELSE 'never accepted' END AS kind
FROM counted
"""

# What the lines of each run add up to, and whether there are sessions of several daemons in it.
CREATE_SUMS = f"""
CREATE TEMP TABLE sums AS
    SELECT run, count(*) FILTER (event = '{SESSION_ACCEPTED.name}') AS sum_accepted,
           count(*) FILTER (event = '{SESSION_CLOSED.name}') AS sum_closed,
           coalesce(sum(count) FILTER (event = '{SESSION_REFUSED.name}'), 0) AS sum_refused,
           coalesce(sum(received_bytes) FILTER (event = '{SESSION_CLOSED.name}'), 0)
           AS sum_received_bytes,
           coalesce(sum(sent_bytes) FILTER (event = '{SESSION_CLOSED.name}'), 0) AS sum_sent_bytes,
           sum(count) FILTER (event = '{LOG_DROPPED.name}') AS dropped,
           count(*) FILTER (event = '{SERVER_STOPPED.name}') AS stops,
           min(daemon) <> max(daemon) AS mixed
    FROM (SELECT rowid AS row, *, {_DAEMON.format("lines")} AS daemon FROM lines)
    JOIN runs ON row BETWEEN runs.first_row AND runs.last_row GROUP BY run
"""

# Each daemon's life that has an end: what it says, what its sessions add up to, and why the
# two can't be compared where they can't.
CREATE_COMPARED = f"""
CREATE TEMP TABLE compared AS
WITH neighbours AS (
    SELECT *, lag(state) OVER (PARTITION BY log ORDER BY run) AS state_before FROM runs
)
SELECT stopped_row, {", ".join(f'stopped."{name}"' for name in TOTALS)}, sums.*,
       stopped.accepted + stopped.closed - sum_accepted - sum_closed AS missing,
       CASE WHEN started_row IS NULL THEN 'the daemon began in a file that is not here'
            WHEN missing BETWEEN 1 AND dropped
            THEN 'log.dropped tells of lines that could not be written'
            WHEN mixed AND (stops > 1 OR state_before = 'crashed')
            THEN 'several daemons wrote to one log' END AS why
FROM neighbours JOIN sums USING (run) JOIN lines stopped ON stopped.rowid = stopped_row
"""
