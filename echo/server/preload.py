"""Load what serving needs only now and then, while there is a descriptor to load it with.

From Python 3.15 on the standard library loads some of its modules when they are first used. The
first error to be described may be that no descriptor is left, and then no module can be loaded.
`tests/faults/test_imports.py` finds what is missing here.
"""

from __future__ import annotations

import traceback

# Describing an error loads everything that describing one needs.
traceback.format_exception(OSError())
