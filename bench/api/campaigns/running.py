"""A campaign that is run, and what it found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.campaigns import companions
from bench.api.campaigns.order import (
    Order,
)
from bench.api.campaigns.planning import Preview, preview
from bench.api.campaigns.trying import counts
from bench.contract.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from bench.contract.record import TrialRecord
    from bench.decide.campaign import Campaign
    from bench.exchange.results import Results


class NotFinished(UserError):
    """No attack ended, so that there is nothing to tell."""


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
        NotFinished: no attack ended.
        UserError: the evidence cannot be used.
        KeyboardInterrupt: it was stopped from outside; what is recorded is kept.
    """
    from bench.api.runs import run_planned
    from bench.decide import campaign as campaigns
    from bench.decide import document

    settings = planned.grid.settings
    out = settings.report_dir / settings.label
    results = run_planned(planned.grid, planned.plan, planned.config_dir, out)
    if results.summary is not None and results.summary.interrupted:
        raise KeyboardInterrupt
    found, people = _found(planned, results)
    files = {"report": results.site.page} if results.site else {}
    private = planned.private / "exposed.csv"
    if not people.empty:
        private.touch(mode=0o600)
        private.chmod(0o600)
        people.to_csv(private, index=False)
        files["private"] = private
    else:
        private.unlink(missing_ok=True)  # what an earlier run of the same name found
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
    if summary.incomplete:
        lost = next(iter(summary.losses), "they have not ended")
        unfinished[summary.reason or lost] = summary.incomplete
    if not done:
        raise NotFinished(
            "The campaign is not finished: no attack ended. Mend this and give the same command "
            f"again: {next(iter(unfinished), 'nothing was run')}"
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
        _attacked(done),
        rows,
        campaigns.defenses_of(source, order.access),
        _groups(worst),
        {}
        if people.empty
        else {"victims": len(people), "certain": int((people.certain > 0).sum())},
        counts(planned.work) if planned.asks is not None else {},
        unfinished,
        decision,
        undecided,
        campaigns.compared(rows, last),
        against,
        *_companions(planned),
    ), people


def _attacked(done: Sequence[TrialRecord]) -> int:
    """Most members attacked in a seed: people, unless the goal is their records as a whole."""
    from bench.goals import goal_named

    people = [r for r in done if goal_named(r.goal).hides_attribute] or done
    return max((r.score.victims for r in people if r.score), default=0)


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
    from bench.engine.overrides import quoted

    order, settings = planned.order, planned.grid.settings
    try:
        decision = recommend(
            settings.label,
            access=order.access,
            tier=order.tier,
            bars=order.bars,
            policy=order.policy,
            needs_scores=False,
            words=[f"store={quoted(str(settings.store))}"],
            config_dir=planned.config_dir,
        )
    except UserError as error:
        return None, str(error)
    return decision, ""


def _companions(planned: Preview) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What retrained copies show, and what a stand-in shows behind defenses of training."""
    order, again, trained = planned.order, [], []
    where = (planned.common, planned.words, planned.config_dir)
    if order.retrain:
        folder = planned.work / "copies"
        again = companions.copies(
            order.retrain, order.copies, folder, planned.name, planned.model, *where
        )
    if order.stand_in:
        trained = companions.stand_in(order.stand_in, planned.name, *where, order.access)
    return again, trained


def _last(planned: Preview) -> tuple[list[Any], str]:
    """The attacks of an earlier campaign, and its name."""
    if planned.last is None:
        return [], ""
    return planned.last["rows"], planned.last["name"]
