"""Reads a terminal's keys one at a time, and restores the terminal whatever happens."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import sys
import termios
import tty
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

# Signals that end the process: the terminal has to be restored first.
_ENDS = ("SIGTERM", "SIGHUP")
# Seconds to wait for the rest of an escape sequence, which a slow line may deliver later.
_SEQUENCE_WAIT = 0.05
# Terminals send different sequences for a key: xterm has two, the Linux console its own.
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
    """Reads keys from standard input, which must be a terminal, inside a `with` block.

    Each key is read at once and isn't shown. Ctrl-C, TERM and a hang-up still end the process,
    and restore the terminal.
    """

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self._waiting: list[str] = []
        self._wakeup, self._waker = socket.socketpair()
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._fd)
        for name in _ENDS:
            self.answer(name, _end)
        self._waker.setblocking(False)
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
        self._wakeup.close()
        self._waker.close()

    def answer(self, name: str, handler: Callable[[int, FrameType | None], object]) -> None:
        """Handle a signal until the end of the `with` block."""
        number = getattr(signal, name)
        self._handlers[number] = signal.signal(number, handler)

    def wake(self) -> None:
        """End the wait for a key; may be called from any thread."""
        with suppress(OSError):  # the wakeup is set already, or closed
            self._waker.send(b"!")

    def seize(self) -> None:
        """Switch the terminal to single keys."""
        tty.setcbreak(self._fd, termios.TCSANOW)

    def release(self) -> None:
        """Restore the terminal, unless it hung up."""
        try:
            # TCSANOW, since TCSADRAIN would wait for ever on a stopped terminal (Ctrl-S).
            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
        except termios.error:  # it hung up
            return

    def key(self, seconds: float | None) -> str:
        """Return the next key: its character, or a name such as `up`, `pgdn`, `f4`.

        Returns an empty string after `seconds` without a key (None waits for ever), after
        `wake`, and for a sequence that isn't known. Where the terminal is gone it raises
        `SystemExit`, as a hang-up does.
        """
        if not self._waiting:
            self._waiting = _split(self._read(seconds))
        return self._waiting.pop(0) if self._waiting else ""

    def _read(self, seconds: float | None) -> str:
        ready = select.select([self._fd, self._wakeup], [], [], seconds)[0]
        if self._wakeup in ready:
            self._wakeup.recv(1024)
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
    """Return whether there are keys to read: standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def _split(text: str) -> list[str]:
    r"""Return the names of the keys in `text`; unknown sequences are skipped.

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
    """Raise `SystemExit`, which runs every clean-up, with the signal's exit code."""
    del frame
    raise SystemExit(128 + number)
