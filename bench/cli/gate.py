"""``invbench gate``."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from bench.cli.completing import FILES
from bench.cli.printing import as_json, print_json, wrapped
from bench.cli.words import Given, signers, takes
from bench.contract.errors import require


@click.command("gate")
@takes("[POLICY] MODEL.yaml", 0, 2, names=FILES)
@click.option("--template", is_flag=True, help="Print a commented MODEL.yaml and stop.")
@click.option("--register", is_flag=True, help="Put the model into MLflow's Model Registry.")
@click.option(
    "--pia",
    type=click.Path(path_type=Path),
    help="Folder for the privacy impact assessment, as Markdown and HTML.",
)
@click.option(
    "--card", type=click.Path(path_type=Path), help="File for a model card's inversion risk."
)
@click.option(
    "--today", type=click.DateTime(["%Y-%m-%d"]), help="The day to judge on; without it, today."
)
@signers
@as_json
def command(
    given: Given,
    template: bool,
    register: bool,
    pia: Path | None,
    card: Path | None,
    today: datetime | None,
    signers: Path | None,
    as_json: bool,
) -> None:
    """Judge a model before its release: invbench gate default model.yaml --pia out/.

    POLICY is the name or path of a policy. Findings that block cannot be waived; conditional ones
    can, by a named waiver with an expiry date. What is judged is the evidence that MODEL.yaml
    names: packs beside it, or suites in the store. Evidence of before an incident of the model does
    not count: of one in MODEL.yaml, and with --register of one in the registry.

    Exit code 0: PASS; 3: CONDITIONAL; 1: BLOCK; 2: a mistake.
    """
    from bench import api
    from bench.decide import assessment, deployed, document, gate

    if template:
        click.echo(deployed.TEMPLATE, nl=False)
        return
    require(
        len(given.names) == 2,
        "Name a policy and a description: invbench gate default model.yaml; "
        "'invbench gate --template' prints one to fill in.",
    )
    policy, described = given.names
    if register:
        api.require_mlflow(given.words, given.config_dir)
    day = today.date() if today is not None else None
    outcome = api.gate(
        policy, Path(described), day, given.words, given.config_dir, signers, register
    )
    pages = assessment.document(outcome)
    files = {"assessment.md": document.markdown(pages), "assessment.html": document.html(pages)}
    if pia is not None:
        for name, content in files.items():
            document.save(pia / name, content)
        click.echo(f"Assessment: {pia / 'assessment.html'}", err=True)
    if card is not None:
        document.save(card, document.markdown(assessment.card(outcome), level=2))
    if as_json:
        print_json("gate/1", assessment.data(outcome))
    else:
        for line in assessment.lines(outcome):
            indented = line.startswith("  ")
            wrapped(line.strip(), "  " if indented else "", " " * 14 if indented else "")
    if register:
        version, new = api.register(outcome, files, given.words, given.config_dir)
        there = "" if new else ", already there"
        click.echo(f"Registry: {outcome.model.name} version {version}{there}.", err=True)
    sys.exit(gate.EXIT[outcome.verdict])
