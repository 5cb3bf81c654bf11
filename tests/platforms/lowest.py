"""Install the oldest release of each dependency that setup.cfg allows."""

from __future__ import annotations

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[2]


def oldest() -> list[str]:
    """Return a requirement such as `orjson==3.13` for each dependency, those of the extras too."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    needed = config["options"]["install_requires"] + "".join(
        config["options.extras_require"][extra] for extra in ("atheris", "fuzz", "logs", "test")
    )
    lines = {line.strip() for line in needed.splitlines() if line.strip()}
    return sorted(line.replace(">=", "==") for line in lines)


if __name__ == "__main__":
    sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "-q", *oldest()]))
