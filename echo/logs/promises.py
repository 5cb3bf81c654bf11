"""The daemon's promises, held against a log: what breaks one, what has an explanation, the verdict.

Nothing is a breach that a healthy log can hold, whatever rotated, shipped or joined it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from echo.events import (
    EVENTS,
    LOG_DROPPED,
    LOG_REOPENED,
    SERVER_ERROR,
    SERVER_STARTED,
    SERVER_STOPPED,
    SESSION_ACCEPTED,
    SESSION_CLOSED,
    SESSION_REFUSED,
    Reason,
)
from echo.logs.reader import FOREIGN, HUGE, NOT_UTF8, TORN
from echo.logs.runs import DROPPED, MOST_RUNS, TOTALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from echo.logs.database import LogDatabase
    from echo.logs.runs import Run

# Of each kind of finding this many are named one by one; all are counted.
MOST_OF_A_KIND = 100
# Sessions whose bytes did not all come back that are named in the verdict.
_MOST_UNTAKEN = 3
# A smaller step of the clock is lost among the moments between two measurements.
_LEAST_STEP_S = 1.0
# Steps back that sessions are asked about.
_MOST_STEPS = 1000


@dataclass(frozen=True)
class Finding:
    """One thing found: of what kind, in which file and line, and what about it."""

    kind: str
    file: str
    line: int
    text: str


@dataclass
class Audit:
    """What was found. `breaches` break a promise, `remarks` have an explanation.

    Both name at most `MOST_OF_A_KIND` of a kind; `breach_counts` and `remark_counts` count all.
    `events` counts what was read, `nothing` says what there was instead where it is 0.
    `clean` counts the sessions that ended with eof; `untaken` names those that left most bytes.
    """

    events: int = 0
    nothing: str = ""
    sessions: int = 0
    closed: int = 0
    clean: int = 0
    clean_bytes: int = 0
    clean_short: int = 0
    untaken_sessions: int = 0
    untaken_bytes: int = 0
    untaken: list[dict[str, Any]] = field(default_factory=list)
    without_end: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    runs_compared: int = 0
    runs_not_compared: dict[str, int] = field(default_factory=dict)
    breaches: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    breach_counts: dict[str, int] = field(default_factory=dict)
    remark_counts: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether there were events, and nothing breaks a promise."""
        return self.events > 0 and not self.breach_counts

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values for JSON."""
        both = {name: [vars(f) for f in getattr(self, name)] for name in ("breaches", "remarks")}
        return {"passed": self.passed, **vars(self), **both}


@dataclass(frozen=True)
class Check:
    """One question: `rows` selects the row of each finding and what `text` is filled with.

    What is no breach is a remark.
    """

    kind: str
    text: str
    rows: str
    breach: bool = True


def audit(database: LogDatabase) -> Audit:
    """Check the whole log, and return what `database.wanted` asks for.

    A finding is about the line it names: it counts where that line is wanted.
    """
    found = Audit()
    _prepare(database)
    _count_sessions(database, found)
    for check in checks():
        _apply(database, check, found)
    if database.lines.skipped:
        counts, kind = found.remark_counts, f"{FOREIGN} line"
        counts[kind] = counts.get(kind, 0) + database.lines.skipped
    if not found.events:
        found.nothing = _what_instead(database)
    return found


def _prepare(database: LogDatabase) -> None:
    """Make the tables that the checks ask."""
    database.execute("CREATE TEMP TABLE unfinished (row BIGINT)")
    database.fill("unfinished", [[row] for row in sorted(database.lines.unfinished)])
    database.execute(_CREATE_GAPS)
    database.execute(
        "CREATE TEMP TABLE differing (row BIGINT, name VARCHAR, total BIGINT, sum HUGEINT)"
    )
    database.execute("CREATE TEMP TABLE not_compared (row BIGINT, why VARCHAR)")
    _compare_totals(database)
    database.execute(
        "CREATE TEMP TABLE steps (row BIGINT, found VARCHAR, before VARCHAR, bad BOOLEAN)"
    )
    database.fill("steps", _steps_back(database))


def _apply(database: LogDatabase, check: Check, found: Audit) -> None:
    everything = database.wanted.takes_foreign_lines
    wanted = "true" if everything else "row IN (SELECT row FROM judged)"
    database.execute(f"CREATE OR REPLACE TEMP TABLE found AS {check.rows}")
    (count,) = database.row(f"SELECT count(*) FROM found WHERE {wanted}")
    if not count:
        return
    findings, counts = (
        (found.breaches, found.breach_counts)
        if check.breach
        else (found.remarks, found.remark_counts)
    )
    counts[check.kind] = counts.get(check.kind, 0) + count
    named = database.rows(f"SELECT * FROM found WHERE {wanted} ORDER BY row LIMIT {MOST_OF_A_KIND}")
    for row, *values in named:
        findings.append(Finding(check.kind, *database.lines.place(row), check.text.format(*values)))


# -- the verdict's figures -----------------------------------------------------------------


def _count_sessions(database: LogDatabase, found: Audit) -> None:
    eof = f"reason = '{Reason.EOF}'"
    (found.events,) = database.row("SELECT count(*) FROM chosen WHERE kind IS NULL")
    found.sessions, found.closed = database.row(
        "SELECT count(*), count(*) FILTER (state = 'closed') FROM chosen_sessions"
    )
    found.without_end = dict(
        database.rows(
            "SELECT state, count(*) FROM chosen_sessions WHERE state <> 'closed' GROUP BY state"
            " ORDER BY state"
        )
    )
    names = ("clean", "clean_bytes", "clean_short", "untaken_sessions", "untaken_bytes")
    figures = database.row(
        f"SELECT count(*) FILTER ({eof}), coalesce(sum(received_bytes) FILTER ({eof}), 0),"
        f" count(*) FILTER ({eof} AND sent_bytes < received_bytes),"
        f" count(*) FILTER (NOT {eof} AND sent_bytes < received_bytes),"
        f" coalesce(sum(received_bytes - sent_bytes)"
        f" FILTER (NOT {eof} AND sent_bytes < received_bytes), 0) FROM sessions"
    )
    for name, figure in zip(names, figures, strict=True):
        setattr(found, name, figure)
    fields = ("session_id", "peer_ip", "reason", "bytes")
    found.untaken = [
        dict(zip(fields, row, strict=True))
        for row in database.rows(
            "SELECT session_id, peer_ip, reason, received_bytes::HUGEINT - sent_bytes AS bytes"
            f" FROM sessions WHERE NOT {eof} AND sent_bytes < received_bytes"
            f" ORDER BY bytes DESC, session_id LIMIT {_MOST_UNTAKEN}"
        )
    ]
    found.runs = len(database.runs)
    found.runs_not_compared = dict(Counter(run.why for run in database.runs if run.why))
    found.runs_compared = found.runs - sum(found.runs_not_compared.values())


def _what_instead(database: LogDatabase) -> str:
    """Return what was read where no event was, in words."""
    if (total := database.row("SELECT count(*) FROM lines WHERE kind IS NULL")[0]) > 0:
        return f"{total:,} event{'s' * (total > 1)}, and none matches what was asked for"
    if notes := [file.note for file in database.files if file.note]:
        return notes[0]
    kinds = dict(database.rows("SELECT kind, count(*) FROM lines GROUP BY kind"))
    if not kinds:
        return "nothing: it is empty"
    kind = max(kinds, key=lambda name: kinds[name])
    count = kinds[kind] + (database.lines.skipped if kind == FOREIGN else 0)
    lines = f"{count:,} line{'s' * (count > 1)}"
    return {
        TORN: f"{lines} that {'are pieces' if count > 1 else 'is a piece'} of events",
        HUGE: f"{lines} too long for an event",
        NOT_UTF8: f"{lines} of data that is not UTF-8 text",
    }.get(kind, f"{lines} of text that {'are' if count > 1 else 'is'} no event")


# -- totals, run by run --------------------------------------------------------------------


def _compare_totals(database: LogDatabase) -> None:
    """Fill `differing` and `not_compared`; set `why` of the runs that can't be compared."""
    refused = _counts_by_run(database, SESSION_REFUSED.name, "last_row")
    dropped = _counts_by_run(database, LOG_DROPPED.name, "end_row")
    differing: list[tuple[Any, ...]] = []
    not_compared: list[tuple[Any, ...]] = []
    for number, run in enumerate(database.runs, 1):
        if run.stopped is None:
            continue
        missing = _missing(run)
        if not run.why and 1 <= missing <= dropped.get(number, 0):
            run.why = DROPPED
        if run.why:
            not_compared.append((run.stopped.row, run.why))
            continue
        pairs = list(zip(TOTALS, run.stopped.totals, run.sums, strict=True))
        if run.started and not run.shared:
            pairs.append(("refused", run.stopped.refused, refused.get(number, 0)))
        differing += [(run.stopped.row, *pair) for pair in pairs if pair[1] not in (None, pair[2])]
    database.fill("differing", differing)
    database.fill("not_compared", not_compared)


def _missing(run: Run) -> int:
    """Return how many lines of sessions the stop counts more than are here."""
    assert run.stopped is not None
    accepted, closed, *_ = run.stopped.totals
    return (accepted or 0) + (closed or 0) - run.sums[0] - run.sums[1]


def _counts_by_run(database: LogDatabase, event: str, end: str) -> dict[int, int]:
    return dict(
        database.rows(
            "SELECT run, sum(count) FROM (SELECT rowid AS row, count FROM lines WHERE event = ?)"
            f" JOIN runs ON row BETWEEN first_row AND {end} GROUP BY run",
            [event],
        )
    )


# -- times that run backwards --------------------------------------------------------------

# The log's own lines are stamped by its writer, beside the others and not in one order with them.
# So are the lines of two daemons that share a file, or whose logs follow each other in one.
_STEPS = f"""
WITH stamped AS (
    SELECT rowid AS row, timestamp, event, split_part(session_id, '-', 1) AS run_id FROM lines
    WHERE timestamp IS NOT NULL AND event NOT IN ('{LOG_DROPPED.name}', '{LOG_REOPENED.name}')
          AND NOT (event = '{SERVER_ERROR.name}' AND coalesce("where", '') = 'log')
), steps AS (
    SELECT row, timestamp, event, run_id, lag(row) OVER in_order AS row_before,
           lag(timestamp) OVER in_order AS before, lag(run_id) OVER in_order AS run_before,
           lead(row) OVER in_order AS row_after, lead(timestamp) OVER in_order AS after
    FROM stamped WINDOW in_order AS (ORDER BY row)
)
SELECT row, timestamp, before, row_before, row_after, coalesce(after >= before, false),
       epoch(before) - epoch(timestamp), coalesce(run_id, run_before)
FROM steps
WHERE timestamp < before AND event <> '{SERVER_STARTED.name}'
      AND (run_id IS NULL OR run_before IS NULL OR run_id = run_before)
ORDER BY row LIMIT {MOST_RUNS}
"""
_RUN_OF = """
SELECT run_id FROM runs WHERE ? BETWEEN first_row AND last_row AND ? BETWEEN first_row AND last_row
"""
# Sessions that were open all the while a clock was changed show it: their duration is right.
_WITNESSES = """
SELECT count(*), min(drift) FROM all_sessions
WHERE run_id = ? AND accepted_row < ? AND closed_row > ?
"""


def _steps_back(database: LogDatabase) -> list[tuple[Any, ...]]:
    """Return each line whose time is before that of the line above, and whether that is a breach.

    It is one where a single line is out of order, and the sessions around it show that the clock
    was not changed. Everything else is a clock that was set back.
    """
    found = []
    asked = 0
    for row, at, before, row_before, row_after, undone, step, run_id in database.rows(_STEPS):
        if database.lines.place(row)[0] != database.lines.place(row_before)[0]:
            continue
        bad = False
        if asked < _MOST_STEPS:
            asked += 1
            here = [run for (run,) in database.rows(_RUN_OF, [row, row_before])]
            if not here or (len(here) > 1 and run_id is None):
                continue  # the lines of two daemons
            if undone and step >= _LEAST_STEP_S:
                count, drift = database.row(_WITNESSES, [run_id or here[0], row_before, row_after])
                bad = count > 0 and drift > -step / 2
        found.append((row, str(at), str(before), bad))
    return found


# -- the checks ----------------------------------------------------------------------------


def checks() -> Iterator[Check]:
    """Return all checks, in the order in which a reader wants their findings."""
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
        "SELECT rowid AS row, event FROM lines WHERE kind IS NULL AND event NOT IN "
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
    yield Check(
        "time runs backwards",
        "{} follows {}, and the sessions around it say that the clock was right",
        "SELECT row, found, before FROM steps WHERE bad",
    )
    yield Check(
        "clock set back",
        "{} follows {}: the clock was set back while the daemon ran, or lines changed places",
        "SELECT row, found, before FROM steps WHERE NOT bad",
        breach=False,
    )
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
    # By time and by line: the pieces of a log may have been joined in a wrong order, and a clock
    # may have been set back, but not both.
    yield Check(
        "closed before accepted",
        "session {}",
        "SELECT closed_row AS row, session_id FROM all_sessions"
        " WHERE closed_row < accepted_row AND closed_at < accepted_at"
        " AND NOT EXISTS (FROM files WHERE last_row >= closed_row AND last_row < accepted_row)",
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
    "cut by a crash": "session {}: its daemon ended without server.stopped",
    "still open": "session {}: its daemon may still run",
    "lost by the log": "session {}: log.dropped stands for lines that could not be written",
    "before the log begins": "session {}: its first line is in a file that is not here",
}


def _run_checks() -> Iterator[Check]:
    for name in (*TOTALS, "refused"):
        yield Check(
            f"total {name} differs",
            f"server.stopped says {{}} {name}, its sessions add up to {{}}",
            f"SELECT row, total, sum FROM differing WHERE name = '{name}'",
        )
    yield Check("totals not compared", "{}", "SELECT row, why FROM not_compared", breach=False)
    yield Check(
        "several daemons in one log",
        "lines of another daemon stand between those of run {}: refusals are not compared",
        "SELECT first_row AS row, run_id FROM runs WHERE shared AND run_id IS NOT NULL",
        breach=False,
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


# The events that the promises are about. Others may lack what later versions have.
_PROMISED = (SESSION_ACCEPTED, SESSION_CLOSED, SESSION_REFUSED, SERVER_STOPPED, LOG_DROPPED)


def _incomplete() -> str:
    """Select events that lack a field which the vocabulary promises."""
    branches = []
    for event in _PROMISED:
        missing = " ".join(f"""WHEN "{name}" IS NULL THEN '{name}'""" for name in event.fields)
        branches.append(f"WHEN '{event.name}' THEN CASE {missing} END")
    lacking = (
        "CASE WHEN timestamp IS NULL THEN 'timestamp' WHEN level IS NULL THEN 'level' "
        f"ELSE CASE event {' '.join(branches)} END END"
    )
    return (
        f"SELECT row, event, field FROM (SELECT rowid AS row, event, {lacking} AS field FROM lines"
        " WHERE kind IS NULL) WHERE field IS NOT NULL"
    )


# Sessions that lack a line, each with what explains it, or with what it is where nothing does.
_CREATE_GAPS = f"""
CREATE TEMP TABLE gaps AS
WITH losses AS (
    SELECT run, max(dropped.row) AS last_row, min(dropped.row) AS first_row, sum(count) AS lines
    FROM (SELECT rowid AS row, count FROM lines WHERE event = '{LOG_DROPPED.name}') dropped
    JOIN runs ON dropped.row BETWEEN runs.first_row AND runs.end_row GROUP BY run
), lacking AS (
    SELECT s.row, session_id, s.state, s.run, closed_row,
           started_row IS NULL OR runs.state <> 'stopped' AS begins_late,
           CASE WHEN closed_row IS NULL THEN losses.last_row > s.row
                ELSE losses.first_row < s.row END AS lossy, lines
    FROM all_sessions s LEFT JOIN runs USING (run) LEFT JOIN losses USING (run)
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
