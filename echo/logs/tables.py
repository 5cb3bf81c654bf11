"""The tables that a log becomes, in SQL. The vocabulary of `echo.events` names their columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from echo.events import (
    EVENTS,
    LOG_DROPPED,
    SERVER_STARTED,
    SERVER_STOPPED,
    SESSION_ACCEPTED,
    SESSION_CLOSED,
    SESSION_DATA,
    SESSION_REFUSED,
)
from echo.logs.lines import HEAD
from echo.logs.reader import FOREIGN, LINE_BYTES, MARK, SEPARATOR, TORN
from echo.logs.runs import MOST_RUNS, TOTALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WHOLE = (
    *("port", "pid", "peer_port", "proxy_port", "status_port", "fd", "active_sessions", "threads"),
    *("bytes", "received_bytes", "sent_bytes"),
    *("count", "accepted", "closed", "refused", "log_dropped"),
)
_TYPES = {
    **dict.fromkeys(_WHOLE, "BIGINT"),
    **dict.fromkeys(("duration_s", "uptime_s"), "DOUBLE"),
    "log_payload": "BOOLEAN",
    "limits": "JSON",
}
_FIELDS = [name for event in EVENTS.values() for name in (*event.fields, *event.optional)]
# Each field of the log and its type; one that the daemon has had since is text.
COLUMNS = {
    name: _TYPES.get(name, "VARCHAR") for name in dict.fromkeys(("level", "event", *_FIELDS))
}

TEXT = "text"  # the whole line, beside the columns
# What figures and promises need. The other columns take a third more time, and more memory than
# there is.
NEEDED = tuple(
    dict.fromkeys(
        (
            *("level", "event", *SESSION_ACCEPTED.fields, *SESSION_CLOSED.fields),
            *(*SESSION_REFUSED.fields, *SERVER_STOPPED.fields, *LOG_DROPPED.fields),
            *("pid", "where", "host", "port", "version"),
        )
    )
)
# Fields of frequent lines, whether they are kept or not.
_FREQUENT = (*SESSION_DATA.fields, *SESSION_ACCEPTED.optional, *SESSION_CLOSED.optional)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _texts(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


# -- lines: one row for each line, in their order; its rowid is the line's number ---------
#
# A column of an event that lacks it, or has it in the wrong type, is empty: `json_transform`
# makes no error of that. `kind` says what a line is that is no event. `others` names the
# fields that the vocabulary lacks; only where there are more keys than columns is it worked
# out, since that costs more than all the rest.


def create_lines(columns: Sequence[str]) -> str:
    """Return the statement that makes the table, empty."""
    typed = ", ".join(f'"{name}" {COLUMNS.get(name, "VARCHAR")}' for name in columns)
    return f"CREATE TABLE lines (timestamp TIMESTAMP, {typed}, kind VARCHAR, others VARCHAR[])"


def insert_lines(columns: Sequence[str]) -> str:
    """Read sanitized lines from the file that is the statement's parameter.

    The rows come in the order of the lines, which DuckDB guarantees as long as there is no join;
    a long list after IN would be one.
    """
    parsed = dict.fromkeys(name for name in (*columns, *_FREQUENT) if name != TEXT)
    shape = json.dumps({"timestamp": "VARCHAR", **{name: COLUMNS[name] for name in parsed}})
    known = _texts(("timestamp", *COLUMNS))
    present = " + ".join(f'(e."{name}" IS NOT NULL)::INT' for name in ("timestamp", *parsed))
    values = ", ".join("line" if name == TEXT else f'e."{name}"' for name in columns)
    return f"""
INSERT INTO lines
WITH raw AS (
    SELECT line, CASE WHEN json_valid(line) THEN line END AS json
    FROM read_csv(?, columns = {{'line': 'VARCHAR'}}, delim = '{SEPARATOR}', quote = '',
                  escape = '', header = false, auto_detect = false, new_line = '\\n',
                  max_line_size = {LINE_BYTES + 2})
), parsed AS (
    SELECT line, json, json_transform(json, '{shape}') AS e, len(json_keys(json)) AS keys FROM raw
), timed AS (
    SELECT *, CASE WHEN ends_with(e.timestamp, 'Z') THEN try_cast(e.timestamp AS TIMESTAMP)
                   ELSE try_cast(e.timestamp AS TIMESTAMPTZ)::TIMESTAMP END AS moment
    FROM parsed
)
SELECT CASE WHEN moment BETWEEN '1900-01-01' AND '9999-12-31' THEN moment END,
       {values},
       CASE WHEN try_cast(e.event AS ENUM ({_texts(EVENTS)})) IS NOT NULL THEN NULL
            WHEN e.event IS NOT NULL AND moment IS NOT NULL THEN NULL
            WHEN starts_with(line, '{MARK}') THEN line[2:]
            WHEN e IS NULL AND (starts_with(line, '{HEAD}') OR starts_with('{HEAD}', line)
                 OR (ends_with(line, '}}') AND contains(line, '":') AND line[1] <> '{{'))
            THEN '{TORN}' ELSE '{FOREIGN}' END,
       CASE WHEN keys > {present}
            THEN list_filter(json_keys(json), lambda k: k NOT IN ({known})) END
FROM timed
"""


# -- runs: each daemon's life; sessions: both their lines in one row --------------------------

# What a session's id begins with.
RUN_ID = "split_part(session_id, '-', 1)"

RUN_IDS = f"""
SELECT run_id, min(row), max(row), min(timestamp), max(timestamp),
       count(*) FILTER (event = '{SESSION_ACCEPTED.name}'),
       count(*) FILTER (event = '{SESSION_CLOSED.name}'),
       coalesce(sum(received_bytes) FILTER (event = '{SESSION_CLOSED.name}'), 0)::HUGEINT,
       coalesce(sum(sent_bytes) FILTER (event = '{SESSION_CLOSED.name}'), 0)::HUGEINT
FROM (SELECT {RUN_ID} AS run_id, rowid AS row, * FROM lines WHERE session_id IS NOT NULL)
GROUP BY run_id ORDER BY min(row) LIMIT {MOST_RUNS}
"""
STARTS = f"""
SELECT rowid, timestamp, pid FROM lines WHERE event = '{SERVER_STARTED.name}'
ORDER BY rowid LIMIT {MOST_RUNS}
"""
STOPS = f"""
SELECT rowid, timestamp, uptime_s, refused, {_names(TOTALS)} FROM lines
WHERE event = '{SERVER_STOPPED.name}' ORDER BY rowid LIMIT {MOST_RUNS}
"""
CREATE_RUNS = """
CREATE TABLE runs (run BIGINT, run_id VARCHAR, first_row BIGINT, last_row BIGINT, end_row BIGINT,
                   started_row BIGINT, stopped_row BIGINT, state VARCHAR, ended_at TIMESTAMP,
                   shared BOOLEAN)
"""

# A session whose first line is missing began when its duration says; one that a crash cut
# ended with its run. `drift` is by how much the clock changed between its two lines.
CREATE_SESSIONS = f"""
CREATE TABLE all_sessions AS
WITH pairs AS (
    SELECT session_id,
           min(rowid) FILTER (event = '{SESSION_ACCEPTED.name}') AS accepted_row,
           min(rowid) FILTER (event = '{SESSION_CLOSED.name}') AS closed_row,
           count(*) FILTER (event = '{SESSION_ACCEPTED.name}') AS accepted_lines,
           count(*) FILTER (event = '{SESSION_CLOSED.name}') AS closed_lines,
           any_value(duration_s) AS duration_s,
           min(timestamp) FILTER (event = '{SESSION_ACCEPTED.name}') AS accepted_at,
           min(timestamp) FILTER (event = '{SESSION_CLOSED.name}') AS closed_at
    FROM lines
    WHERE event IN ('{SESSION_ACCEPTED.name}', '{SESSION_CLOSED.name}') AND session_id IS NOT NULL
    GROUP BY session_id
), placed AS (SELECT *, coalesce(accepted_row, closed_row) AS row, {RUN_ID} AS run_id FROM pairs)
SELECT placed.*, run,
       epoch(closed_at) - epoch(accepted_at) - duration_s AS drift,
       coalesce(accepted_at, closed_at - CASE WHEN duration_s BETWEEN 0 AND 1e9
                THEN to_microseconds((duration_s * 1e6)::BIGINT) END) AS began,
       coalesce(closed_at, CASE WHEN state <> 'running' THEN ended_at END) AS ended,
       CASE WHEN closed_row IS NOT NULL THEN 'closed' WHEN state = 'stopped' THEN 'lost'
            WHEN state = 'crashed' THEN 'crashed' ELSE 'open' END AS state
FROM placed LEFT JOIN runs USING (run_id)
"""

# -- what a query sees ------------------------------------------------------------------


def create_views(
    conditions: Sequence[str],
    judged: Sequence[str],
    since: str | None,
    until: str | None,
    columns: Sequence[str],
) -> str:
    """Leave only the lines for which all conditions hold, and the sessions of those lines.

    `since` and `until`, of which lines are the former and not yet the latter, leave the sessions
    of which any part was in between. `chosen` are the lines themselves, `figured` those that a
    summary counts: the lines of whole sessions, and the chosen ones of none. `judged` are those
    whose breaches are reported: all conditions of `judged` hold for them.
    """
    time, sessions = ["true"], ["true"]
    if since:
        time.append(f"timestamp >= '{since}'")
        sessions.append(f"(ended IS NULL OR ended >= '{since}')")
    if until:
        time.append(f"timestamp < '{until}'")
        sessions.append(f"began < '{until}'")
    named, in_time = " AND ".join(conditions or ["true"]), " AND ".join(time)
    figured = f"{named} AND {in_time}"
    if conditions:
        sessions.append(f"session_id IN (SELECT session_id FROM lines WHERE {named})")
        figured = (
            f"{in_time} AND CASE WHEN session_id IS NULL THEN {named}"
            " ELSE session_id IN (SELECT session_id FROM chosen_sessions) END"
        )
    return f"""
CREATE VIEW chosen AS SELECT rowid AS row, * FROM lines WHERE {named} AND {in_time};
CREATE VIEW judged AS
SELECT rowid AS row FROM lines WHERE {" AND ".join(judged or ["true"])} AND {in_time};
CREATE VIEW events AS
SELECT timestamp, {_names(columns)}, others AS other_fields, files.name AS file,
       chosen.row - files.first_row + files.first_line AS line
FROM chosen JOIN files ON chosen.row BETWEEN files.first_row AND files.last_row WHERE kind IS NULL;
CREATE VIEW chosen_sessions AS SELECT * FROM all_sessions WHERE {" AND ".join(sessions)};
CREATE VIEW figured AS SELECT rowid AS row, * FROM lines WHERE {figured};
CREATE VIEW sessions AS
SELECT s.session_id, coalesce(a.peer_ip, c.peer_ip) AS peer_ip,
       coalesce(a.peer_port, c.peer_port) AS peer_port, began, ended, state, c.reason,
       c.received_bytes, c.sent_bytes, c.duration_s, run
FROM chosen_sessions s
LEFT JOIN lines a ON a.rowid = accepted_row LEFT JOIN lines c ON c.rowid = closed_row
"""
