"""The house: a ground floor, three wings that don't know each other, a roof."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import echo

ROOT = Path(echo.__file__).parent
MODULES = {
    ".".join(("echo", *path.relative_to(ROOT).with_suffix("").parts)): path
    for path in sorted(ROOT.rglob("*.py"))
}
WINGS = ("server", "client", "logs")
GROUND = {
    "echo.deadline",
    "echo.escape",
    "echo.events",
    "echo.limits",
    "echo.stdlog",
    "echo.tls",
    "echo.units",
    "echo.version",
}


def imports(name: str) -> set[str]:
    """Give the project's modules that a module imports when it runs."""
    found = set()
    for node in _running(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {_module(full) for full in names}
        elif isinstance(node, ast.Import):
            found |= {_module(alias.name) for alias in node.names}
    return {module for module in found if module.startswith("echo")} - {name}


def _running(tree: ast.AST) -> list[ast.AST]:
    """Give the nodes that are not under `if TYPE_CHECKING`."""
    nodes: list[ast.AST] = []
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        nodes += [child, *_running(child)]
    return nodes


def _module(full: str) -> str:
    """Give the module of a dotted name, which may go on inside it."""
    while full and full not in MODULES and f"{full}.__init__" not in MODULES:
        full = full.rpartition(".")[0]
    return full if full in MODULES else f"{full}.__init__" * bool(full)


def wing(name: str) -> str:
    """Give the part of the house that a module is in."""
    parts = name.split(".")
    return parts[1] if len(parts) > 2 else ""


@pytest.mark.parametrize("name", MODULES)
def test_a_wing_knows_itself_and_the_ground_floor(name: str) -> None:
    """A module of a wing imports its own wing and the ground floor, nothing else of ours."""
    if wing(name) not in WINGS:
        return

    strangers = {other for other in imports(name) if wing(other) != wing(name)} - GROUND

    assert strangers == set()


@pytest.mark.parametrize("name", sorted(GROUND))
def test_the_ground_floor_stands_on_nothing(name: str) -> None:
    """The ground floor imports only itself."""
    assert imports(name) <= GROUND


@pytest.mark.parametrize("name", MODULES)
def test_only_the_roof_knows_the_roof(name: str) -> None:
    """Nothing below the command line imports the command line."""
    if wing(name) == "cli" or name == "echo.__main__":
        return

    assert not any(wing(other) == "cli" for other in imports(name))


def test_imports_never_go_round_in_a_circle() -> None:
    """The modules can be put in an order in which each imports only those before it."""
    # A package's contents page is imported with each of its modules, and imports them itself.
    graph = {
        name: {other for other in imports(name) if not other.endswith("__init__")}
        for name in MODULES
    }

    order = list(TopologicalSorter(graph).static_order())

    assert set(MODULES) <= set(order)


def test_the_server_is_handed_its_handler() -> None:
    """The server doesn't know the handler: it is handed the class, as in socketserver."""
    assert "echo.server.handler" not in imports("echo.server.server")


def test_the_check_sees_what_it_looks_for() -> None:
    """The layout test can fail: it finds the imports that are there."""
    assert "echo.server.listener" in imports("echo.server.server")
    assert "echo.events" in imports("echo.server.handler")
