"""What the user of `echod top` has chosen, and what each key does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echo.cli.top.table import Table

if TYPE_CHECKING:
    from echo.client.snapshot import Snapshot

# The line of the table's heads, from 1, at which a click sorts.
HEAD_LINE = 6
# Rows that one step of the wheel scrolls.
_WHEEL_ROWS = 3
# Longer than any peer.
_FILTER_CHARS = 60


class LineEditor:
    """A line of text that is being typed; `cursor` is the place of the next letter."""

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0

    def press(self, key: str) -> None:
        """Do what a key means in a line of text; others are ignored."""
        before, after = self.text[: self.cursor], self.text[self.cursor :]
        if len(key) == 1 and key.isprintable():
            before += key if len(self.text) < _FILTER_CHARS else ""
        elif key == "backspace":
            before = before[:-1]
        elif key == "erase word":
            before = before[: before.rstrip().rfind(" ") + 1]
        elif key == "erase":
            before = ""
        elif key == "delete":
            after = after[1:]
        self.text = before + after
        moved = {"left": len(before) - 1, "right": len(before) + 1, "home": 0, "end": 9999}
        self.cursor = max(0, min(moved.get(key, len(before)), len(self.text)))


class Control:
    """The state of the screen, changed by `press` alone."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.table = Table(snapshot)
        self.filter = LineEditor()
        self.editing = False
        self.paused = False
        self.helping = False
        self.mouse = False  # clicks and the wheel come here, and don't select text
        table = self.table
        self._keys = {
            **dict.fromkeys(("up", "k"), lambda: table.scroll(-1)),
            **dict.fromkeys(("down", "j"), lambda: table.scroll(1)),
            "wheel up": lambda: table.scroll(-_WHEEL_ROWS),
            "wheel down": lambda: table.scroll(_WHEEL_ROWS),
            "pgup": lambda: table.scroll(-table.height),
            "pgdn": lambda: table.scroll(table.height),
            **dict.fromkeys(("home", "g"), lambda: table.scroll(-len(table.rows()))),
            **dict.fromkeys(("end", "G"), lambda: table.scroll(len(table.rows()))),
            "left": lambda: table.shift(-1),
            "right": lambda: table.shift(1),
            **dict.fromkeys(("s", "f6", ">", "."), lambda: table.sort_by_next(1)),
            **dict.fromkeys(("<", ","), lambda: table.sort_by_next(-1)),
            **dict.fromkeys(("r", "I"), table.reverse),
            **dict.fromkeys(("/", "f4"), self._edit),
            **dict.fromkeys((" ", "p"), self._pause),
            **dict.fromkeys(("h", "?", "f1"), self._help),
            **dict.fromkeys(("e", "\t"), table.turn_over),
            "m": self._use_mouse,
            "esc": self._clear,
        }

    def look(self, snapshot: Snapshot) -> None:
        """Show a newer snapshot, unless it is paused."""
        if not self.paused:
            self.table.snapshot = snapshot

    def press(self, key: str) -> bool:
        """Do what a key means; return False where it means to quit.

        An empty key is none: something else has ended the wait for one.
        """
        if not key:
            return True
        if self.editing:
            self._type(key)
            return True
        if key in ("q", "f10"):
            return False
        if self.helping:
            self.helping = False
        elif key.startswith("click "):
            self._click(*map(int, key.split()[1:]))
        elif key in self._keys:
            self._keys[key]()
        return True

    def _type(self, key: str) -> None:
        if key in ("enter", "f4"):
            self.editing = False
        elif key == "esc":
            self._clear()
        else:
            self.filter.press(key)
            self.table.wanted = self.filter.text

    def _click(self, column: int, line: int) -> None:
        if line == HEAD_LINE:
            self.table.sort_at(column - 1)

    def _clear(self) -> None:
        self.editing = False
        self.filter.press("end")
        self.filter.press("erase")
        self.table.wanted = ""

    def _edit(self) -> None:
        self.editing = True

    def _pause(self) -> None:
        self.paused = not self.paused

    def _help(self) -> None:
        self.helping = True

    def _use_mouse(self) -> None:
        self.mouse = not self.mouse
