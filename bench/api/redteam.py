"""Attacking a model that somebody has: a campaign."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract.errors import UserError, require

if TYPE_CHECKING:
    import pandas as pd

    from bench.contract import Splits
    from bench.contract.record import TrialRecord
    from bench.decide.campaign import Campaign
    from bench.engine.config import Grid
    from bench.engine.graph import Plan
    from bench.exchange.results import Results

_TRIED = 8
"""Records that a model is tried on before anything is planned."""
_WHERE = ("store=", "backend", "tracking", "progress=")
"""Beginnings of words that say where a run takes place."""


@dataclass(frozen=True)
class Order:
    """What is to be attacked, with what, and how.

    Attributes:
        model: path of a file, address of an endpoint, or ``package.module:function``.
        card: card of the table, or the words of a data set of another kind, such as
            ``dataset=faces``.
        members: table of the records that the model was trained on; None: the card says it, or
            nobody knows.
        holdout: table of others from the same population; None: the card says it.
        public: table of what an attacker holds; None: the card says it, or a part of ``holdout``.
        access: what an attacker gets: ``labels``, ``scores`` or ``weights``.
        budget: most records that are sent to an endpoint.
        campaign: its name; empty: today's date. The same name goes on where it stopped.
        tier: bars of the policy for a class of data.
        bars: bars of one's own instead: ``tau``, ``mu`` and ``loss``.
        policy: name or path of a policy.
        seeds: of the attacks.
        victims: most people, and as many others, who are attacked in a seed.
        architecture: of a file of weights: a model option, such as ``mlp``.
        like: a model option that an attacker trains as a model like it; empty: guessed.
        options: further options of ``model.external``, by name.
        against: name of an earlier campaign, or its ``redteam.json``.
        authorised: whether you may attack an endpoint on another machine.
        asks: file for the records that the campaign will ask, for a model that is not here; None:
            none is written.
    """

    model: str
    card: str
    members: Path | None = None
    holdout: Path | None = None
    public: Path | None = None
    access: str = "scores"
    budget: int | None = None
    campaign: str = ""
    tier: str = ""
    bars: Mapping[str, float] = field(default_factory=dict)
    policy: str = "default"
    seeds: int = 3
    victims: int = 500
    architecture: str = ""
    like: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    against: str = ""
    authorised: bool = False
    asks: Path | None = None


@dataclass(frozen=True)
class Preview:
    """What a campaign would do, before anything is attacked.

    Attributes:
        order: what was asked for.
        name: of the campaign.
        grid: what runs. plan: its trials.
        config_dir: a folder with a user's own options.
        private: folder of what is for its owner alone.
        given: what was found out about the model.
        like: model option that an attacker trains as a model like it; empty: none.
        asks: different records that an endpoint would be asked, about, and at most: a search asks
            by what it was answered. None: it is no endpoint.
        seconds: that asking takes at its rate; None: no rate is known.
        remote: whether the endpoint is on another machine.
    """

    order: Order
    name: str
    grid: Grid
    plan: Plan
    config_dir: Path | None
    private: Path
    given: Mapping[str, Any]
    like: str
    asks: tuple[int, int] | None
    seconds: float | None
    remote: bool


def preview(order: Order, words: Sequence[str] = (), config_dir: Path | None = None) -> Preview:
    """Open the model, try it on a few records, and plan.

    An endpoint is rehearsed: the same attacks ask a stand-in, so that it is known what they will
    ask before the first of them is sent.

    Args:
        order: what is to be attacked.
        words: further overrides, such as ``store=DIR`` or ``defense=[none,rounding]``.
        config_dir: a folder with a user's own options.

    Raises:
        UserError: the model cannot be opened or does not fit the records, an endpoint lacks a
            budget or a permission, or the budget is too small.
    """
    from bench.api.results import settings
    from bench.contract.names import fault
    from bench.engine.execution import prepare
    from bench.models.external.http.endpoint import loopback

    name = order.campaign or datetime.now(UTC).strftime("%Y-%m-%d")
    why = fault(name)
    require(not why and "/" not in name, f"--campaign is '{name}': a name {why or 'has no /'}.")
    place = _place(order.model)
    remote = "url" in place and not loopback(order.model)
    require(
        not remote or order.authorised,
        f"'{order.model}' is on another machine: attack only what you own or are allowed to, and "
        "say so with --i-am-authorised.",
    )
    require(
        "url" not in place or order.budget is not None,
        f"'{order.model}' is asked for real: say with --budget how many records may be sent.",
    )
    folder = settings(words, config_dir).report_dir / "redteam-private" / name
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    model = {**_model(order, name, place, folder, config_dir), **order.options}
    data = _data(order, folder)
    common = [
        "suite=redteam",
        f"label=redteam/{name}",
        f"seeds={order.seeds}",
        f"victims={order.victims}",
        *data,
    ]
    given, splits, width = _tried(model, common, words, config_dir)
    if given.get("repeats"):
        model["fresh"] = False
    like = order.like or order.architecture or _guessed(given, data)
    if like and not order.architecture:
        model["shadows"] = _option(like)
    full = [*common, *_words(model), *_plugins(order.model, place), *words]
    grid, planned = prepare(full, config_dir)
    asks = None
    if "url" in place or order.asks is not None:
        asks = _rehearsed(model, common, words, config_dir, splits, width)
    if asks is not None and order.budget is not None:
        require(
            asks[0] <= order.budget,
            f"The campaign asks about {asks[0]:,} different records, and the budget is "
            f"{order.budget:,}: give --budget {asks[0]}, fewer people with --victims, fewer "
            "--seeds, or fewer attacks with 'attack=[...]'.",
        )
    rate = model.get("rate_per_s")
    return Preview(
        order,
        name,
        grid,
        planned,
        config_dir,
        folder,
        given,
        like,
        asks,
        asks[0] / rate if asks is not None and rate else None,
        remote,
    )


def attack(
    model: str,
    card: str,
    words: Sequence[str] = (),
    config_dir: Path | None = None,
    **order: Any,
) -> Campaign:
    """Attack a model that somebody has: :func:`preview` and :func:`campaign` at once.

    Args:
        model: path of a file, address of an endpoint, or ``package.module:function``.
        card: card of the table.
        words: further overrides, such as ``store=DIR``.
        config_dir: a folder with a user's own options.
        **order: further fields of :class:`Order`, such as ``members=Path("train.csv")``.

    Raises:
        UserError: as :func:`preview`.
    """
    return campaign(preview(Order(model, card, **order), words, config_dir))[0]


def campaign(planned: Preview) -> tuple[Campaign, Mapping[str, Path]]:
    """Run a campaign and write what it found.

    Returns:
        What was found, and the files it was written to: ``report`` (the boards), ``page``,
        ``markdown``, ``json``, and ``private``, the people who are most exposed.

    Raises:
        UserError: the evidence cannot be used.
    """
    from bench.api.runs import run_planned
    from bench.decide import campaign as campaigns
    from bench.decide import document

    settings = planned.grid.settings
    out = settings.report_dir / settings.label
    results = run_planned(planned.grid, planned.plan, planned.config_dir, out)
    found, people = _found(planned, results)
    files = {"report": results.site.page} if results.site else {}
    private = planned.private / "exposed.csv"
    if not people.empty:
        people.to_csv(private, index=False)
        private.chmod(0o600)
        files["private"] = private
    page = campaigns.document(found, str(private) if not people.empty else "")
    public = campaigns.document(found)
    for kind, ending, content in (
        ("json", "json", json.dumps(campaigns.data(found), indent=1, default=str) + "\n"),
        ("page", "html", document.html(public)),
        ("markdown", "md", document.markdown(public)),
    ):
        files[kind] = out / f"redteam.{ending}"
        document.save(files[kind], content)
    document.save(planned.private / "redteam.html", document.html(page))
    return found, files


def _found(planned: Preview, results: Results) -> tuple[Campaign, pd.DataFrame]:
    """What the trials say, and who is most exposed."""
    from bench.decide import campaign as campaigns
    from bench.decide import evidence
    from bench.engine.exposed import exposed
    from bench.engine.store import Store

    order = planned.order
    records = [r for r in results.records() if not r.control]
    done = [r for r in records if r.status == "done" and r.access != "none"]
    summary = results.summary
    assert summary is not None
    unfinished = dict(summary.reasons)
    if not done:
        raise UserError(
            f"No attack ended: {next(iter(unfinished), 'nothing was run')}; mend it and give the "
            "same command again."
        )
    (source,) = evidence.read([results.pack])
    rows = campaigns.attacks_of(source)
    worst = _strongest(done, rows)
    people = exposed(Store(planned.grid.settings.store), worst)
    decision, undecided = _decided(planned)
    last, against = _last(planned)
    first = done[0]
    return campaigns.Campaign(
        planned.name,
        first.cell.model,
        first.cell.dataset,
        order.access,
        first.target.sha256,
        str(results.pack.manifest["started_utc"]),
        {**planned.given, **first.target.given},
        all(r.score is None or r.score.M is not None for r in done),
        max(r.score.victims for r in done if r.score),
        rows,
        campaigns.defenses_of(source, order.access),
        _groups(worst),
        {}
        if people.empty
        else {"victims": len(people), "certain": int((people.certain > 0).sum())},
        _counts(planned.private) if planned.asks is not None else {},
        unfinished,
        decision,
        undecided,
        campaigns.compared(rows, last),
        against,
    ), people


def _strongest(done: Sequence[TrialRecord], rows: Sequence[Mapping[str, Any]]) -> list[TrialRecord]:
    """The trials of the strongest attack on an attribute of the model as it is."""
    from bench.goals import goal_named

    for row in rows:
        if goal_named(row["goal"]).hides_attribute:
            return [
                r
                for r in done
                if (r.goal, r.cell.attack, r.cell.defense) == (row["goal"], row["attack"], "none")
            ]
    return []


def _groups(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Mean gain over seeds in each subgroup, the largest first."""
    gains: dict[str, list[float]] = {}
    for record in records:
        for group, gain in (record.score.group_gain if record.score else {}).items():
            gains.setdefault(group, []).append(gain)
    means = {group: sum(values) / len(values) for group, values in gains.items()}
    return dict(sorted(means.items(), key=lambda pair: -pair[1]))


def _decided(planned: Preview) -> tuple[Any, str]:
    """What the decision rule says, or why it cannot say anything."""
    from bench.api.decisions import recommend

    order, settings = planned.order, planned.grid.settings
    try:
        decision = recommend(
            settings.label,
            access=order.access,
            tier=order.tier,
            bars=order.bars,
            policy=order.policy,
            needs_scores=False,
            words=[f"store='{settings.store}'"],
            config_dir=planned.config_dir,
        )
    except UserError as error:
        return None, str(error)
    return decision, ""


def _last(planned: Preview) -> tuple[list[Any], str]:
    """The attacks of an earlier campaign, and its name."""
    name = planned.order.against
    if not name:
        return [], ""
    settings = planned.grid.settings
    path = Path(name)
    if path.suffix != ".json":
        path = settings.report_dir / "redteam" / name / "redteam.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return list(content["rows"]), str(content["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--against: '{path}' is no campaign ({type(error).__name__}); name an earlier one, or "
            "the path of its redteam.json."
        ) from error


# ---------------------------------------------------------------- what is composed
def _place(model: str) -> dict[str, str]:
    """Where the model is: ``path``, ``url`` or ``function``."""
    if model.startswith(("http://", "https://")):
        return {"url": model}
    path = Path(model)
    if path.exists() or path.suffix or "/" in model:
        require(
            path.is_file(),
            f"--model: there is no file '{model}'; give a file, an address (http://...) or "
            "package.module:function.",
        )
        return {"path": str(path.resolve())}
    require(
        ":" in model,
        f"--model: '{model}' is neither a file that is there, nor an address (http://...), nor "
        "package.module:function.",
    )
    return {"function": model}


def _model(
    order: Order, name: str, place: Mapping[str, str], folder: Path, config_dir: Path | None
) -> dict[str, Any]:
    model: dict[str, Any] = {**place, "access": order.access}
    if order.architecture:
        model["architecture"] = _option(order.architecture)
    if "url" in place:
        model |= {
            "budget": order.budget,
            "campaign": name,
            "transcript": str((folder / "transcript.sqlite").resolve()),
        }
    return model


def _option(name: str) -> dict[str, Any]:
    """The config of a built-in model option.

    Raises:
        UserError: there is none of that name.
    """
    from bench.contract.errors import nearest
    from bench.engine.conf import list_options, read_option

    known = list_options("model")
    require(name in known, f"There is no model option '{name}'.{nearest(name, known)}")
    return read_option("model", name)


def _data(order: Order, folder: Path) -> list[str]:
    """Overrides that name the records; a card with files of its own is written to ``folder``."""
    import yaml

    from bench.contract.documents import read_yaml
    from bench.decide.document import save
    from bench.engine.overrides import quoted

    if "=" in order.card:
        return [order.card]
    own = {"members": order.members, "holdout": order.holdout, "public": order.public}
    files = {part: str(path.resolve()) for part, path in own.items() if path is not None}
    card = Path(order.card)
    if files:
        require(
            "holdout" in files,
            "--holdout is missing: records from the same population that the model was not "
            "trained on, or that nobody knows of whether it was.",
        )
        for path in files.values():
            require(Path(path).is_file(), f"There is no file '{path}'.")
        content = read_yaml(card, "Table card")
        require(isinstance(content, dict), f"Table card '{card}' holds no keys.")
        content.pop("split", None)
        card = folder / "card.yaml"
        save(card, yaml.safe_dump({**content, "files": files}, sort_keys=False))
    return ["dataset=table", f"dataset.table.card={quoted(str(card.resolve()))}"]


def _words(model: Mapping[str, Any]) -> list[str]:
    """Overrides that say what the model is."""
    return [
        "model=external",
        *(f"model.external.{key}={_written(value)}" for key, value in model.items()),
    ]


def _written(value: Any) -> str:
    """A value in Hydra's grammar."""
    from bench.engine.overrides import quoted

    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_written, value)) + "]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _plugins(model: str, place: Mapping[str, str]) -> list[str]:
    if "function" not in place:
        return []
    package = model.partition(":")[0].partition(".")[0]
    return [] if package in ("bench", "attacks", "defenses") else [f"plugins=[{package}]"]


# ---------------------------------------------------------------- what is tried and rehearsed
def _tried(
    model: Mapping[str, Any],
    common: Sequence[str],
    words: Sequence[str],
    config_dir: Path | None,
) -> tuple[dict[str, Any], Splits, int]:
    """What a few records tell of a model, all records, and how many answers it gives to each."""
    import torch

    from bench.contract import common_task
    from bench.engine.config import compose_grid
    from bench.engine.trials import Trials

    plugins = _plugins(str(model.get("function", "")), model)
    grid = compose_grid([*common, *_words(model), *plugins, *words], config_dir)
    trials = Trials(grid)
    (target,), (dataset,) = trials.rows["model"], trials.rows["dataset"]
    missing = dataset.first.missing(grid.settings.data_root)
    require(missing is None, str(missing))
    splits = dataset.first.of_repeat(0).load(0, grid.settings.data_root)
    task = common_task(splits.card.tasks, target.first.tasks)
    require(task is not None, f"No model can be attacked on '{splits.card.name}'.")
    assert task is not None
    width = splits.card.width(task)
    network = target.first.network(splits.card, width, 0)
    target.first.solve(network, splits.test.x[:_TRIED], splits.test.y, target.first.recipe, 0)
    if network.facts.get("labels_only") and target.first.access != "labels":
        raise UserError(
            "The model answers labels alone; attack it with --access labels, or name the output "
            "that holds its scores with --output."
        )
    facts = dict(network.facts)
    if target.first.counted:
        some = splits.test.x[:_TRIED]
        facts["repeats"] = bool(torch.equal(network(some), network(some)))
    return facts, splits, width


def _guessed(given: Mapping[str, Any], data: Sequence[str]) -> str:
    """A model option like the given model: trees for trees, and else a perceptron."""
    if not any(word.startswith("dataset=table") for word in data):
        return ""
    text = json.dumps(given.get("operators", given), default=str)
    if "TreeEnsemble" in text or "Forest" in text:
        return "random_forest"
    return "boosting" if "Boosting" in text or "LGBM" in text else "mlp"


def _rehearsed(
    model: Mapping[str, Any],
    common: Sequence[str],
    words: Sequence[str],
    config_dir: Path | None,
    splits: Splits,
    width: int,
) -> tuple[int, int]:
    """How many different records the campaign asks, about, and at most: attacks ask a stand-in.

    The stand-in stays filled with what it was asked until the next rehearsal.
    """
    from bench.api.runs import run_planned
    from bench.contract.rows import rows_of
    from bench.engine.execution import prepare
    from bench.models.external.rehearsal import REHEARSAL, scores

    stand_in = {
        "function": f"{scores.__module__}:{scores.__name__}",
        "access": model["access"],
        **({"shadows": model["shadows"]} if "shadows" in model else {}),
    }
    public = splits.public
    known = rows_of(splits.card, public.x) if splits.card.raw else public.x.numpy()
    REHEARSAL.begin(known, public.y.numpy(), width)
    with tempfile.TemporaryDirectory() as folder:
        own = [
            *(word for word in words if not word.startswith(_WHERE)),
            f"store='{folder}'",
            "backend=local",
            "tracking=none",
            "controls=[untrained]",
            "progress=none",
        ]
        grid, planned = prepare([*common, *_words(stand_in), *own], config_dir)
        results = run_planned(grid, planned, config_dir, None)
    most = sum(record.budget.queries for record in results.records())
    return len(REHEARSAL.asked), max(most, len(REHEARSAL.asked))


def _counts(folder: Path) -> dict[str, Any]:
    """What the transcript of a campaign counts."""
    path = folder / "transcript.sqlite"
    if not path.exists():
        return {}
    from bench.models.external.http.transcript import Transcript

    return dict(Transcript(path).counts())
