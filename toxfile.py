"""Lets tox see each Python that pyenv has installed, not only those that are switched on."""

from __future__ import annotations

import os
from pathlib import Path

PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
FOUND = [str(folder) for folder in sorted(PYENV.glob("versions/3.*/bin"))]

# Last in the path: whatever the user has switched on comes first.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), *FOUND])
