"""Text from outside, made safe to show: control characters are escaped, not performed."""

from __future__ import annotations

import re

# What would move a terminal's cursor, colour the screen, or reorder the text (bidi controls).
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    r"""Return `text` with its control characters escaped, newlines among them.

    >>> escape("a\n\x1b[31mb")
    'a\\n\\x1b[31mb'
    """
    return _CONTROLS.sub(lambda match: ascii(match.group())[1:-1], text)
