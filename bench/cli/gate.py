"""``invbench gate``."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from pathlib import Path

import click


@click.command("gate")
@click.argument("policy", default="default")
@click.argument("described", required=False, type=click.Path(path_type=Path), metavar="MODEL.yaml")
@click.option("--template", is_flag=True, help="Print a commented MODEL.yaml and stop.")
@click.option("--register", is_flag=True, help="Put the model into MLflow's Model Registry.")
@click.option(
    "--pia", type=click.Path(path_type=Path),
    help="Folder for the privacy impact assessment, as Markdown and HTML.",
)  # fmt: skip
@click.option(
    "--card", type=click.Path(path_type=Path), help="File for a model card's inversion risk."
)
@click.option(
    "--today", type=click.DateTime(["%Y-%m-%d"]), help="The day to judge on; without it, today."
)
@click.option("--set", "words", multiple=True, metavar="KEY=VALUE", help="Settings, as store=.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def command(
    policy: str, described: Path | None, template: bool, register: bool, pia: Path | None,
    card: Path | None, today: datetime | None, words: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Judge a model before its release: invbench gate default model.yaml --pia out/.

    POLICY is the name or path of a policy. Findings that block cannot be waived; conditional ones
    can, by a named waiver with an expiry date. What is judged is the evidence that MODEL.yaml
    names: packs beside it, or suites in the store.

    Exit code 0: PASS; 3: CONDITIONAL; 1: BLOCK; 2: a mistake.
    """
    from bench.contract import require
    from bench.decide import assessment, deployed, document, evidence, gate
    from bench.decide import policy as policies
    from bench.engine.config import compose_grid
    from bench.exchange import sources

    if template:
        click.echo(deployed.TEMPLATE, nl=False)
        return
    require(
        described is not None,
        "Name a policy and a description: invbench gate default model.yaml; "
        "'invbench gate --template' prints one to fill in.",
    )
    assert described is not None
    rules, model = policies.load(policy), deployed.load(described)
    settings = compose_grid(words).settings
    require(not register or settings.tracking.name == "mlflow", "--register needs MLflow; leave "
            "out tracking=none.")  # fmt: skip
    beside = [described.parent / name for name in model.evidence]
    names = [
        str(path) if path.exists() else name
        for path, name in zip(beside, model.evidence, strict=True)
    ]
    found = evidence.read([sources.load(name, settings) for name in names])
    day = today.date() if today is not None else date.today()  # noqa: DTZ011
    outcome = gate.judge(found, model, rules, day, deployed.digest(model.artifact))
    said = assessment.document(outcome)
    files = {"assessment.md": document.markdown(said), "assessment.html": document.html(said)}
    if pia is not None:
        for name, content in files.items():
            document.save(pia / name, content)
        click.echo(f"Assessment: {pia / 'assessment.html'}", err=True)
    if card is not None:
        document.save(card, document.markdown(assessment.card(outcome), level=2))
    click.echo(
        json.dumps(assessment.data(outcome), indent=1)
        if as_json
        else "\n".join(assessment.lines(outcome))
    )
    if register:
        from bench.decide import registry

        version, new = registry.register(settings.tracking.uri, outcome, files)
        click.echo(f"Registry: {model.name} version {version}{'' if new else ', already there'}.",
                   err=True)  # fmt: skip
    sys.exit(gate.EXIT[outcome.verdict])
