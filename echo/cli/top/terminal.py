"""The whole terminal, taken and given back: the other screen, its size, a stop in between."""

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

# As xterm has it, and all that came after: the other screen without a cursor, and back.
_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _ERASE_LINE, _ERASE_BELOW = "\x1b[H", "\x1b[2K", "\x1b[J"


class Terminal(Keys):
    """The keyboard, and the screen for drawing on, while it is entered.

    A change of its size wakes whoever waits for a key. A stop (Ctrl-Z) gives the terminal back
    to the shell, and takes it again when the process goes on.
    """

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
        """Columns and lines, as they are now; the usual ones where nobody knows."""
        width, height = os.get_terminal_size(sys.stdout.fileno())
        return width or 80, height or 24

    def draw(self, lines: list[str]) -> None:
        """Put these lines on the screen, in place of all that is there."""
        # Each line is erased before it is written: after its last column it would lose that.
        drawn = "\r\n".join(_ERASE_LINE + line for line in lines)
        self._write(_HOME + drawn + ("" if len(lines) >= self.size[1] else "\r\n" + _ERASE_BELOW))

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def _leave(self) -> None:
        with suppress(OSError, OutputError, termios.error):  # it hung up
            termios.tcflow(self._fd, termios.TCOON)  # or a Ctrl-S would keep it for ever
            self._write(_LEAVE)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._leave()
        self.release()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.seize()
        self._write(_ENTER)
        self.wake()
