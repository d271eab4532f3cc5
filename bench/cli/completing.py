"""What the shell offers after a tab: settings, options of a group, names and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    shell_complete,
)

Names = tuple[str, ...] | Callable[[Path | None], Mapping[str, str]]
"""Names that a verb takes; or what gives them with a line on each, from the user's own options."""
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

FILES: Names = ("<files>",)
"""A verb's names are files and folders."""
_GROUPS = ("dataset", "model", "defense", "attack", "suite", "backend", "tracking")
_SETTINGS = (
    *_GROUPS,
    "seeds",
    "label",
    "data_root",
    "store",
    "report_dir",
    "tracking.uri",
    "rerun",
    "budgets",
    "base_seed",
    "face_network",
)


def completes(names: Names = ()) -> Complete:
    """What completes the words after a verb.

    Args:
        names: what a word that is no override may be; ``FILES``: a file or folder.
    """

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        key, equals, value = incomplete.partition("=")
        prefix = f"{key}="
        before = list(ctx.params.get(param.name or "") or ())
        if before and before[-1] == "=":  # bash breaks words at "="
            key, equals, value, prefix = before[-2] if len(before) > 1 else "", "=", incomplete, ""
        own: Path | None = ctx.params.get("config_dir")
        if equals:
            return list(_values(key.lstrip("+"), value, prefix, own))
        keys = [CompletionItem(f"{k}=") for k in _SETTINGS if f"{k}=".startswith(incomplete)]
        if names is FILES:
            return keys or [CompletionItem(incomplete, type="file")]
        known = names(own) if callable(names) else dict.fromkeys(names)
        named = [
            CompletionItem(n, help=text) for n, text in known.items() if n.startswith(incomplete)
        ]
        return [*named, *keys]

    return complete


def _values(group: str, value: str, prefix: str, own: Path | None) -> Iterator[CompletionItem]:
    """Options of a group, also within a list."""
    from bench.engine.conf import list_options

    if group not in _GROUPS:
        return
    head, comma, last = value.rpartition(",")
    if not comma and value.startswith("["):
        head, last = "[", value[1:]
    elif comma:
        head += ","
    for name, heading in list_options(group, own).items():
        if name.startswith(last):
            yield CompletionItem(f"{prefix}{head}{name}", help=heading.sentence)


class _Bash(BashComplete):
    """Sets no blank after ``suite=``: its value follows."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value); [[ $value == *= ]] && compopt -o nospace"
    )


def complete_words(program: click.Command, variable: str, instruction: str) -> int:
    """Answer the shell.

    Args:
        program: whose words are completed.
        variable: of the environment, that holds the instruction.
        instruction: such as ``bash_source`` or ``bash_complete``.

    Returns:
        The exit code.
    """
    add_completion_class(_Bash)
    return shell_complete(program, {}, "invbench", variable, instruction)
