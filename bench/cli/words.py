"""One grammar for every verb: names, and overrides as key=value, in any order."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench.cli.completing import Names, completes
from bench.contract.errors import UserError

_OVERRIDE = re.compile(r"(\+{0,2}[\w.@]+=)|(~[\w.@]+)")
"""How an override begins; a cell such as ``faces/mlp/dp_sgd[epsilon=3]/miface/0`` is a name."""


@dataclass(frozen=True)
class Given:
    """What stands after a verb.

    Attributes:
        names: words that are no override, in order.
        words: overrides.
        config_dir: folder with a user's own options.
    """

    names: tuple[str, ...]
    words: tuple[str, ...]
    config_dir: Path | None

    @property
    def name(self) -> str:
        """The first name."""
        return self.names[0]


def takes(
    metavar: str = "",
    least: int = 0,
    most: int | None = 0,
    names: Names = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a verb take names and overrides; it gets them as :class:`Given`.

    Args:
        metavar: what the names are, for the help.
        least: fewest names.
        most: most names; None: any number.
        names: what completes a name, as :func:`bench.cli.completing.completes` takes it.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapper(tokens: tuple[str, ...], config_dir: Path | None, **options: Any) -> Any:
            called = tuple(token for token in tokens if not _OVERRIDE.match(token))
            words = tuple(token for token in tokens if _OVERRIDE.match(token))
            if len(called) < least:
                path = click.get_current_context().command_path
                raise UserError(f"Name {metavar}; '{path} --help' shows an example.")
            if most is not None and len(called) > most:
                raise UserError(_too_many(called[most], metavar))
            return command(Given(called, words, config_dir), **options)

        shown = " ".join(part for part in (metavar, "[KEY=VALUE]...") if part)
        with_tokens = click.argument(
            "tokens", nargs=-1, metavar=shown, shell_complete=completes(names)
        )
        with_folder = click.option(
            "--config-dir",
            type=click.Path(path_type=Path),
            help="Folder with your own options (dataset/, defense/, attack/, suite/ ...).",
        )
        with_verbosity = click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            callback=lambda context, parameter, count: _more_words(count),
            help="Say more: -v what goes on, -vv everything.",
        )
        return with_tokens(with_folder(with_verbosity(wrapper)))

    return decorate


def _too_many(name: str, metavar: str) -> str:
    if metavar:
        return f"'{name}' is one name too many; this verb takes {metavar} and key=value words."
    return (
        f"'{name}' is no override; write key=value, as in suite={name} for a suite or "
        f"'defense=[none,{name}]' for a list."
    )


def _more_words(count: int) -> None:
    if count:
        from bench.cli import speak

        speak(count)


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


def signing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a verb sign what it says."""
    return click.option(
        "--sign",
        "key",
        metavar="KEY",
        type=click.Path(path_type=Path),
        help="Sign it with this SSH key, in the name of --by: a private key, or a public one whose "
        "private half is in the SSH agent.",
    )(command)


def signers(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a verb check signatures."""
    return click.option(
        "--signers",
        "signers",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Whose signatures are trusted, in OpenSSH's format of allowed signers; without it the "
        "file that INVBENCH_SIGNERS names.",
    )(command)


def foreign_code(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a verb run code of others that a pack needs, which is shown first."""
    return click.option(
        "--allow-code",
        "allow_code",
        multiple=True,
        metavar="PACKAGE",
        help="Let a pack run code of this package, after its files and their sha256 are shown; may "
        "be given several times.",
    )(command)


def show_code(packages: tuple[str, ...], config_dir: Path | None) -> None:
    """Show code of others before it runs."""
    if packages:
        from bench.exchange.code import shown

        for line in shown(packages, config_dir):
            click.echo(line, err=True)


def tell_joined(notes: Any, names: tuple[str, ...]) -> None:
    """Say what joined the boards, and which rows it did not meet."""
    for name, note in zip(names, notes.get("submissions", ())[-len(names) :], strict=False):
        who = f" by {note['submitter']}" if note.get("submitter") else ""
        none = "" if note["joined"] else ": nothing in it is new here"
        click.echo(f"Joined from {name}{who}: {note['joined']} trials{none}.", err=True)
        for line in note["unmet"]:
            click.echo(f"  {line}: these rows are flagged 'missing'.", err=True)
