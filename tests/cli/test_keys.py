"""The keyboard of a terminal: every key has its name, and the terminal is given back."""

from __future__ import annotations

import fcntl
import os
import pty
import sys
import termios
from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from echo.cli.keys import Keys, available
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Return the other side of a terminal that is this process's standard input."""
    leader, follower = pty.openpty()
    with os.fdopen(follower) as terminal, os.fdopen(leader, "rb", buffering=0):
        monkeypatch.setattr(sys, "stdin", terminal)
        yield leader


def typed(master: int, *pieces: bytes) -> list[str]:
    """Type, and give the keys."""
    found = []
    with Keys() as keys:
        for piece in pieces:
            os.write(master, piece)
            found.append(keys.key(seconds(10)))
        while key := keys.key(0):
            found.append(key)
    return found


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"j", ["j"]),
        ("é".encode(), ["é"]),
        (b"\r\n\x7f\x08\x15\x17", ["enter", "enter", *["backspace"] * 2, "erase", "erase word"]),
        (b"\x1b[3~\x01\x05", ["delete", "home", "end"]),
        (
            b"\x1b[<0;12;6M\x1b[<0;12;6m\x1b[<64;1;1M\x1b[<65;1;1M",
            ["click 12 6", "wheel up", "wheel down"],
        ),
        (b"\x1b[<2;12;6M\x1b[<0;1M\x1b[<Mq", ["q"]),
        (b"\x1b[A\x1bOB\x1b[C\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[H\x1bOF\x1b[1~\x1b[4~", ["home", "end", "home", "end"]),
        (b"\x1b[5~\x1b[6~", ["pgup", "pgdn"]),
        (b"\x1bOP\x1b[14~\x1b[17~\x1b[21~\x1b[[A", ["f1", "f4", "f6", "f10", "f1"]),
        (b"\x1b[1;5A\x1b[200~q", ["q"]),
        (b"\x1b", ["esc"]),
    ],
)
def test_each_key_has_its_name(master: int, data: bytes, names: list[str]) -> None:
    """Every terminal's sequences are understood; unknown ones are skipped."""
    assert [key for key in typed(master, data) if key] == names


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ((b"\x1b", b"[A"), "up"),
        ((b"\x1b[", b"6", b"~"), "pgdn"),
        ((b"\x1b[<0;1", b"2;6M"), "click 12 6"),
    ],
)
def test_a_sequence_may_come_in_parts(master: int, parts: tuple[bytes, ...], name: str) -> None:
    """Over a slow line the rest of a sequence is waited for, a moment."""
    with Keys(sequence_wait=seconds(10)) as keys, ThreadPoolExecutor() as pool:
        os.write(master, parts[0])
        key = pool.submit(keys.key, seconds(10))
        for part in parts[1:]:
            wait_until(lambda: not unread(), what="the part before is read")
            os.write(master, part)

        assert key.result() == name


def unread() -> int:
    """Count the bytes that wait at the terminal."""
    count = array("i", [0])
    fcntl.ioctl(sys.stdin.fileno(), termios.FIONREAD, count)
    return count[0]


def test_no_key_is_an_empty_one(master: int) -> None:
    """Waking ends the wait for a key."""
    assert typed(master) == []


def test_the_terminal_is_given_back(master: int) -> None:
    """The terminal is restored, whatever happens meanwhile."""
    before = termios.tcgetattr(master)
    with suppress(ValueError), Keys():
        during = termios.tcgetattr(master)
        raise ValueError

    assert during[3] & (termios.ECHO | termios.ICANON) == 0
    assert termios.tcgetattr(master) == before


def test_a_terminal_that_is_gone_ends_the_process(master: int) -> None:
    """A terminal that is gone ends the process, as a hang-up does."""
    with Keys() as keys, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), master)
        with pytest.raises(SystemExit) as end:
            keys.key(seconds(10))

    assert end.value.code == 129


@pytest.mark.usefixtures("master")
def test_a_terminal_that_can_not_be_read_ends_the_process() -> None:
    """A connection that is gone is handled like one that was reset."""
    with Keys() as keys:
        folder = os.open("/", os.O_RDONLY)  # readable, says select, and it is not
        os.dup2(folder, sys.stdin.fileno())
        os.close(folder)
        with pytest.raises(SystemExit) as end:
            keys.key(seconds(10))

    assert end.value.code == 129


def test_without_a_terminal_there_are_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys aren't available without standard input."""
    monkeypatch.setattr(sys, "stdin", None)

    assert not available()
