"""Reading logs back: whatever stands in them, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

# The longest line that is looked at; the daemon's own stay far below it.
LINE_BYTES = 64 * 1024


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    r"""Give the lines of a log, without their ends; of an overlong one only the beginning.

    >>> import io
    >>> list(lines_of(io.BytesIO(b'{"event":1}\n\n{"torn')))
    [b'{"event":1}', b'', b'{"torn']
    """
    while line := stream.readline(LINE_BYTES):
        whole = line.endswith(b"\n")
        yield line.rstrip(b"\r\n")
        while not whole:
            rest = stream.readline(LINE_BYTES)
            whole = not rest or rest.endswith(b"\n")
