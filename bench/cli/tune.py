"""``invbench tune``."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from bench.cli.words import Given, table, takes
from bench.contract.errors import UserError, require

if TYPE_CHECKING:
    from bench.api.tuning import Tried, Tuning

_OWN = ("attack", "defense", "against", "trials", "tune_seed", "space")

_HELP = """Search the options of one attack or one defense, on the selection seeds alone.

\b
Examples:
  invbench tune attack=attribute_map against=none 'dataset=[diabetes]' trials=10 seeds=9
  invbench tune defense=top_k against='[attribute_map,csmia]' 'space={k: [1, 2]}' seeds=9

trials= (20), tune_seed= (0) and space='{OPTION: [VALUES]}' are of the search; all else goes to the
runs. Needs the extra 'tune'.
Exit code: 0 a setting was chosen, 1 no setting has an L, 2 a mistake, 130 interrupted.
"""


@click.command("tune", help=_HELP)
@takes()
def command(given: Given) -> None:
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
    _tell(
        api.tune(
            group,
            name,
            _names(own["against"]),
            trials=_whole(own, "trials", 20),
            tune_seed=_whole(own, "tune_seed", 0),
            space=_space(own.get("space", "")),
            words=words,
            config_dir=given.config_dir,
        )
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.strip("[]").split(",")]


def _whole(own: dict[str, str], key: str, default: int) -> int:
    try:
        return int(own.get(key, default))
    except ValueError as error:
        raise UserError(f"{key} is '{own[key]}'; give a whole number.") from error


def _space(text: str) -> Any:
    import yaml

    try:
        space = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"space='{text}' is no mapping; write '{{OPTION: [VALUES]}}'.") from error
    require(space is None or isinstance(space, dict), "space must be '{OPTION: [VALUES]}'.")
    return space


def _tell(found: Tuning) -> None:
    keys = list(found.tried[0].setting)
    table([[*keys, "L", "utility", "loss", ""], *(_row(tried, keys) for tried in found.tried)])
    click.echo(f"\n{len(found.tried)} settings tried; recorded in {found.file}.")
    if found.skipped:
        click.echo(f"Left as they are, without a range: {', '.join(found.skipped)}.")
    if found.best is None:
        click.echo("No setting has an L.", err=True)
        sys.exit(1)
    if found.over_budget:
        click.echo("No setting keeps the utility budget of .03; the one that loses least is best.")
    seeds = ", ".join(map(str, found.seeds))
    click.echo(f"Best: '{found.line}'")
    click.echo(
        f"Its L of {found.best.value:.3f} is on selection seeds ({seeds}) and biased "
        "upwards, because the same seeds chose it."
        if found.group == "attack"
        else f"Its L of {found.best.value:.3f} is on selection seeds ({seeds}) and biased downwards "
        "by the choice of the setting, upwards by that of the worst attack."
    )
    click.echo(f"On the reporting seeds: invbench run {shlex.join(found.words)}")
    if found.of < 5:
        click.echo("Under five seeds the boards choose and report on the same seeds; run more.")


def _row(tried: Tried, keys: list[str]) -> list[str]:
    figures = (tried.value, tried.utility, tried.loss)
    shown = ["-" if figure is None else f"{figure:.3f}" for figure in figures]
    return [*(str(tried.setting[key]) for key in keys), *shown, tried.problem]
