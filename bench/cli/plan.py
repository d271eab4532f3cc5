"""``invbench plan``."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import click

from bench.cli.words import Given, takes

if TYPE_CHECKING:
    from bench.api import Forecast


@click.command("plan")
@takes()
@click.option("--trials", is_flag=True, help="List every trial.")
@click.option("--config", is_flag=True, help="Print the composed settings and options as JSON.")
def command(given: Given, trials: bool, config: bool) -> None:
    """Show what a run would do, without doing it: nodes, skips with reasons, and the time."""
    from bench import api

    forecast = api.plan(given.words, given.config_dir)
    settings, plan, work = forecast.grid.settings, forecast.plan, forecast.work
    if config:
        options = {
            group: {row.name: [dict(layer) for layer in row.layers] for row in rows}
            for group, rows in forecast.grid.options.items()
        }
        click.echo(json.dumps({**settings.model_dump(mode="json"), **options}, indent=1))
        return
    called = "" if settings.label == settings.suite else f", called '{settings.label}'"
    click.echo(
        f"Suite {settings.suite}{called}: {len(plan.trials)} trials, {len(work.recorded)} recorded."
    )
    total: Counter[str] = Counter(node.kind for node in plan.nodes.values())
    todo: Counter[str] = Counter(plan.nodes[key].kind for key in work.todo)
    click.echo(f"\n{'nodes':10} {'all':>7} {'to run':>7}")
    for kind in forecast.kinds:
        click.echo(f"{kind:10} {total[kind]:7} {todo[kind]:7}")
    if plan.skipped:
        click.echo("\nLeft out:")
        for (what, reason), count in sorted(plan.skipped.items()):
            click.echo(f"  {count:5} {what}: {reason}")
    click.echo(f"\n{_time(forecast)}")
    if trials:
        click.echo()
        for trial in plan.trials:
            state = "recorded" if trial.id in work.recorded else "to run"
            click.echo(f"{trial.id[:12]}  {state:8}  {trial.cell.key()}")


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
