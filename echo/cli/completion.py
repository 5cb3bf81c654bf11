"""`echod --install-completion`: lets the shell complete commands, options and files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cyclopts.completion import ShellDetectionError, detect_shell

from echo.cli import app
from echo.cli.failure import USAGE, Failure
from echo.errors import problem_of


def install_completion(
    *, shell: Literal["bash", "zsh", "fish"] | None = None, output: Path | None = None
) -> None:
    """Install completion for your current shell, and load it from its start-up file.

    Parameters
    ----------
    shell
        Shell to install it for; by default the current one.
    output
        File to write it to instead; loading it is then up to you.
    """
    try:
        chosen = shell or detect_shell()
        path = app.install_completion(shell=chosen, output=output, add_to_startup=output is None)
    except ShellDetectionError as error:
        raise Failure(
            "can't tell which shell this is: name it with --shell bash, zsh or fish", USAGE
        ) from error
    except OSError as error:
        raise Failure(
            f"can't install the completion: {problem_of(error)}; name a file with --output"
        ) from error
    print(f"completion is installed in {path}; it works in the next shell that you open")
    if chosen == "zsh":
        print("zsh completes where ~/.zshrc has: autoload -Uz compinit && compinit")
