"""What the user of `echod top` has chosen, and what each key does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echo.cli.top.columns import fitting
from echo.client.live import chosen, matching

if TYPE_CHECKING:
    from echo.client.live import EndedSession, LiveSession, Sample

    Rows = list[LiveSession] | list[EndedSession]

# Longer than any peer.
_FILTER_CHARS = 60


class Control:
    """The state of the screen, changed by `press` alone.

    `width` and `page`, the columns and the sessions that fit on the screen, are told by whoever
    draws it.
    """

    def __init__(self, sample: Sample) -> None:
        self.sample = sample  # what is shown
        self.sort, self.descending = "received_rate", True
        self.wanted = ""  # the filter
        self.editing = False
        self.paused = False
        self.helping = False
        self.looking_back = False  # at the sessions that are over
        self.top = 0  # the first row on the screen
        self.width, self.page = 80, 1
        self._rows: Rows = []
        self._made_of: tuple[object, ...] = ()
        self._keys = {
            **dict.fromkeys(("up", "k"), lambda: self._scroll(-1)),
            **dict.fromkeys(("down", "j"), lambda: self._scroll(1)),
            "pgup": lambda: self._scroll(-self.page),
            "pgdn": lambda: self._scroll(self.page),
            **dict.fromkeys(("home", "g"), lambda: self._scroll(-len(self.rows()))),
            **dict.fromkeys(("end", "G"), lambda: self._scroll(len(self.rows()))),
            **dict.fromkeys(("s", "f6", ">", "."), lambda: self._sort_by(1)),
            **dict.fromkeys(("<", ","), lambda: self._sort_by(-1)),
            **dict.fromkeys(("r", "I"), self._reverse),
            **dict.fromkeys(("/", "f4"), self._edit),
            **dict.fromkeys((" ", "p"), self._pause),
            **dict.fromkeys(("h", "?", "f1"), self._help),
            **dict.fromkeys(("e", "\t"), self._look_back),
            "esc": self._clear,
        }

    def look(self, sample: Sample) -> None:
        """Show a newer sample, unless it is paused."""
        if not self.paused:
            self.sample = sample

    def rows(self) -> Rows:
        """Give the sessions that are wanted, in their order."""
        made_of = (self.sample, self.looking_back, self.wanted, self.sort, self.descending)
        if self._made_of != made_of:
            self._made_of = made_of
            self._rows = self._chosen()
        return self._rows

    def _chosen(self) -> Rows:
        if self.looking_back:
            return matching(self.sample.ended, self.wanted)
        return chosen(self.sample.sessions, self.wanted, self.sort, descending=self.descending)

    def visible(self) -> Rows:
        """Give those on the screen."""
        rows = self.rows()
        self.top = max(0, min(self.top, len(rows) - self.page))
        return rows[self.top : self.top + self.page]

    def press(self, key: str) -> bool:
        """Do what a key says; False when it says to quit."""
        if self.editing:
            self._type(key)
            return True
        if key in ("q", "f10"):
            return False
        if self.helping:
            self.helping = False
        elif key in self._keys:
            self._keys[key]()
        return True

    def _type(self, key: str) -> None:
        if key in ("enter", "f4"):
            self.editing = False
        elif key == "esc":
            self._clear()
        elif key == "erase":
            self.wanted = ""
        elif key == "backspace":
            self.wanted = self.wanted[:-1]
        elif len(key) == 1 and key.isprintable():
            self.wanted = (self.wanted + key)[:_FILTER_CHARS]

    def _clear(self) -> None:
        self.editing, self.wanted = False, ""

    def _scroll(self, rows: int) -> None:
        self.top = max(0, min(self.top + rows, len(self.rows()) - self.page))

    def _sort_by(self, step: int) -> None:
        columns = fitting(self.width)
        names = [column.sort for column in columns]
        at = names.index(self.sort) if self.sort in names else 0
        column = columns[(at + step) % len(columns)]
        self.sort, self.descending = column.sort, column.is_number

    def _reverse(self) -> None:
        self.descending = not self.descending

    def _edit(self) -> None:
        self.editing = True

    def _pause(self) -> None:
        self.paused = not self.paused

    def _help(self) -> None:
        self.helping = True

    def _look_back(self) -> None:
        self.looking_back, self.top = not self.looking_back, 0
