"""Name what was measured on: the machine, the versions, the settings."""

import os
import platform
import resource
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("echo-daemon", "structlog", "orjson", "uvloop", "gevent")


def raise_descriptor_limit() -> None:
    """Allow this process, and every server and generator that it starts, the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe() -> dict[str, str]:
    """Return the machine and the versions, each as a line."""
    return {
        "machine": f"{cpu_model()}, {len(os.sched_getaffinity(0))} cores, {memory_gib():.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "descriptors": str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        "load average": f"{os.getloadavg()[0]:.2f} at the start",
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}, {lock()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "C": first_line("cc", "--version"),
        "Go": first_line("go", "version"),
        "commit": first_line("git", "describe", "--always", "--dirty"),
        "settings": settings_from_environment(),
    }


def cpu_model() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_gib() -> float:
    """Return how much memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def lock() -> str:
    """Return whether the interpreter has its lock."""
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    return "with the GIL" if enabled else "free-threaded"


def version(package: str) -> str:
    """Return an installed package's version."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def first_line(*command: str) -> str:
    """Return the first line that a program prints."""
    if not shutil.which(command[0]):
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return (done.stdout or done.stderr).partition("\n")[0]


def settings_from_environment() -> str:
    """Return what the environment sets for the daemon, as it is started in it."""
    found = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("ECHOD_")]
    return ", ".join(found) or "the defaults, beside the flags"
