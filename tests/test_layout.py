"""Imports go down or stay inside a package: the rules that docs/design.md gives, each checked."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import echo

if TYPE_CHECKING:
    from collections.abc import Callable

    Modules = dict[str, str]

PACKAGES = ("server", "client", "logs")
SHARED = {
    "echo.deadline",
    "echo.errors",
    "echo.escape",
    "echo.events",
    "echo.limits",
    "echo.stdlog",
    "echo.tls",
    "echo.units",
    "echo.version",
}


def modules() -> Modules:
    """Return the text of every module of the project by its dotted name."""
    root = Path(echo.__file__).parent
    return {
        ".".join(("echo", *path.relative_to(root).with_suffix("").parts)): path.read_text()
        for path in sorted(root.rglob("*.py"))
    }


def imports(name: str, known: Modules) -> set[str]:
    """Return the project's modules that a module imports when it runs."""
    found = set()
    for node in _running(ast.parse(known[name])):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {_module(f"{node.module}.{alias.name}", known) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {_module(alias.name, known) for alias in node.names}
    return {module for module in found if module.startswith("echo")} - {name}


def _running(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes that are not under `if TYPE_CHECKING`."""
    nodes: list[ast.AST] = []
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        nodes += [child, *_running(child)]
    return nodes


def _module(full: str, known: Modules) -> str:
    """Return the module of a dotted name, which may go on inside it."""
    while full and full not in known and f"{full}.__init__" not in known:
        full = full.rpartition(".")[0]
    return full if full in known else f"{full}.__init__" * bool(full)


def package(name: str) -> str:
    """Return the package that a module is in, or nothing for one beside them."""
    parts = name.split(".")
    return parts[1] if len(parts) > 2 else ""


# -- the rules: each returns what breaks it -------------------------------------------------


def strangers(known: Modules) -> set[str]:
    """Find imports of server, client and logs beyond the own package and the shared modules."""
    return {
        f"{name} -> {other}"
        for name in known
        if package(name) in PACKAGES
        for other in imports(name, known) - SHARED
        if package(other) != package(name)
    }


def heavy(known: Modules) -> set[str]:
    """Find what shared modules import that is not shared itself."""
    return {f"{name} -> {other}" for name in SHARED for other in imports(name, known) - SHARED}


def upward(known: Modules) -> set[str]:
    """Find imports of the command line by what is below it."""
    below = [name for name in known if package(name) != "cli" and name != "echo.__main__"]
    return {
        f"{name} -> {other}"
        for name in below
        for other in imports(name, known)
        if package(other) == "cli"
    }


def circular(known: Modules) -> set[str]:
    """Find a circle of imports: without one, the modules have an order of loading."""
    # A package's __init__ is loaded before each of its modules, and imports them itself.
    graph = {
        name: {other for other in imports(name, known) if not other.endswith("__init__")}
        for name in known
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return {" -> ".join(error.args[1])}
    return set()


def chosen(known: Modules) -> set[str]:
    """Find handlers that the server imports: it is handed the class, as in socketserver."""
    return imports("echo.server.server", known) & {"echo.server.handler", "echo.server.compiled"}


RULES = [
    (strangers, "echo.server.session", "import echo.client.client"),
    (strangers, "echo.client.client", "from echo.logs import writer"),
    (strangers, "echo.logs.__init__", "from echo.server.server import EchoServer"),
    (strangers, "echo.server.__init__", "import echo.testing.faults"),
    (heavy, "echo.limits", "from echo.client import EchoClient"),
    (heavy, "echo.tls", "import echo.server.tls"),
    (upward, "echo.testing.running", "from echo.cli import main"),
    (upward, "echo.logs.__init__", "def f():\n    import echo.cli.serve"),
    (upward, "echo.__init__", "from echo.cli import main"),
    (circular, "echo.limits", "import echo.events\nimport echo.deadline\nimport echo.version"),
    (chosen, "echo.server.server", "from echo.server.handler import EchoHandler"),
]


@pytest.mark.parametrize(
    "rule", sorted({rule for rule, _, _ in RULES}, key=lambda rule: rule.__name__)
)
def test_the_project_keeps_the_rule(rule: Callable[[Modules], set[str]]) -> None:
    """No import breaks one of the rules above."""
    assert rule(modules()) == set()


@pytest.mark.parametrize(("rule", "name", "violation"), RULES)
def test_a_planted_import_breaks_the_rule(
    rule: Callable[[Modules], set[str]], name: str, violation: str
) -> None:
    """Each rule finds an import that it forbids, in a package's __init__, too."""
    known = modules()
    known[name] += f"\n{violation}\n"
    if rule is circular:
        known["echo.events"] += "\nimport echo.limits\n"

    assert len(rule(known)) == 1


def test_an_import_for_types_only_breaks_no_rule() -> None:
    """What stands under `if TYPE_CHECKING` does not run."""
    known = modules()
    known["echo.limits"] += "\nif TYPE_CHECKING:\n    from echo.cli import main\n"

    assert upward(known) == set()
