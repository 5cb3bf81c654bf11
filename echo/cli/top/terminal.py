"""The whole terminal: the alternate screen, its size, the mouse; restored in the end."""

from __future__ import annotations

import os
import signal
import sys
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from echo.cli.keys import Keys
from echo.cli.output import OutputError

if TYPE_CHECKING:
    from types import FrameType, TracebackType

# xterm's sequences, which all others have taken over: the alternate screen, without a cursor.
_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
# Reports of buttons and the wheel, in the form without a largest column.
_MOUSE_ON, _MOUSE_OFF = "\x1b[?1000h\x1b[?1006h", "\x1b[?1006l\x1b[?1000l"
_HOME, _ERASE_LINE, _ERASE_BELOW = "\x1b[H", "\x1b[2K", "\x1b[J"


class Terminal(Keys):
    """The keyboard, and the screen for drawing on, while it is entered.

    A change of its size ends a wait for a key. A stop (Ctrl-Z) restores the terminal for the
    shell, and the screen is drawn again when the process goes on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._has_mouse = False

    def __enter__(self) -> Self:
        super().__enter__()
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        self.answer("SIGWINCH", lambda *_: self.wake())
        self.answer("SIGTSTP", self._stop)
        self._write(_ENTER)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()
        super().__exit__(kind, error, trace)

    @property
    def size(self) -> tuple[int, int]:
        """Return its columns and lines; 80 and 24 where the terminal doesn't know."""
        width, height = os.get_terminal_size(sys.stdout.fileno())
        return width or 80, height or 24

    def draw(self, lines: list[str]) -> None:
        """Put these lines on the screen, replacing all that is there."""
        # Each line is erased before it is written: erasing afterwards would take its last column.
        drawn = "\r\n".join(_ERASE_LINE + line for line in lines)
        self._write(_HOME + drawn + ("" if len(lines) >= self.size[1] else "\r\n" + _ERASE_BELOW))

    def use_mouse(self, wanted: bool) -> None:
        """Have clicks and the wheel reported as keys, or leave them to the terminal."""
        if wanted != self._has_mouse:
            self._has_mouse = wanted
            self._write(_MOUSE_ON if wanted else _MOUSE_OFF)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def _leave(self) -> None:
        with suppress(OSError, OutputError, termios.error):  # it hung up
            termios.tcflow(self._fd, termios.TCOON)  # after a Ctrl-S the write would block
            self._write((_MOUSE_OFF if self._has_mouse else "") + _LEAVE)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._leave()
        self.release()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.seize()
        self._write(_ENTER + (_MOUSE_ON if self._has_mouse else ""))
        self.wake()
