"""The keys and the mouse of a terminal, one event at a time; the terminal is always restored."""

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

# Signals that end a process by default: the terminal has to be restored first.
_ENDS = ("SIGTERM", "SIGHUP")
# Seconds to wait for the rest of an escape sequence, which a slow line may deliver later.
SEQUENCE_WAIT = 0.05
# Terminals send different sequences for a key: xterm has two, the Linux console its own.
_ARROWS = dict(zip("ABCDHF", ("up", "down", "right", "left", "home", "end"), strict=True))
_PAGES = {1: "home", 3: "delete", 4: "end", 5: "pgup", 6: "pgdn", 7: "home", 8: "end"}
_FUNCTIONS = (11, 12, 13, 14, 15, 17, 18, 19, 20, 21)
_SEQUENCES = (
    {f"\x1b[{letter}": key for letter, key in _ARROWS.items()}
    | {f"\x1bO{letter}": key for letter, key in _ARROWS.items()}
    | {f"\x1b[{number}~": key for number, key in _PAGES.items()}
    | {f"\x1b[{code}~": f"f{number}" for number, code in enumerate(_FUNCTIONS, 1)}
    | {f"\x1bO{letter}": f"f{number}" for number, letter in enumerate("PQRS", 1)}
    | {f"\x1b[[{letter}": f"f{number}" for number, letter in enumerate("ABCDE", 1)}
)
# Ctrl-A, Ctrl-E, Ctrl-U and Ctrl-W do what they do in a shell's line.
_PLAIN = dict.fromkeys("\r\n", "enter") | dict.fromkeys("\x7f\x08", "backspace")
_PLAIN |= {"\x01": "home", "\x05": "end", "\x15": "erase", "\x17": "erase word"}
_TOKEN = re.compile(r"\x1b\[<[0-9;]*[Mm]|\x1b\[\[?[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|\x1b|.", re.DOTALL)
_BEGUN = re.compile(rb"\x1b(\[[<\[]?[0-9;]*|O)?\Z")
# A mouse event as xterm's mode 1006 reports it: button, column, line; "M" where it goes down.
_MOUSE = re.compile(r"\x1b\[<(\d{1,3});(\d{1,5});(\d{1,5})M")
_BUTTONS = {"64": "wheel up", "65": "wheel down"}


class Keys:
    """Reads keys from standard input, which must be a terminal, inside a `with` block.

    Keys arrive at once and are not shown; Ctrl-C, TERM and a hang-up still end the process, with
    the terminal restored. The rest of an escape sequence is waited for `sequence_wait` seconds.
    """

    def __init__(self, sequence_wait: float = SEQUENCE_WAIT) -> None:
        self._sequence_wait = sequence_wait
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
        """End a wait for a key, from any thread."""
        with suppress(OSError):  # enough wakeups are under way, or the block is over
            self._waker.send(b"!")

    def seize(self) -> None:
        """Switch the terminal to keys as they are typed."""
        tty.setcbreak(self._fd, termios.TCSANOW)

    def release(self) -> None:
        """Restore the terminal, if it is still there."""
        try:
            # At once: waiting for the output to drain would hang on a stopped terminal (Ctrl-S).
            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
        except termios.error:  # it hung up
            return

    def key(self, seconds: float | None) -> str:
        """Wait for the next key, and return its character or its name.

        Names are those such as `up`, `pgdn`, `f4`, `wheel up` and `click 12 5` (column and line,
        from 1). An empty string means none: `seconds` have passed (None waits for as long as it
        takes), `wake` was called, or the terminal sent a sequence that has no name here. A terminal
        that is gone ends the process as a hang-up does.
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
        while _BEGUN.search(data) and select.select([self._fd], [], [], self._sequence_wait)[0]:
            data += self._take()
        return data.decode("utf-8", "replace")

    def _take(self) -> bytes:
        try:
            data = os.read(self._fd, 1024)
        except OSError:  # the shell that had the terminal is gone
            data = b""
        return data or _end(signal.SIGHUP)


def available() -> bool:
    """Return whether standard input is a terminal, which has keys."""
    return sys.stdin is not None and sys.stdin.isatty()


def _split(text: str) -> list[str]:
    r"""Split what was read into the names of keys, leaving out unknown sequences.

    >>> _split("j\x1b[A\x1b[6~\x1bOS\x1b[99~\x1b")
    ['j', 'up', 'pgdn', 'f4', 'esc']
    """
    keys = (_named(token) for token in _TOKEN.findall(text))
    return [key for key in keys if key]


def _named(token: str) -> str:
    if token == "\x1b":
        return "esc"
    if mouse := _MOUSE.fullmatch(token):
        button, column, line = mouse.groups()
        return f"click {column} {line}" if button == "0" else _BUTTONS.get(button, "")
    if token.startswith("\x1b"):
        return _SEQUENCES.get(token, "")
    return _PLAIN.get(token, token)


def _end(number: int, frame: FrameType | None = None) -> NoReturn:
    """End the process with the signal's exit code, running every `finally` on the way."""
    del frame
    raise SystemExit(128 + number)
