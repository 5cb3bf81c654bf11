"""`echod logs`: read the JSON logs."""

from __future__ import annotations

from cyclopts import App

logs_app = App(name="logs", help="Read the JSON logs.", help_format="plaintext")
# Named by path, so that a command imports only what it needs.
_COMMANDS = {
    "show": "Print logs readably, in colour and paged on a terminal.",
    "follow": "Print what is being logged, live, until INT.",
    "summary": "Tell on one screen who came, when, how much, and how it ended.",
    "audit": "Hold logs against the daemon's promises; exit code 1 on a breach.",
    "report": "Write the summary as one HTML page that needs nothing else.",
    "query": "Ask in SQL: tables events and sessions.",
}
for _name, _help in _COMMANDS.items():
    logs_app.command(f"echo.cli.logs.{_name}:{_name}", name=_name, help=_help)
