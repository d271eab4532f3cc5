"""What verbs share: Hydra's words after the verb, and their completion."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

_FAULTS_SHOWN = 5
_LISTED = ("dataset", "model", "defense", "attack", "suite", "backend", "tracking")
_PLAIN = ("seeds", "data_root", "store", "report_dir", "tracking.uri", "rerun", "base_seed")


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Setting names, then the options of a group; ``a=b`` may come as one word or as three."""
    from bench.engine.config import list_options

    key, equals, value = incomplete.partition("=")
    prefix = f"{key}="
    before = list(ctx.params.get(param.name or "", ()) or ())
    if before and before[-1] == "=":  # bash breaks words at "="
        key, equals, value, prefix = before[-2] if len(before) > 1 else "", "=", incomplete, ""
    if not equals:
        keys = [f"{k}=" for k in (*_LISTED, *_PLAIN)]
        return [CompletionItem(k) for k in keys if k.startswith(incomplete)]
    group = key.lstrip("+")
    if group not in _LISTED:
        return []
    head, comma, last = value.rpartition(",")
    if not comma and value.startswith("["):
        head, last = "[", value[1:]
    elif comma:
        head += ","
    return [
        CompletionItem(f"{prefix}{head}{name}", help=text)
        for name, text in list_options(group).items()
        if name.startswith(last)
    ]


def overrides(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a verb take Hydra overrides and ``--config-dir``."""
    command = click.argument("words", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete)(
        command
    )
    return click.option(
        "--config-dir",
        type=click.Path(path_type=Path),
        help="Folder with your own options (dataset/, defense/, attack/, suite/ ...).",
    )(command)


def tell_faults() -> None:
    """Say which files of a store were left out because they are damaged."""
    store = sys.modules.get("bench.engine.store")
    faults: dict[Path, str] = store.FAULTS if store is not None else {}
    for path, reason in list(faults.items())[:_FAULTS_SHOWN]:
        click.echo(f"Left out: {path}: {reason}.", err=True)
    if faults:
        click.echo(
            f"{len(faults)} damaged files were left out; 'invbench run' makes again what it needs "
            "of them, 'invbench doctor' looks at the whole store.",
            err=True,
        )
    faults.clear()


def submissions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a verb take submissions that join the boards."""
    return click.option(
        "--with",
        "joining",
        multiple=True,
        metavar="PACK",
        help="Trials that join the boards: what 'invbench submit' packed; may be given several "
        "times.",
    )(command)
