"""What an echo server can do wrong, each with the offset at which it did."""

from __future__ import annotations


class EchoError(Exception):
    """An echo did not come back as it should; the text says how, in one line."""


class EchoMismatch(EchoError):
    """A byte came back that was not sent: `offset` counts from the connection's first byte.

    `expected` is None where nothing more was due.
    """

    def __init__(self, offset: int, expected: int | None, got: int) -> None:
        due = "no more bytes" if expected is None else f"0x{expected:02x}"
        super().__init__(f"the echo differs at offset {offset}: expected {due}, got 0x{got:02x}")
        self.offset = offset
        self.expected = expected
        self.got = got


class EchoEnded(EchoError):
    """The server ended the stream at `offset`, with `missing` bytes still due.

    `how` is `ended` for an end in order; otherwise `broke`, with the reason where it is known.
    """

    def __init__(self, offset: int, missing: int, how: str = "ended") -> None:
        super().__init__(
            f"the server {how} the stream at offset {offset}, with {missing} bytes missing"
        )
        self.how = how
        self.offset = offset
        self.missing = missing


class EchoTimeout(EchoError):
    """Nothing came back for `seconds`, with `missing` bytes due from `offset` on.

    Where it was `slow`, something did, but not all of it within that time.
    """

    def __init__(self, offset: int, missing: int, seconds: float, *, slow: bool = False) -> None:
        what = f"{missing} bytes missing" if missing else "its end of stream missing"
        how = (
            f"the echo was not over after {seconds:g} s, but"
            if slow
            else f"no echo for {seconds:g} s"
        )
        super().__init__(f"{how} at offset {offset}, with {what}")
        self.offset = offset
        self.missing = missing
        self.seconds = seconds
