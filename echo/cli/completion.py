"""`echod --install-completion`: what the shell needs to complete commands and flags."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cyclopts.completion import ShellDetectionError, detect_shell

from echo.cli import app
from echo.cli.failure import USAGE, Failure, reason


def install_completion(
    *, shell: Literal["bash", "zsh", "fish"] | None = None, output: Path | None = None
) -> None:
    """Install completion for this shell, and let its start-up file load it.

    Parameters
    ----------
    shell
        Shell to install it for instead.
    output
        File to write instead, which nothing loads by itself.
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
            f"can't install the completion: {reason(error)}; name a file with --output"
        ) from error
    print(f"completion is in {path}; it is there in the next shell you open")
    if chosen == "zsh":
        print("zsh completes where ~/.zshrc has: autoload -Uz compinit && compinit")
