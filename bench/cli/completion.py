"""``invbench completion``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bench.contract.errors import require

_FILES = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/completions/invbench.fish",
}
_LINES = {
    "bash": 'eval "$(_INVBENCH_COMPLETE=bash_source invbench)"',
    "zsh": 'eval "$(_INVBENCH_COMPLETE=zsh_source invbench)"',
    "fish": "_INVBENCH_COMPLETE=fish_source invbench | source",
}


@click.command("completion")
@click.argument("shell", metavar="[SHELL]", type=click.Choice([*_FILES]), required=False)
def command(shell: str | None) -> None:
    """Print the line that lets the shell complete verbs, options, settings and names.

    SHELL is bash, zsh or fish; without it, the shell that you are in: invbench completion bash >>
    ~/.bashrc.
    """
    chosen = shell or Path(os.environ.get("SHELL", "")).name
    require(chosen in _FILES, f"Name the shell: invbench completion {'|'.join(_FILES)}.")
    click.echo(_LINES[chosen])
    click.echo(f"Add this line to {_FILES[chosen]}, and open a new shell.", err=True)
