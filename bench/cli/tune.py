"""``invbench tune``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from bench.cli.printing import as_json, paste, print_json, table, wrapped
from bench.cli.words import Given, takes
from bench.contract.documents import parse_yaml
from bench.contract.errors import require
from bench.contract.secrets import redacted

if TYPE_CHECKING:
    from bench.api.tuning import Tried, Tuning

_NUMBERS = {"trials": 20, "tune_seed": 0}
_OWN = ("attack", "defense", "against", "space", *_NUMBERS)

_HELP = """Search the options of one attack or one defense, on the selection seeds alone.

\b
Examples:
  invbench tune attack=attribute_map against=none trials=10 seeds=9
  invbench tune defense=top_k against=csmia 'space={k: [1, 2]}' seeds=9

trials= (20), tune_seed= (0) and space='{OPTION: [VALUES]}' are of the search; all else goes to the
runs. Needs the extra 'tune'.
Exit code: 0 a setting was chosen, 1 no setting has an L, 2 a mistake, 130 interrupted.
"""


@click.command("tune", help=_HELP)
@takes()
@as_json
def command(given: Given, as_json: bool) -> None:
    """Search the options of one attack or defense."""
    from bench import api

    own = {k: v for k, _, v in (w.partition("=") for w in given.words) if k in _OWN}
    words = [w for w in given.words if w.partition("=")[0] not in _OWN]
    require(
        ("attack" in own) != ("defense" in own) and "against" in own,
        "Give attack=NAME against=DEFENSE, or defense=NAME against=ATTACK.",
    )
    group = "attack" if "attack" in own else "defense"
    [name, *more] = _names(own[group])
    require(not more, f"{group}={own[group]} names several; one is tuned at a time.")
    search = {key: _whole(own, key, default) for key, default in _NUMBERS.items()}
    space, folder = _space(own.get("space", "")), given.config_dir
    against = _names(own["against"])
    tuning = api.tune(group, name, against, space=space, words=words, config_dir=folder, **search)
    again = [*([f"--config-dir={folder}"] if folder else []), *tuning.words]
    if as_json:
        print_json("tune/1", {**asdict(tuning), "override": tuning.line, "words": again})
    else:
        _tell(tuning, again)
    sys.exit(0 if tuning.best is not None else 1)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.strip("[]").split(",")]


def _whole(own: dict[str, str], key: str, default: int) -> int:
    text = own.get(key, str(default))
    require(text.isdecimal(), f"{key} is '{text}'; give a whole number.")
    return int(text)


def _space(text: str) -> Any:
    space = parse_yaml(text, "space")
    require(
        not space or isinstance(space, dict),
        f"space is '{text}'; give a mapping '{{OPTION: [VALUES]}}'.",
    )
    return space


def _tell(tuning: Tuning, again: list[str]) -> None:
    keys = list(tuning.tried[0].setting)
    table([[*keys, "L", "utility", "loss", ""], *(_row(tried, keys) for tried in tuning.tried)])
    click.echo(f"\n{len(tuning.tried)} settings tried; recorded in {tuning.file}.")
    if tuning.skipped:
        wrapped(f"Left as they are, without a range: {', '.join(tuning.skipped)}.")
    if tuning.best is None:
        click.echo("No setting has an L.", err=True)
        return
    if tuning.over_budget:
        click.echo("No setting keeps the utility budget of .03; the one that loses least is best.")
    click.echo(f"Best: '{tuning.line}'")
    where = f"on selection seeds ({', '.join(map(str, tuning.seeds))})"
    click.echo(f"Its L of {tuning.best.value:.3f} is {where} and biased {tuning.bias}.")
    click.echo("On seeds that chose nothing:")
    paste(redacted(shlex.join(["invbench", "run", *again])), "  ")


def _row(tried: Tried, keys: list[str]) -> list[str]:
    figures = (tried.value, tried.utility, tried.loss)
    shown = ["-" if figure is None else f"{figure:.3f}" for figure in figures]
    return [*(str(tried.setting[key]) for key in keys), *shown, tried.problem]
