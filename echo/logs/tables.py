"""The tables that a log becomes, in SQL; the vocabulary of `echo.events` names their columns."""

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
from echo.logs.feed import FOREIGN, LINE_BYTES, MARK, SEPARATOR, TORN
from echo.logs.lines import HEAD

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
# What the figures and the promises are worked out of; the others take a third more time, and more
# memory than there is.
NEEDED = tuple(
    dict.fromkeys(
        (
            *("level", "event", *SESSION_ACCEPTED.fields, *SESSION_CLOSED.fields),
            *(*SESSION_REFUSED.fields, *SERVER_STOPPED.fields, *LOG_DROPPED.fields),
            *("pid", "where"),
        )
    )
)
# Fields of lines of which a log may have a great many, kept or not.
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
    """Make the table, empty."""
    typed = ", ".join(f'"{name}" {COLUMNS.get(name, "VARCHAR")}' for name in columns)
    return f"CREATE TABLE lines (timestamp TIMESTAMP, {typed}, kind VARCHAR, others VARCHAR[])"


def insert_lines(columns: Sequence[str]) -> str:
    """Read tamed lines from the file that is the statement's parameter.

    The rows come in the order of the lines, which DuckDB warrants as long as there is no join:
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


# -- runs: from one server.started to the next; sessions: both their lines in one row -----

CREATE_RUNS = f"""
CREATE TABLE runs AS
WITH starts AS (
    SELECT rowid AS first_row, rowid AS started_row FROM lines
    WHERE event = '{SERVER_STARTED.name}'
    UNION ALL
    SELECT first_row, NULL FROM logs
    WHERE first_row NOT IN (SELECT rowid FROM lines WHERE event = '{SERVER_STARTED.name}')
), bounds AS (
    SELECT row_number() OVER (ORDER BY starts.first_row) AS run, starts.first_row, started_row, log,
           logs.last_row AS log_end,
           least(lead(starts.first_row) OVER (ORDER BY starts.first_row) - 1, logs.last_row)
           AS last_row
    FROM starts ASOF JOIN logs ON starts.first_row >= logs.first_row
), ends AS (
    SELECT run, max(timestamp) AS ended_at,
           min(lines.rowid) FILTER (event = '{SERVER_STOPPED.name}') AS stopped_row
    FROM lines JOIN bounds ON lines.rowid BETWEEN bounds.first_row AND bounds.last_row GROUP BY run
)
SELECT bounds.*, stopped_row, ended_at, started.pid,
       CASE WHEN stopped_row IS NOT NULL THEN 'stopped'
            WHEN last_row < log_end THEN 'crashed' END AS state
FROM bounds JOIN ends USING (run) LEFT JOIN lines started ON started.rowid = started_row
"""

# A session whose first line is missing began when its duration says; one that a crash cut
# ended with its run.
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
), placed AS (SELECT *, coalesce(accepted_row, closed_row) AS row FROM pairs)
SELECT placed.*, run,
       coalesce(accepted_at, closed_at - CASE WHEN duration_s BETWEEN 0 AND 1e9
                THEN to_microseconds((duration_s * 1e6)::BIGINT) END) AS began,
       coalesce(closed_at, CASE WHEN state <> 'running' THEN ended_at END) AS ended,
       CASE WHEN closed_row IS NOT NULL THEN 'closed' WHEN state = 'stopped' THEN 'lost'
            WHEN state = 'crashed' THEN 'crashed' ELSE 'open' END AS state
FROM placed JOIN runs ON placed.row BETWEEN runs.first_row AND runs.last_row
"""

# -- what a query sees ------------------------------------------------------------------


def create_views(
    conditions: list[str], since: str | None, until: str | None, columns: Sequence[str]
) -> str:
    """Leave only the lines for which all conditions hold, and the sessions of those lines.

    `since` and `until`, of which lines are the former and not yet the latter, leave the sessions
    of which any part was in between.
    """
    sessions = ["true"]
    if conditions:
        named = " AND ".join(conditions)
        sessions.append(f"session_id IN (SELECT session_id FROM lines WHERE {named})")
    if since:
        conditions = [*conditions, f"timestamp >= '{since}'"]
        sessions.append(f"(ended IS NULL OR ended >= '{since}')")
    if until:
        conditions = [*conditions, f"timestamp < '{until}'"]
        sessions.append(f"began < '{until}'")
    return f"""
CREATE VIEW chosen AS SELECT rowid AS row, * FROM lines WHERE {" AND ".join(conditions) or "true"};
CREATE VIEW events AS
SELECT timestamp, {_names(columns)}, others AS other_fields, files.name AS file,
       chosen.row - files.first_row + 1 AS line
FROM chosen JOIN files ON chosen.row BETWEEN files.first_row AND files.last_row WHERE kind IS NULL;
CREATE VIEW chosen_sessions AS SELECT * FROM all_sessions WHERE {" AND ".join(sessions)};
CREATE VIEW sessions AS
SELECT s.session_id, coalesce(a.peer_ip, c.peer_ip) AS peer_ip,
       coalesce(a.peer_port, c.peer_port) AS peer_port, began, ended, state, c.reason,
       c.received_bytes, c.sent_bytes, c.duration_s, run
FROM chosen_sessions s
LEFT JOIN lines a ON a.rowid = accepted_row LEFT JOIN lines c ON c.rowid = closed_row
"""
