"""``invbench plan``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from bench.cli.printing import as_json, print_json, table, wrapped
from bench.cli.words import Given, takes

if TYPE_CHECKING:
    from bench.api import Forecast


@click.command("plan")
@takes()
@click.option("--trials", is_flag=True, help="List every trial.")
@click.option("--config", is_flag=True, help="Print the composed settings and options as JSON.")
@as_json
def command(given: Given, trials: bool, config: bool, as_json: bool) -> None:
    """Show what a run would do, without doing it: nodes, skips with reasons, and the time."""
    from bench import api

    forecast = api.plan(given.words, given.config_dir)
    if config:
        print_json("plan.config/1", _config(forecast))
        return
    if as_json:
        print_json("plan/1", _plain(forecast))
        return
    settings, plan, work = forecast.grid.settings, forecast.plan, forecast.work
    called = "" if settings.label == settings.suite else f", called '{settings.label}'"
    click.echo(
        f"Suite {settings.suite}{called}: {len(plan.trials)} trials, {len(work.recorded)} recorded."
    )
    click.echo(f"\n{'nodes':10} {'all':>7} {'to run':>7}")
    for kind, counts in _nodes(forecast).items():
        click.echo(f"{kind:10} {counts['all']:7} {counts['to_run']:7}")
    if plan.skipped:
        click.echo("\nLeft out:")
        for (what, reason), count in sorted(plan.skipped.items()):
            wrapped(f"{what}: {reason}", f"  {count:5} ")
    click.echo()
    wrapped(_time(forecast))
    if trials:
        click.echo()
        states = ["recorded" if trial.id in work.recorded else "to run" for trial in plan.trials]
        rows = [
            [trial.id[:12], state, trial.cell.key()]
            for trial, state in zip(plan.trials, states, strict=True)
        ]
        table([["identity", "state", "trial"], *rows])


def _config(forecast: Forecast) -> dict[str, object]:
    options = {
        group: {row.name: [dict(layer) for layer in row.layers] for row in rows}
        for group, rows in forecast.grid.options.items()
    }
    return {**forecast.grid.settings.model_dump(mode="json"), **options}


def _nodes(forecast: Forecast) -> dict[str, dict[str, int]]:
    """Of each kind of node how many there are, and how many are to run."""
    nodes = forecast.plan.nodes
    total: Counter[str] = Counter(node.kind for node in nodes.values())
    todo: Counter[str] = Counter(nodes[key].kind for key in forecast.work.todo)
    return {kind: {"all": total[kind], "to_run": todo[kind]} for kind in forecast.kinds}


def _plain(forecast: Forecast) -> dict[str, object]:
    settings, plan, work = forecast.grid.settings, forecast.plan, forecast.work
    return {
        "suite": settings.suite,
        "label": settings.label,
        "nodes": _nodes(forecast),
        "left_out": [
            {"what": what, "reason": reason, "count": count}
            for (what, reason), count in sorted(plan.skipped.items())
        ],
        "seconds": forecast.seconds,
        "at_once": forecast.slots,
        "nodes_of_unknown_time": forecast.unknown,
        "trials": [
            {"trial_id": trial.id, "cell": trial.cell.key(), "recorded": trial.id in work.recorded}
            for trial in plan.trials
        ],
    }


def _time(forecast: Forecast) -> str:
    """How long it should take, as far as earlier records tell."""
    from bench.engine.durations import duration

    nodes = len(forecast.work.todo)
    if not nodes:
        return "Nothing to run: everything is recorded."
    if forecast.unknown == nodes:
        return "Time: not known; this store has no record yet of anything like these nodes."
    wall = duration(forecast.seconds / forecast.slots)
    beside = f"{forecast.slots} at once" if forecast.slots > 1 else "one after the other"
    sentence = f"Time: about {wall}, {beside}, by earlier records of this store"
    if forecast.unknown:
        sentence += f", and {forecast.unknown} of {nodes} nodes of which it has none"
    return f"{sentence}."
