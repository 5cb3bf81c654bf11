"""Lines as they are written, through whatever happens to the files that hold them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from echo.logs.feed import LINE_BYTES
from echo.logs.passing import Follower

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Make a log of one line."""
    path = tmp_path / "echo.jsonl"
    path.write_text("one\n")
    return path


@pytest.fixture
def follower(log: Path) -> Iterator[Follower]:
    """Follow the log from behind its first line."""
    it = Follower(log)
    assert list(it.read()) == [b"one"]
    yield it
    it.close()


def turn(log: Path, keep: int) -> None:
    """Turn a log as the daemon does: the oldest is gone, then each takes the next name."""
    for number in range(keep, 0, -1):
        older = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number}"))


def test_a_turn_between_two_lines_loses_none(log: Path, follower: Follower) -> None:
    """The log turns again and again while lines are being given: each comes once, in order."""
    for text in ("two\n", "three\n"):
        turn(log, 9)
        log.write_text(text)
    found = []
    for line in follower.read():
        found.append(line)
        turn(log, 9)
        log.write_text(f"after {line.decode()}\n")
    found += follower.read()

    assert found == [b"two", b"three", b"after two", b"after three"]


def test_more_turns_than_files_are_kept_lose_no_file_that_is_left(
    log: Path, follower: Follower
) -> None:
    """Where the file that was read has gone, all that are younger are read, and no older one."""
    for text in ("two\n", "three\n", "four\n"):
        turn(log, 2)
        log.write_text(text)
    old = log.with_name("echo.jsonl.3")
    old.write_text("old\n")
    os.utime(old, (0, 0))

    assert list(follower.read()) == [b"two", b"three", b"four"]


def test_a_gap_in_the_numbers_ends_no_search(log: Path, follower: Follower) -> None:
    """In the middle of a turn a number is missing for a moment: the files behind it are found."""
    for text in ("two\n", "three\n"):
        turn(log, 9)
        log.write_text(text)
    for number in (2, 1):
        log.with_name(f"echo.jsonl.{number}").replace(log.with_name(f"echo.jsonl.{number + 1}"))

    assert list(follower.read()) == [b"two", b"three"]


def test_a_file_that_waits_for_its_writer_is_not_turned_to(log: Path, follower: Follower) -> None:
    """The new file of logrotate is there before the daemon is told to leave the old one."""
    with log.open("a") as writer:
        turn(log, 1)
        log.touch()
        first = list(follower.read())
        writer.write("two\n")
    log.write_text("three\n")

    assert first == []
    assert list(follower.read()) == [b"two", b"three"]


def test_an_older_file_that_is_put_in_its_place_is_read(log: Path, follower: Follower) -> None:
    """The name says what is followed, not the age of what has it."""
    log.unlink()
    missing = list(follower.read())
    log.write_text("restored\n")
    os.utime(log, (0, 0))

    assert missing == []
    assert list(follower.read()) == [b"restored"]


def test_half_a_line_is_its_own_where_the_log_is_emptied(log: Path, follower: Follower) -> None:
    """What copytruncate has cut off is not glued to what comes next."""
    with log.open("a") as writer:
        writer.write("tw")
    list(follower.read())
    log.write_text("3\n")

    assert list(follower.read()) == [b"tw", b"3"]


def test_of_an_endless_line_the_beginning_is_given(log: Path, follower: Follower) -> None:
    """However it arrives, a line is as long as any is looked at."""
    with log.open("ab") as writer:
        for letter in (b"a", b"b", b"c"):
            writer.write(letter * (LINE_BYTES - 1))
            writer.flush()
            list(follower.read())
        writer.write(b"\n")

    assert list(follower.read()) == [b"a" * (LINE_BYTES - 1) + b"b"]
