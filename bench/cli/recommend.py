"""``invbench recommend``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bench.cli.completing import FILES
from bench.cli.printing import as_json, print_json, width
from bench.cli.words import Given, takes


@click.command("recommend")
@takes("EVIDENCE...", 1, None, names=FILES)
@click.option("--dataset", default="", help="Data set, where the evidence holds several.")
@click.option("--model", default="", help="Model, where the evidence holds several.")
@click.option(
    "--access",
    type=click.Choice(["labels", "scores", "weights", "gradients", "malicious_server"]),
    required=True,
    help="What customers get of the model.",
)
@click.option("--tier", default="", help="Bars of the policy for a class of data: T1, T2 or T3.")
@click.option("--tau", type=click.FloatRange(0, 1), help="Most leakage L; instead of --tier.")
@click.option("--mu", type=click.FloatRange(0, 1), help="Most member-specific leakage M.")
@click.option("--loss", type=click.FloatRange(0, 1), help="Most utility that may be lost.")
@click.option("--epsilon-required", is_flag=True, help="Only what is differentially private.")
@click.option("--federated", is_flag=True, help="Clients share gradients or updates.")
@click.option("--query-cap", type=click.IntRange(1), help="Most queries that are answered.")
@click.option(
    "--needs-scores/--no-needs-scores", help="Whether the application uses scores, not labels only."
)
@click.option("--policy", default="default", show_default=True, help="Name or path of a policy.")
@as_json
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page that prints.")
def command(given: Given, as_json: bool, html: Path | None, **asked: Any) -> None:
    """Recommend a defense: invbench recommend results/published/credit --access scores --tier T2.

    EVIDENCE is a pack (folder or .zip), the name of a suite (its newest run in the store) or of an
    execution. The rule is the protocol's (8.1): of the defenses that keep all bars by the
    unfavourable ends of their intervals, the most useful one. Bars are never relaxed.

    Exit code 0: there is a recommendation; 1: nothing qualifies; 2: a mistake.
    """
    from bench import api
    from bench.decide import document, explain

    bars = {name: asked.pop(name) for name in ("tau", "mu", "loss")}
    decision = api.recommend(
        *given.names,
        bars={name: bar for name, bar in bars.items() if bar is not None},
        words=given.words,
        config_dir=given.config_dir,
        **asked,
    )
    if as_json:
        print_json("recommend/1", explain.data(decision))
    else:
        click.echo(document.text(explain.document(decision), width()), nl=False)
    if html is not None:
        document.save(html, document.html(explain.document(decision, brief=True)))
        click.echo(f"Page: {html}", err=True)
    sys.exit(0 if decision.chosen else 1)
