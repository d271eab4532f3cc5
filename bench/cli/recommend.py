"""``invbench recommend``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click


@click.command("recommend")
@click.argument("names", nargs=-1, required=True, metavar="EVIDENCE...")
@click.option("--dataset", default="", help="Data set, where the evidence holds several.")
@click.option("--model", default="", help="Model, where the evidence holds several.")
@click.option(
    "--access", type=click.Choice(["labels", "scores", "weights", "gradients"]), required=True,
    help="What customers get of the model.",
)  # fmt: skip
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
@click.option("--set", "words", multiple=True, metavar="KEY=VALUE", help="Settings, as store=.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page that prints.")
def command(
    names: tuple[str, ...], dataset: str, model: str, access: Any, tier: str, tau: float | None,
    mu: float | None, loss: float | None, epsilon_required: bool, federated: bool,
    query_cap: int | None, needs_scores: bool, policy: str, words: tuple[str, ...],
    as_json: bool, html: Path | None,
) -> None:  # fmt: skip
    """Recommend a defense: invbench recommend results/published/credit --access scores --tier T2.

    EVIDENCE is a pack (folder or .zip), the name of a suite (its newest run in the store) or of an
    execution. The rule is the protocol's (8.1): of the defenses that keep all bars by the
    unfavourable ends of their intervals, the most useful one. Bars are never relaxed.

    Exit code 0: there is a recommendation; 1: nothing qualifies; 2: a mistake.
    """
    from bench.contract import require
    from bench.decide import candidates, document, evidence, recommend, told
    from bench.decide import policy as policies
    from bench.engine.config import compose_grid
    from bench.exchange import sources

    own = {"tau": tau, "mu": mu, "loss": loss}
    given = [name for name, value in own.items() if value is not None]
    require(bool(tier) != bool(given), "Give either --tier, or --tau, --mu and --loss.")
    require(not given or len(given) == 3, f"Bars of your own need all of --tau, --mu and --loss; "
            f"given: {', '.join(given)}.")  # fmt: skip
    rules = policies.load(policy)
    bars: policies.Bars = rules.tier(tier) if tier else policies.Bars.model_validate(own)
    if epsilon_required:
        asked = bars.epsilon.model_copy(update={"rule": "required"})
        bars = bars.model_copy(update={"epsilon": asked})
    settings = compose_grid(words).settings
    found = evidence.read([sources.load(name, settings) for name in names])
    of = evidence.scenario(found, dataset, model)
    question = candidates.Question(
        of, access, bars, tier, recommend.asked(rules, of, access, federated), query_cap,
        needs_scores, rules.seeds.ranked,
    )  # fmt: skip
    decision = recommend.decide(found, question, policy=rules)
    if as_json:
        click.echo(json.dumps(told.data(decision), indent=1))
    else:
        click.echo(document.text(told.document(decision)), nl=False)
    if html is not None:
        document.save(html, document.html(told.document(decision, brief=True)))
        click.echo(f"Page: {html}", err=True)
    sys.exit(0 if decision.chosen else 1)
