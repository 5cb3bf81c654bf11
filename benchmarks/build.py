"""Build the load generator and the compiled peers, on the spot, where their source is newer."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE / "build"
PEERS = HERE / "peers"
LOADGEN = BUILD / "loadgen"
C_THREADS = BUILD / "threads"
C_EPOLL = BUILD / "epoll"
GO_NET = BUILD / "gonet"


def build_all() -> None:
    """Build everything that this machine can build; Go is optional, a C compiler isn't."""
    BUILD.mkdir(exist_ok=True)
    build_c(HERE / "loadgen.c", LOADGEN)
    build_c(PEERS / "threads.c", C_THREADS)
    build_c(PEERS / "epoll.c", C_EPOLL)
    if shutil.which("go"):
        build_go(PEERS / "gonet.go", GO_NET)


def build_c(source: Path, target: Path) -> None:
    """Compile one C file with the machine's own compiler and instruction set."""
    command = ["cc", "-O3", "-march=native", "-std=gnu11", "-Wall", "-Wextra", "-pthread"]
    build(source, target, [*command, "-o", str(target), str(source)], os.environ)


def build_go(source: Path, target: Path) -> None:
    """Compile one Go file that needs the standard library only."""
    environment = os.environ | {"GO111MODULE": "off", "GOCACHE": str(BUILD / "go-cache")}
    build(source, target, ["go", "build", "-o", str(target), str(source)], environment)


def build(source: Path, target: Path, command: list[str], environment: Mapping[str, str]) -> None:
    """Run a compiler, unless the target is newer than its source."""
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(command, env=environment, check=True, timeout=120)
