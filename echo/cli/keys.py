"""The keys of a terminal, one at a time, and the terminal given back whatever happens."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self

try:
    import termios
    import tty
except ImportError:  # pragma: no cover - Windows has no such terminals
    termios = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

# What ends a process that nobody has taught otherwise: the terminal has to be given back first.
_ENDS = ("SIGTERM", "SIGHUP")
# The rest of an escape sequence comes with its beginning, or a moment later over a slow line.
_SEQUENCE_WAIT = 0.05
# The ways in which terminals write the same keys: xterm's two, and the Linux console's.
_ARROWS = dict(zip("ABCDHF", ("up", "down", "right", "left", "home", "end"), strict=True))
_PAGES = {1: "home", 4: "end", 5: "pgup", 6: "pgdn", 7: "home", 8: "end"}
_FUNCTIONS = (11, 12, 13, 14, 15, 17, 18, 19, 20, 21)
_SEQUENCES = (
    {f"\x1b[{letter}": key for letter, key in _ARROWS.items()}
    | {f"\x1bO{letter}": key for letter, key in _ARROWS.items()}
    | {f"\x1b[{number}~": key for number, key in _PAGES.items()}
    | {f"\x1b[{code}~": f"f{number}" for number, code in enumerate(_FUNCTIONS, 1)}
    | {f"\x1bO{letter}": f"f{number}" for number, letter in enumerate("PQRS", 1)}
    | {f"\x1b[[{letter}": f"f{number}" for number, letter in enumerate("ABCDE", 1)}
)
_PLAIN = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x15": "erase"}
_TOKEN = re.compile(r"\x1b\[\[?[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|\x1b|.", re.DOTALL)


class Keys:
    """The keyboard of standard input, which has to be a terminal, while it is entered.

    Keys come at once and are not shown; Ctrl-C, TERM and a hang-up still end the process, and
    the terminal is as it was before.
    """

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self._waiting: list[str] = []
        self._bell, self._button = socket.socketpair()
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._fd)
        for name in _ENDS:
            self.answer(name, _end)
        self._button.setblocking(False)
        self.seize()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._bell.close()
        self._button.close()

    def answer(self, name: str, handler: Callable[[int, FrameType | None], object]) -> None:
        """Handle a signal until the end of the `with` block."""
        number = getattr(signal, name)
        self._handlers[number] = signal.signal(number, handler)

    def wake(self) -> None:
        """End a wait for a key, from any thread."""
        with suppress(OSError):  # it has been woken often enough, or is gone
            self._button.send(b"!")

    def seize(self) -> None:
        """Take the keys as they are typed."""
        tty.setcbreak(self._fd, termios.TCSANOW)

    def release(self) -> None:
        """Give the terminal back, as far as it is still there."""
        try:
            # Now: a terminal that is stopped (Ctrl-S) would keep it until somebody goes on.
            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
        except termios.error:  # it hung up
            return

    def key(self, seconds: float | None) -> str:
        """Wait for a key: its character, or a name as `up`, `pgdn`, `f4`; empty where none came.

        `seconds` may be None for as long as it takes; a sequence that nobody knows is no key, and
        `wake` ends the wait without one. A
        terminal that is gone ends the process as a hang-up does.
        """
        if not self._waiting:
            self._waiting = _split(self._read(seconds))
        return self._waiting.pop(0) if self._waiting else ""

    def _read(self, seconds: float | None) -> str:
        ready = select.select([self._fd, self._bell], [], [], seconds)[0]
        if self._bell in ready:
            self._bell.recv(1024)
        if self._fd not in ready:
            return ""
        data = self._take()
        if (
            data.endswith((b"\x1b", b"\x1b[", b"\x1bO"))
            and select.select([self._fd], [], [], _SEQUENCE_WAIT)[0]
        ):
            data += self._take()
        return data.decode("utf-8", "replace")

    def _take(self) -> bytes:
        try:
            data = os.read(self._fd, 1024)
        except OSError:  # the shell that had the terminal is gone
            data = b""
        return data or _end(signal.SIGHUP)


def available() -> bool:
    """Whether there are keys to read: standard input is a terminal, of a kind that is known."""
    return termios is not None and sys.stdin is not None and sys.stdin.isatty()


def _split(text: str) -> list[str]:
    r"""Name the keys of what was read; a sequence that nobody knows is no key.

    >>> _split("j\x1b[A\x1b[6~\x1bOS\x1b[99~\x1b")
    ['j', 'up', 'pgdn', 'f4', 'esc']
    """
    keys = (_named(token) for token in _TOKEN.findall(text))
    return [key for key in keys if key]


def _named(token: str) -> str:
    if token == "\x1b":
        return "esc"
    if token.startswith("\x1b"):
        return _SEQUENCES.get(token, "")
    return _PLAIN.get(token, token)


def _end(number: int, frame: FrameType | None = None) -> NoReturn:
    """End as the signal asks, but by way of everything that has to be given back."""
    del frame
    raise SystemExit(128 + number)
