"""The table of `echod top` without its drawing: which sessions, their order, what is in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echo.cli.top.columns import COLUMNS, ENDED_COLUMNS, fitting, hidden_before
from echo.client.snapshot import chosen, matching

if TYPE_CHECKING:
    from echo.cli.top.columns import Column
    from echo.client.snapshot import EndedSession, LiveSession, Snapshot

    Rows = list[LiveSession] | list[EndedSession]


class Table:
    """The sessions of `snapshot`, filtered and sorted, and the part of them that is in view.

    `width` and `height` are the columns of text and the rows that have room on the screen.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.sort, self.descending = "received_rate", True
        self.wanted = ""  # the filter
        self.shows_ended = False
        self.width, self.height = 80, 1
        self.top = 0  # the first row in view
        self._left = 0  # columns that are scrolled away, between the first and those in view
        self._rows: Rows = []
        self._made_of: tuple[object, ...] = ()

    def rows(self) -> Rows:
        """Return all sessions that match the filter, in their order."""
        made_of = (self.snapshot, self.shows_ended, self.wanted, self.sort, self.descending)
        if self._made_of != made_of:
            self._made_of = made_of
            if self.shows_ended:
                self._rows = matching(self.snapshot.ended, self.wanted)
            else:
                sessions = self.snapshot.sessions
                self._rows = chosen(sessions, self.wanted, self.sort, descending=self.descending)
        return self._rows

    def visible(self) -> Rows:
        """Return the sessions in view."""
        self.scroll(0)
        return self.rows()[self.top : self.top + self.height]

    def columns(self) -> list[tuple[Column, int]]:
        """Return the columns in view, each with its width."""
        self.shift(0)
        return fitting(self._all(), self.width, self._left)

    def _all(self) -> tuple[Column, ...]:
        return ENDED_COLUMNS if self.shows_ended else COLUMNS

    def scroll(self, rows: int) -> None:
        """Move the view down, or up where `rows` is negative, as far as there are sessions."""
        self.top = max(0, min(self.top + rows, len(self.rows()) - self.height))

    def shift(self, columns: int) -> None:
        """Move the view to the right, or to the left where `columns` is negative."""
        self._left = max(0, min(self._left + columns, hidden_before(self._all(), self.width)))

    def sort_by_next(self, step: int) -> None:
        """Sort by the column that is `step` after the present one, and bring it into view."""
        if self.shows_ended:
            return
        place = ([column.sort for column in COLUMNS].index(self.sort) + step) % len(COLUMNS)
        self._sort_by(COLUMNS[place])
        self._left = min(self._left, max(0, place - 1))
        while self._left < place - 1 and self.sort not in self._sorts():
            self._left += 1

    def _sorts(self) -> set[str]:
        return {column.sort for column, _ in fitting(COLUMNS, self.width, self._left)}

    def sort_at(self, place: int) -> None:
        """Sort by the column whose head is at this place of the line, or reverse its order."""
        end = -1  # there is no gap before the first
        for column, width in self.columns():
            end += width + 1
            if place < end:
                if column.sort == self.sort:
                    self.reverse()
                elif column.sort:
                    self._sort_by(column)
                return

    def _sort_by(self, column: Column) -> None:
        self.sort, self.descending = column.sort, column.is_number

    def reverse(self) -> None:
        """Sort the other way round."""
        self.descending = not self.descending

    def turn_over(self) -> None:
        """Change between the sessions that live and those that have ended."""
        self.shows_ended, self.top, self._left = not self.shows_ended, 0, 0
