"""The alerts and the dashboard: checked by promtool, and about metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from echo.server.metrics import Metrics
from echo.testing import running_server
from tests.debian import need

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"


class QuietLog:
    """A log that has lost nothing."""

    dropped = 0
    problem = None
    queue_length = 0


def exposition() -> bytes:
    """Return the page that a daemon shows."""
    with running_server() as server:
        return Metrics(server.server, QuietLog()).page("").body


def names() -> set[str]:
    """Return the names of all samples there are."""
    families = text_string_to_metric_families(exposition().decode())
    return {sample.name for family in families for sample in family.samples}


def expressions() -> list[str]:
    """Return every expression of the dashboard, as Grafana would send it."""
    panels = json.loads((FOLDER / "grafana-dashboard.json").read_text())["panels"]
    raw = [target["expr"] for panel in panels for target in panel["targets"]]
    return [text.replace("$instance", ".*").replace("$__rate_interval", "1m") for text in raw]


def promtool(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run promtool in the folder of the files."""
    command = [need("promtool"), *arguments]
    return subprocess.run(command, cwd=FOLDER, input=stdin, capture_output=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "--lint-fatal", "echod.rules.yml"),
        ("test", "rules", "echod.rules.test.yml"),
    ],
    ids=lambda arguments: arguments[0] + "-" + arguments[1],
)
def test_promtool_finds_nothing_wrong(arguments: tuple[str, ...]) -> None:
    """The configuration and the alerts are valid, and fire when they should."""
    done = promtool(*arguments)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_exposition_is_as_prometheus_wants_it() -> None:
    """Promtool's linter has nothing to say about names, help texts and types."""
    done = promtool("check", "metrics", stdin=exposition())

    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_the_dashboard_s_expressions_are_valid(tmp_path: Path) -> None:
    """Prometheus parses each of them."""
    rules = [
        {"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions())
    ]
    path = tmp_path / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(path))

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", ["grafana-dashboard.json", "echod.rules.yml"])
def test_every_metric_that_is_asked_for_exists(file: str) -> None:
    """Neither the dashboard nor an alert asks for a name that no daemon shows."""
    asked = set(re.findall(r"\b(?:echod|process)_[a-z_]+\b", (FOLDER / file).read_text()))

    assert asked
    assert asked <= names()
