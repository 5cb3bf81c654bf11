"""`echod logs`: read the JSON logs."""

from __future__ import annotations

from cyclopts import App

logs_app = App(name="logs", help="Read the JSON logs.", help_format="plaintext")
# Named by path, so that a command imports only what it needs.
_COMMANDS = {
    "show": "Print logs readably, in colour and paged on a terminal.",
    "follow": "Print what is being logged, live, until INT.",
    "summary": "Show on one screen who came, when, how much, and how it ended.",
    "audit": "Check logs against the daemon's promises.\n\n"
    "Exit codes: 0 no promise is broken, 1 one is or a file can't be read, 65 no event was found.",
    "report": "Write the verdict and the summary as one self-contained HTML page.",
    "query": "Run SQL over the tables events and sessions.",
}
for _name, _help in _COMMANDS.items():
    logs_app.command(f"echo.cli.logs.{_name}:{_name}", name=_name, help=_help)
