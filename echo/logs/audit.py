"""Holds a log against the promises: what it breaks, and what it lacks for a known reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from echo.logs.filters import Filter
from echo.logs.promises import CREATE_COMPARED, CREATE_GAPS, CREATE_SUMS, checks

if TYPE_CHECKING:
    from echo.logs.journal import Journal
    from echo.logs.promises import Check

# Of each kind of finding this many are told one by one; all are counted.
MOST_OF_A_KIND = 100


@dataclass(frozen=True)
class Finding:
    """One thing found: of what kind, where, and what about it."""

    kind: str
    file: str
    line: int
    text: str


@dataclass
class Audit:
    """What was found. `breaches` break a promise, `remarks` have an explanation.

    Both name at most `MOST_OF_A_KIND` of a kind; `breach_counts` and `remark_counts` count all.
    """

    sessions: int = 0
    runs: int = 0
    runs_compared: int = 0
    breaches: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    breach_counts: dict[str, int] = field(default_factory=dict)
    remark_counts: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing breaks a promise."""
        return not self.breach_counts

    def as_dict(self) -> dict[str, Any]:
        """Give all of it as plain values for JSON."""
        both = {name: [vars(f) for f in getattr(self, name)] for name in ("breaches", "remarks")}
        return {"passed": self.passed, **vars(self), **both}


def audit(journal: Journal) -> Audit:
    """Check everything; of what is found, tell what `journal.wanted` asks for.

    A finding is about the line it names: it is told where that line is wanted.
    """
    found = Audit()
    (found.sessions,) = journal.row("SELECT count(*) FROM chosen_sessions")
    found.runs, found.runs_compared = journal.row(
        "SELECT count(*), count(*) FILTER (started_row IS NOT NULL AND stopped_row IS NOT NULL)"
        " FROM runs"
    )
    _prepare(journal)
    for check in checks():
        _apply(journal, check, found)
    return found


def _apply(journal: Journal, check: Check, found: Audit) -> None:
    wanted = "true" if journal.wanted == Filter() else "row IN (SELECT row FROM chosen)"
    journal.execute(f"CREATE OR REPLACE TEMP TABLE found AS {check.rows}")
    (count,) = journal.row(f"SELECT count(*) FROM found WHERE {wanted}")
    if not count:
        return
    findings, counts = (
        (found.breaches, found.breach_counts)
        if check.breach
        else (found.remarks, found.remark_counts)
    )
    counts[check.kind] = counts.get(check.kind, 0) + count
    told = journal.rows(f"SELECT * FROM found WHERE {wanted} ORDER BY row LIMIT {MOST_OF_A_KIND}")
    for row, *values in told:
        place = journal.feed.place(row)
        findings.append(Finding(check.kind, *place, check.text.format(*values)))


def _prepare(journal: Journal) -> None:
    journal.execute("CREATE TEMP TABLE unfinished (row BIGINT)")
    journal.fill("unfinished", [[row] for row in sorted(journal.feed.unfinished)])
    journal.execute(CREATE_GAPS)
    journal.execute(CREATE_SUMS)
    journal.execute(CREATE_COMPARED)
