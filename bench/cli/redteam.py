"""``invbench redteam``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.printing import as_json, print_json, width
from bench.cli.words import Given, takes
from bench.contract.errors import require
from bench.contract.secrets import redacted

if TYPE_CHECKING:
    from bench.api.campaigns.planning import Preview

_FILE = click.Path(path_type=Path, dir_okay=False)
_HELP = """Attack a model that you have, and say what to put in front of it.

\b
Examples:
  invbench redteam --model scorer.onnx --card loans.yaml --tier T2 \\
      --members train.csv --holdout test.csv --public aux.csv
  invbench redteam --model http://127.0.0.1:8080/v2/models/scorer --tier T2 \\
      --card loans.yaml --members train.csv --holdout test.csv \\
      --budget 10000 --rate 50
  invbench redteam --model scorer.onnx --card loans.yaml --tier T2 \\
      --against 2026-10-01

MODEL is a file (.onnx, .safetensors, .pt, .pt2, .skops, or .csv/.parquet with its answers; never a
pickle), an HTTP endpoint, or package.module:function. The card says what the columns of the records
are, as for a table of your own; with 'preprocessing: model' in it the model reads them as they are.

Nothing is asked before the plan is shown. The same command goes on where it stopped, without asking
an endpoint anything again; on another day, or with another --campaign, it asks anew. Attack only
what you own or are allowed to.

Exit code 0: the model as it is keeps every bar; 1: it does not, or the campaign, copies or a
stand-in did not finish; 2: a mistake; 130: interrupted.
"""


@click.command("redteam", help=_HELP)
@takes()
@click.option("--model", required=True, help="File, address or package.module:function.")
@click.option(
    "--card",
    required=True,
    help="Card of the table (bench.data.table says how), or other data, such as dataset=faces.",
)
@click.option("--members", type=_FILE, help="Records that the model was trained on.")
@click.option("--holdout", type=_FILE, help="Others from the same population.")
@click.option("--public", type=_FILE, help="What an attacker holds; else a part of --holdout.")
@click.option(
    "--access",
    type=click.Choice(["labels", "scores", "weights"]),
    default="scores",
    show_default=True,
    help="What an attacker gets.",
)
@click.option("--budget", type=click.IntRange(1), help="Most records sent to an endpoint.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Most records a second.")
@click.option("--campaign", default="", help="Its name; without it, today's date.")
@click.option("--tier", default="", help="Bars of the policy for a class of data: T1, T2 or T3.")
@click.option("--tau", type=click.FloatRange(0, 1), help="Most leakage L; instead of --tier.")
@click.option("--mu", type=click.FloatRange(0, 1), help="Most member-specific leakage M.")
@click.option("--loss", type=click.FloatRange(0, 1), help="Most utility that may be lost.")
@click.option("--policy", default="default", show_default=True, help="Name or path of a policy.")
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Of the attacks."
)
@click.option(
    "--victims",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Most people attacked.",
)
@click.option("--architecture", default="", help="Of a file of weights: a model option, e.g. mlp.")
@click.option("--like", default="", help="Model option that an attacker trains as one like it.")
@click.option("--output", help="The output that holds the scores, where there are several.")
@click.option("--protocol", type=click.Choice(["kserve", "mlflow", "template"]), help="Of a URL.")
@click.option("--served-as", help="Name of the model at its server.")
@click.option("--request", help='Of a template: JSON with "$records" or "$record" in it.')
@click.option("--response", help="Of a template: JSON path of the answers, such as $.scores[*].")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME=VARIABLE",
    help="A header, and the environment variable that holds its value; may be given several times.",
)
@click.option("--trust", multiple=True, metavar="TYPE", help="A type in a .skops file you trust.")
@click.option("--retrain", default="", help="Command with {seed} and {out} that trains it again.")
@click.option("--copies", type=click.IntRange(2), default=3, show_default=True, help="Retrained.")
@click.option("--stand-in", default="", help="Model option trained here behind other defenses.")
@click.option(
    "--asks",
    type=_FILE,
    help="Write the records that will be asked to this CSV file and stop: of a model that is not "
    "here, have it answer them, and give the table of answers as --model.",
)
@click.option("--against", default="", help="An earlier campaign, or its redteam.json.")
@click.option("--plan", "only_plan", is_flag=True, help="Show the plan and stop.")
@click.option(
    "--i-am-authorised",
    "authorised",
    is_flag=True,
    help="You may attack this endpoint on another machine.",
)
@as_json
def command(
    given: Given,
    only_plan: bool,
    as_json: bool,
    tau: float | None,
    mu: float | None,
    loss: float | None,
    rate: float | None,
    headers: tuple[str, ...],
    trust: tuple[str, ...],
    **order: Any,
) -> None:
    """Attack a model."""
    from bench.api.campaigns import order as orders
    from bench.api.campaigns import planning, running
    from bench.decide import campaign as campaigns
    from bench.decide import document
    from bench.engine.driving.stopping import Stop

    bars = {
        name: bar for name, bar in (("tau", tau), ("mu", mu), ("loss", loss)) if bar is not None
    }
    named = {
        "output": order.pop("output"),
        "protocol": order.pop("protocol"),
        "served_as": order.pop("served_as"),
        "request": order.pop("request"),
        "response": order.pop("response"),
        "rate_per_s": rate,
        "headers": dict(map(_header, headers)) or None,
        "trust": list(trust) or None,
    }
    options = {name: value for name, value in named.items() if value is not None}
    with Stop().listening(to_the_end=True):
        planned = planning.preview(
            orders.Order(**order, bars=bars, options=options), given.words, given.config_dir
        )
        _tell(planned)
        if planned.order.asks is not None:
            click.echo(f"Records to ask: {planned.order.asks}", err=True)
        if only_plan or planned.order.asks is not None:
            if as_json:
                print_json("redteam.plan/1", _plan(planned))
            return
        try:
            found, files = running.campaign(planned)
        except running.NotFinished as error:
            click.echo(f"invbench: {error}", err=True)
            sys.exit(1)
    if as_json:
        print_json("redteam/1", campaigns.data(found))
    else:
        click.echo(
            document.text(campaigns.document(found, str(files.get("private", ""))), width()),
            nl=False,
        )
    for kind, path in files.items():
        click.echo(f"{kind.capitalize()}: {path}", err=True)
    sys.exit(0 if found.keeps and not found.failed else 1)


def _header(text: str) -> tuple[str, str]:
    name, equals, variable = text.partition("=")
    require(
        bool(name and equals and variable),
        f"--header is '{text}'; write NAME=VARIABLE, the name of an environment variable and not "
        "its value.",
    )
    return name, variable


def _plan(planned: Preview) -> dict[str, Any]:
    return {
        "campaign": planned.name,
        "model": planned.order.model,
        "trials": len(planned.plan.trials),
        "found_out": planned.given,
        "trained_like_it": planned.like or None,
        "records_asked": planned.asks,
        "most_records": planned.order.budget,
        "seconds": planned.seconds,
        "remote": planned.remote,
        "asks": planned.order.asks,
    }


def _tell(planned: Preview) -> None:
    """Say what will be done, before it is."""
    from bench.decide import campaign as campaigns
    from bench.engine.durations import duration

    given, trials = planned.given, planned.plan.trials
    where = redacted(planned.order.model)
    lines = [f"Campaign {planned.name}: {len(trials)} trials on '{where}'."]
    if planned.remote:
        lines.insert(
            0,
            "You attack an endpoint on another machine and say that you are allowed to. Its owner "
            "may see this as an attack: tell them.",
        )
    classes = given.get("class_names") or "as the card has them"
    if given:
        lines.append(f"It answers {campaigns.answers(given)}; classes: {classes}.")
    if given.get("all_equal"):
        lines.append("It answered all of the first records alike: is it the right model?")
    if planned.like:
        lines.append(f"Attackers train '{planned.like}' as a model like it (--like names another).")
    if planned.asks is not None:
        limit = planned.order.budget
        time = "" if planned.seconds is None else f", {duration(planned.seconds)} at that rate"
        lines.append(
            f"About {planned.asks:,} records will be asked{time}"
            + (f"; at most {limit:,} are sent." if limit is not None else ".")
        )
    for line in lines:
        click.echo(line, err=True)
