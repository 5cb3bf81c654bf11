"""Hypothesis strategies: payloads for an echo server, and ways to split them."""

from __future__ import annotations

import random
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from echo.limits import KIB

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

# Bytes that some servers treat specially: ends of strings, lines and files, telnet's commands,
# halves of characters.
SPECIAL = (
    b"\0",
    b"\n",
    b"\r\n",
    b"\r",
    b"\x04",
    b"\x1a",
    b"\xff",
    b"\xff\xff",
    b"\x80",
    b"%",
    b"A",
)
# Payloads up to this size are drawn byte by byte. Longer ones are noise of a drawn length, which
# shrinks well, and in which a lost, repeated or swapped piece is noticed.
SHORT_BYTES = 64
PIECES = 6


@lru_cache(maxsize=4)
def noise(size: int) -> bytes:
    """Return that many bytes, always the same: `random.Random(0).randbytes(size)`.

    >>> noise(4).hex()
    'cd072cd8'
    """
    return random.Random(0).randbytes(size)


def sizes(max_size: int = 64 * KIB) -> SearchStrategy[int]:
    """Sizes of payloads in bytes: as many small ones as large ones, and each power of two's edge.

    >>> from hypothesis import find
    >>> find(sizes(), lambda size: size > 4096)
    4097
    """
    powers = [2**exponent for exponent in range(max_size.bit_length())]
    edges = sorted({p + d for p in powers for d in (-1, 0, 1) if p + d <= max_size})
    spans = [(low, min(2 * low, max_size)) for low in powers]
    # The edges come last: hypothesis shrinks towards the first, and would stay at an edge.
    return st.one_of(
        *(st.integers(low, high) for low, high in spans), st.sampled_from(edges or [0])
    )


def payloads(max_size: int = 64 * KIB) -> SearchStrategy[bytes]:
    """Payloads of at most `max_size` bytes: short ones of any bytes, long ones of noise.

    >>> from hypothesis import find
    >>> len(find(payloads(), lambda payload: len(payload) > 5000))
    5001
    """
    return st.one_of(short_payloads(max_size), sizes(max_size).map(noise))


def short_payloads(max_size: int = SHORT_BYTES) -> SearchStrategy[bytes]:
    r"""Payloads of a few bytes, any of them or those that some servers treat specially.

    >>> from hypothesis import find
    >>> find(short_payloads(), lambda payload: b"\n" in payload)
    b'\n'
    """
    size = min(SHORT_BYTES, max_size)
    special = st.lists(st.sampled_from(SPECIAL), max_size=size)
    return st.one_of(st.binary(max_size=size), special.map(lambda parts: b"".join(parts)[:size]))


@st.composite
def splits(
    draw: DrawFn, payload: SearchStrategy[bytes] | bytes | None = None, max_pieces: int = PIECES
) -> list[bytes]:
    """Ways to send a payload in pieces: lists of bytes, which joined are the payload.

    `payload` is one, or a strategy for it, `payloads()` if none is given.

    >>> from hypothesis import find
    >>> find(splits(b"abc"), lambda pieces: len(pieces) == 2)
    [b'a', b'bc']
    """
    source = payloads() if payload is None else payload
    data = source if isinstance(source, bytes) else draw(source)
    inside = st.integers(1, max(1, len(data) - 1))
    cuts = draw(st.lists(inside, max_size=max_pieces - 1 if len(data) > 1 else 0, unique=True))
    return [data[a:b] for a, b in pairwise([0, *sorted(cuts), len(data)])]
