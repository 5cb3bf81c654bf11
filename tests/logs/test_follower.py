"""A log is followed through whatever happens to its files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from echo.logs.follower import Follower
from echo.logs.reader import LINE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def texts(follower: Follower) -> list[bytes]:
    """Return what is new."""
    return [line.text for line in follower.read()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of one line."""
    path = tmp_path / "echo.jsonl"
    path.write_text("one\n")
    return path


@pytest.fixture
def follower(log: Path) -> Iterator[Follower]:
    """Follow the log from behind its first line."""
    it = Follower(log)
    assert texts(it) == [b"one"]
    yield it
    it.close()


def rotate(log: Path, keep: int) -> None:
    """Rotate a log as the daemon does: the oldest is gone, then each takes the next name."""
    for number in range(keep, 0, -1):
        older = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number}"))


def test_a_rotation_between_two_lines_loses_none(log: Path, follower: Follower) -> None:
    """The log is rotated again and again while it is read: each line comes once, in order."""
    for text in ("two\n", "three\n"):
        rotate(log, 9)
        log.write_text(text)
    found = []
    for line in follower.read():
        found.append(line.text)
        rotate(log, 9)
        log.write_text(f"after {line.text.decode()}\n")
    found += texts(follower)

    assert found == [b"two", b"three", b"after two", b"after three"]


def test_more_rotations_than_files_are_kept_lose_no_file_that_is_left(
    log: Path, follower: Follower
) -> None:
    """Where the file that was read has gone, all that are younger are read, and no older one."""
    for text in ("two\n", "three\n", "four\n"):
        rotate(log, 2)
        log.write_text(text)
    old = log.with_name("echo.jsonl.3")
    old.write_text("old\n")
    os.utime(old, (0, 0))

    assert texts(follower) == [b"two", b"three", b"four"]


def test_a_gap_in_the_numbers_ends_no_search(log: Path, follower: Follower) -> None:
    """While a log is rotated a number is missing for a moment: the files behind it are found."""
    for text in ("two\n", "three\n"):
        rotate(log, 9)
        log.write_text(text)
    for number in (2, 1):
        log.with_name(f"echo.jsonl.{number}").replace(log.with_name(f"echo.jsonl.{number + 1}"))

    assert texts(follower) == [b"two", b"three"]


def test_a_file_that_waits_for_its_writer_is_not_read_yet(log: Path, follower: Follower) -> None:
    """The new file of logrotate is there before the daemon leaves the old one."""
    with log.open("a") as writer:
        rotate(log, 1)
        log.touch()
        first = texts(follower)
        writer.write("two\n")
    log.write_text("three\n")

    assert first == []
    assert texts(follower) == [b"two", b"three"]


def test_an_older_file_that_is_put_in_its_place_is_read(log: Path, follower: Follower) -> None:
    """The name says what is followed, not the age of what has it."""
    log.unlink()
    missing = texts(follower)
    log.write_text("restored\n")
    os.utime(log, (0, 0))

    assert missing == []
    assert texts(follower) == [b"restored"]


def test_half_a_line_is_its_own_where_the_log_is_emptied(log: Path, follower: Follower) -> None:
    """What copytruncate has cut off is not glued to what comes next."""
    with log.open("a") as writer:
        writer.write("tw")
    texts(follower)
    log.write_text("3\n")

    assert texts(follower) == [b"tw", b"3"]


def test_of_an_endless_line_the_beginning_is_given(log: Path, follower: Follower) -> None:
    """However it arrives, of a line no more is kept than is looked at."""
    with log.open("ab") as writer:
        for letter in (b"a", b"b", b"c"):
            writer.write(letter * (LINE_BYTES - 1))
            writer.flush()
            texts(follower)
        writer.write(b"\n")

    assert texts(follower) == [b"a" * (LINE_BYTES - 1) + b"b"]
