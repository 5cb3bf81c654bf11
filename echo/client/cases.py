"""A fuzzer's test case: what a client does, written so that a person can repeat it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echo.client.strategies import noise

if TYPE_CHECKING:
    from typing import Any

# Payloads up to this long are shown as they are.
LITERAL_BYTES = 80


@dataclass(frozen=True, slots=True)
class Case:
    """What a client does: it sends pieces, with a pause after each, then half-closes at once.

    Without `half_close` it waits for the whole echo instead, and closes.
    """

    pieces: tuple[bytes, ...]
    pauses_ms: tuple[int, ...]
    half_close: bool

    def __repr__(self) -> str:
        return f"<Case: {'; '.join(self.steps())}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print it in short: hypothesis would write out megabytes of payload."""
        del cycle
        printer.text(repr(self))

    @property
    def payload(self) -> bytes:
        """All the pieces."""
        return b"".join(self.pieces)

    @property
    def weight(self) -> tuple[int, int, int, bool]:
        """Sort key: the smaller one of two cases has the smaller weight."""
        return len(self.payload), len(self.pieces), sum(self.pauses_ms), self.half_close

    def as_dict(self) -> dict[str, Any]:
        """Return the case as `--json` shows it."""
        return {
            "payload": literal(self.payload),
            "length": len(self.payload),
            "pieces": [len(piece) for piece in self.pieces],
            "pauses_ms": list(self.pauses_ms),
            "half_close": self.half_close,
        }

    def steps(self) -> list[str]:
        """Return what to do, step by step.

        >>> Case((b"a", b"b"), (20, 0), half_close=True).steps()
        ["send b'a'", 'wait 20 ms', "send b'b'", 'half-close at once']
        """
        steps = []
        start = 0
        for piece, pause in zip(self.pieces, self.pauses_ms, strict=True):
            part = f"[{start}:{start + len(piece)}]" if len(self.pieces) > 1 else ""
            short = len(self.payload) <= LITERAL_BYTES
            what = literal(piece) if short else literal(self.payload) + part
            steps += [f"send {what}", *([f"wait {pause} ms"] if pause else [])]
            start += len(piece)
        last = "half-close at once" if self.half_close else "receive the whole echo, then close"
        return [*steps, last]

    def nc(self, host: str, port: int) -> str | None:
        r"""Return a command line for OpenBSD's nc; None where nc can't do it.

        nc may join pieces without a pause between them. Its -N half-closes at the end of input,
        which a last `sleep` delays for a case without half-close. A long payload goes through
        a file `sent`, with which cmp compares the echo.

        >>> Case((b"\0", b"b"), (20, 0), half_close=True).nc("::1", 9000)
        "(printf '\\000'; sleep 0.02; printf '\\142') | nc -N ::1 9000 | od -c"
        """
        if 0 in self.pauses_ms[:-1] or (len(self.pieces) > 1 and len(self.payload) > LITERAL_BYTES):
            return None
        client = f"nc -N {shlex.quote(host)} {port}"
        if len(self.payload) > LITERAL_BYTES:
            source = "cat sent" if self.half_close else "(cat sent; sleep 1)"
            return f"{_producer(self.payload)} > sent; {source} | {client} | cmp sent -"
        commands = []
        for piece, pause in zip(self.pieces, self.pauses_ms, strict=True):
            commands += [_producer(piece), *([f"sleep {pause / 1000:g}"] if pause else [])]
        if not self.half_close:
            commands.append("sleep 1")
        source = commands[0] if len(commands) == 1 else f"({'; '.join(commands)})"
        return f"{source} | {client} | od -c"


@dataclass(frozen=True, slots=True)
class FailedCase:
    """A case that failed, and what the server did wrong."""

    case: Case
    problem: str


def literal(payload: bytes) -> str:
    """Return a payload as a Python expression.

    >>> literal(b"abc"), literal(noise(5000))
    ("b'abc'", 'random.Random(0).randbytes(5000)')
    """
    if len(payload) > LITERAL_BYTES and payload == noise(len(payload)):
        return f"random.Random(0).randbytes({len(payload)})"
    return repr(payload)


def _producer(piece: bytes) -> str:
    if len(piece) <= LITERAL_BYTES:
        octal = "".join(f"\\{byte:03o}" for byte in piece)
        return f"printf '{octal}'"
    code = f"import random, sys; sys.stdout.buffer.write({literal(piece)})"
    return f'python3 -c "{code}"'
