"""What can be wrong with an echo, each with the offset in the connection at which it was."""

from __future__ import annotations

from echo.units import plural


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
    """The stream ended at `offset`, with `missing` bytes still due or not all of them sent.

    `how` is `ended` for an orderly end; otherwise `broke`, with the reason where it is known.
    """

    def __init__(self, offset: int, missing: int, how: str = "ended") -> None:
        what = f"with {plural(missing, 'byte')} missing" if missing else "before all was sent"
        super().__init__(f"the server {how} the stream at offset {offset}, {what}")
        self.how = how
        self.offset = offset
        self.missing = missing


class EchoTimeout(EchoError):
    """Nothing came back for `seconds`, with `missing` bytes due from `offset` on.

    Where it was `slow`, something came back, but not all of it within that time.
    """

    def __init__(self, offset: int, missing: int, seconds: float, *, slow: bool = False) -> None:
        what = plural(missing, "byte") if missing else "its end of stream"
        how = (
            f"the echo was not over after {seconds:g} s, but"
            if slow
            else f"no echo for {seconds:g} s"
        )
        super().__init__(f"{how} at offset {offset}, with {what} missing")
        self.offset = offset
        self.missing = missing
        self.seconds = seconds
