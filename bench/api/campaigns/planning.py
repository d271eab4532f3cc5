"""What a campaign would do: the model is tried, attacks are rehearsed, and trials are planned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.campaigns import companions
from bench.api.campaigns.order import (
    ABSENT,
    Order,
    data_words,
    model_of,
    model_words,
    option,
    place_of,
    plugin_words,
)
from bench.api.campaigns.trying import TRIES, guessed, rehearsed, tried
from bench.contract.errors import UserError, require

if TYPE_CHECKING:
    from bench.engine.config import Grid
    from bench.engine.graph import Plan


_TABLED = "attack=[attribute_map,membership,csmia,lomia]"
"""Attacks whose queries are known beforehand, for a model whose answers are a table."""


_OWN = {
    "label": "name it with --campaign",
    "suite": "its suite is 'redteam'",
    "seeds": "use --seeds",
    "victims": "use --victims",
}
"""Words that a campaign sets itself, and what to do instead."""


_COMPARED = ("goal", "access", "attack", "L", "L_lo", "L_hi")
"""What of an earlier campaign is compared."""


@dataclass(frozen=True)
class Preview:
    """What a campaign would do, before anything is attacked.

    Attributes:
        order: what was asked for.
        name: of the campaign.
        grid: what runs. plan: its trials.
        config_dir: a folder with a user's own options.
        private: folder of what is for its owner alone.
        work: folder of what the campaign needs itself, which is for its owner alone too. It is
            another one, since pages tell how to run a campaign again and so name files in it.
        given: what was found out about the model.
        model: options of ``model.external``. common: overrides besides. words: the user's own.
        like: model option that an attacker trains as a model like it; empty: none.
        asks: different records that it would be asked, about: a search asks by what it was
            answered. None: it is no endpoint.
        seconds: that asking takes at its rate; None: no rate is known.
        remote: whether the endpoint is on another machine.
        last: an earlier campaign to compare with; None: none.
    """

    order: Order
    name: str
    grid: Grid
    plan: Plan
    config_dir: Path | None
    private: Path
    work: Path
    given: Mapping[str, Any]
    model: Mapping[str, Any]
    common: tuple[str, ...]
    words: tuple[str, ...]
    like: str
    asks: int | None
    seconds: float | None
    remote: bool
    last: Mapping[str, Any] | None


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
    from bench.decide import document
    from bench.engine.execution import prepare
    from bench.engine.overrides import quoted
    from bench.models.external.http.endpoint import loopback
    from bench.report.frame import UNDEFENDED

    name = order.campaign or datetime.now(UTC).strftime("%Y-%m-%d")
    why = fault(name)
    require(not why and "/" not in name, f"--campaign is '{name}': a name {why or 'has no /'}.")
    place = place_of(order.model)
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
    require(
        (order.model != ABSENT) or order.asks is not None,
        "--model is '-', a model that is not here: name with --asks a file for the records that "
        "it is to answer.",
    )
    tabled = order.asks is not None or place.get("path", "").endswith((".csv", ".parquet"))
    places = [word for word in words if word.startswith(("store=", "report_dir="))]
    reports = settings(places, config_dir).report_dir
    _check(order, place, words)
    last = earlier(order.against, reports) if order.against else None
    private, folder = reports / "redteam-private" / name, reports / "redteam-work" / name
    for own in (private, folder):
        _make(own, mode=0o700)
    model = {**model_of(order, name, place, folder), **order.options}
    if tabled:
        model["name"] = "answers"  # seeds follow from it: the same records are asked both times
    data = data_words(order, folder)
    common = [
        "suite=redteam",
        *([_TABLED] if tabled else []),
        f"label={quoted(f'redteam/{name}')}",
        f"seeds={order.seeds}",
        f"victims={order.victims}",
        *data,
    ]
    given, splits, width, called = tried(model, common, words, config_dir)
    if given.get("repeats"):
        model["fresh"] = False
    like = order.like or order.architecture or guessed(given, data)
    if like and not order.architecture:
        model["shadows"] = option(like)
    full = [*common, *model_words(model), *plugin_words(place), *words]
    grid, planned = prepare(full, config_dir)
    require(
        any(trial.cell.defense == UNDEFENDED for trial in planned.trials),
        "The model as it is must be attacked, to tell what a defense changes: leave 'none' in "
        "'defense=[none,...]'.",
    )
    if last is not None:
        data_set = planned.trials[0].cell.dataset
        require(
            last["dataset"] == data_set,
            f"--against: campaign '{last['name']}' is on the data '{last['dataset']}' and this one "
            f"on '{data_set}'; name one on the same data.",
        )
    asks = None
    if "url" in place or order.asks is not None:
        asks = rehearsed(model, common, words, config_dir, splits, width, called)
        asks += TRIES if "url" in place else 0
    if asks is not None and order.budget is not None:
        require(
            asks <= order.budget,
            f"The campaign asks about {asks:,} records, and the budget is "
            f"{order.budget:,}: give --budget {asks}, fewer people with --victims, fewer "
            "--seeds, or fewer attacks with 'attack=[...]'.",
        )
    rate = model.get("rate_per_s")
    if order.asks is not None:
        from bench.models.external.rehearsal import REHEARSAL

        document.save(order.asks, REHEARSAL.rows().to_csv(index=False))
    return Preview(
        order,
        name,
        grid,
        planned,
        config_dir,
        private,
        folder,
        given,
        model,
        tuple(common),
        tuple(words),
        like,
        asks,
        asks / rate if asks is not None and rate else None,
        remote,
        last,
    )


def _check(order: Order, place: Mapping[str, str], words: Sequence[str]) -> None:
    """Refuse what can only fail, before anything is asked or trained.

    Raises:
        UserError: bars, a word, a model option, the training command or a place cannot be used.
    """
    from bench.decide import policy as policies

    policies.bars_of(policies.load(order.policy), order.tier, order.bars)
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        require(key not in _OWN, f"'{word}' cannot be given to a campaign; {_OWN.get(key)}.")
    for name in (order.architecture, order.like, order.stand_in):
        if name:
            option(name)
    if order.retrain:
        companions.check(order.retrain, place)
    if order.asks is not None:
        _make(order.asks.parent)


def _make(folder: Path, mode: int | None = None) -> None:
    """Make a folder, or refuse one that cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if mode is not None:
            folder.chmod(mode)
    except OSError as error:
        raise UserError(
            f"The folder '{folder}' cannot be made: {error.strerror or error}; name another place."
        ) from error


def earlier(name: str, reports: Path) -> dict[str, Any]:
    """An earlier campaign by its name or file: ``name``, ``dataset`` and ``rows``."""
    path = Path(name)
    if path.suffix != ".json":
        path = reports / "redteam" / name / "redteam.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [{key: row[key] for key in _COMPARED} for row in content["rows"]]
        return {"rows": rows, "name": str(content["name"]), "dataset": str(content["dataset"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--against: '{path}' is no campaign ({type(error).__name__}); name an earlier one, or "
            "the path of its redteam.json."
        ) from error
