"""``invbench plan``."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import click

from bench.cli.words import overrides


@click.command("plan")
@overrides
@click.option("--trials", is_flag=True, help="List every trial.")
@click.option("--config", is_flag=True, help="Print the composed settings and options as JSON.")
def command(words: tuple[str, ...], config_dir: Path | None, trials: bool, config: bool) -> None:
    """Show what a run would do, without doing it: nodes, skips with reasons, and the time."""
    from bench.engine.execution import expected, history, prepare
    from bench.engine.graph import KINDS
    from bench.engine.progress import duration
    from bench.engine.store import Store
    from bench.engine.work import remaining

    grid, plan = prepare(words, config_dir)
    settings = grid.settings
    if config:
        options = {
            group: {row.name: [dict(layer) for layer in row.layers] for row in rows}
            for group, rows in grid.options.items()
        }
        click.echo(json.dumps({**settings.model_dump(mode="json"), **options}, indent=1))
        return
    store = Store(settings.store)
    work = remaining(plan, store, settings.rerun)
    click.echo(f"Suite {settings.suite}: {len(plan.trials)} trials, {len(work.recorded)} recorded.")
    total = Counter(n.kind for n in plan.nodes.values())
    todo = Counter(plan.nodes[key].kind for key in work.todo)
    click.echo(f"\n{'nodes':10} {'all':>7} {'to run':>7}")
    for kind in KINDS:
        click.echo(f"{kind:10} {total[kind]:7} {todo[kind]:7}")
    if plan.skipped:
        click.echo("\nLeft out:")
        for (what, reason), count in sorted(plan.skipped.items()):
            click.echo(f"  {count:5} {what}: {reason}")
    if work.todo:
        seconds, guessed = expected([plan.nodes[k] for k in work.todo], history(store))
        click.echo(
            f"\nTime: {duration(seconds)} of work on one CPU by earlier records"
            + (f"; {guessed} nodes of kinds not recorded yet are guessed." if guessed else ".")
        )
    else:
        click.echo("\nNothing to run: everything is recorded.")
    if trials:
        click.echo()
        done = work.recorded
        for trial in plan.trials:
            state = "recorded" if trial.id in done else "to run"
            click.echo(f"{trial.id[:12]}  {state:8}  {trial.cell.key()}")
