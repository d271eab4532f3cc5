"""A campaign that is run, and what it found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.campaigns import companions
from bench.api.campaigns.order import Order
from bench.api.campaigns.planning import Preview, preview
from bench.api.campaigns.trying import counts
from bench.contract.errors import UserError
from bench.decide import campaign as campaigns
from bench.decide import campaign_rows, document
from bench.decide.campaign import Campaign

if TYPE_CHECKING:
    import pandas as pd

    from bench.api.in_memory import Results
    from bench.contract.record import TrialRecord
    from bench.decide.decision import Decision
    from bench.decide.evidence import Source

_ENDINGS = ("json", "html", "md")
"""Of the pages of a campaign."""


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

    settings = planned.grid.settings
    out = settings.report_dir / settings.label
    private = planned.private / "exposed.csv"
    _remove(private, *(at / f"redteam.{end}" for at in (out, planned.private) for end in _ENDINGS))
    results = run_planned(planned.grid, planned.plan, planned.config_dir, out)
    if results.summary is not None and results.summary.interrupted:
        raise KeyboardInterrupt
    found, people = _found(planned, results)
    files = {"report": results.site.page} if results.site else {}
    if not people.empty:
        document.save(private, people.to_csv(index=False))
        private.chmod(0o600)
        files["private"] = private
    files |= _written(planned, found, out, files)
    if planned.order.retrain or planned.order.stand_in:
        found = _accompanied(planned, found)
        _written(planned, found, out, files)
    return found, files


def _remove(*paths: Path) -> None:
    """Remove what an earlier run of the same name found: the model may be another one."""
    try:
        for path in paths:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"'{error.filename}' cannot be removed: {error.strerror}.") from error


def _written(
    planned: Preview, found: Campaign, out: Path, files: Mapping[str, Path]
) -> dict[str, Path]:
    """Write the pages of a campaign."""
    page = campaigns.document(found, str(files.get("private", "")))
    public = campaigns.document(found)
    document.save(planned.private / "redteam.html", document.html(page))
    made = {}
    for kind, ending, content in (
        ("json", "json", json.dumps(campaigns.data(found), indent=1, default=str) + "\n"),
        ("page", "html", document.html(public)),
        ("markdown", "md", document.markdown(public)),
    ):
        made[kind] = out / f"redteam.{ending}"
        document.save(made[kind], content)
    return made


def _found(planned: Preview, results: Results) -> tuple[Campaign, pd.DataFrame]:
    """What the trials say, and who is most exposed."""
    from bench.decide import evidence
    from bench.engine.exposed import exposed
    from bench.engine.store import Store

    order, last = planned.order, planned.last
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
    rows = campaign_rows.attacks_of(source)
    worst = _strongest(done, rows)
    people = exposed(Store(planned.grid.settings.store), worst)
    decision, undecided = _decided(planned, results, source)
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
        campaign_rows.defenses_of(source, order.access),
        _groups(worst),
        {}
        if people.empty
        else {"victims": len(people), "certain": int((people.certain > 0).sum())},
        counts(planned.work) if planned.asks is not None else {},
        unfinished,
        decision,
        undecided,
        campaign_rows.compared(rows, last["rows"]) if last else (),
        last["name"] if last else "",
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


def _decided(planned: Preview, results: Results, source: Source) -> tuple[Decision | None, str]:
    """What the decision rule says, or why it cannot say anything."""
    from bench.api.decisions import recommend_by
    from bench.decide import policy as policies
    from bench.engine.overrides import quoted

    order = planned.order
    rules = policies.load(order.policy)
    try:
        decision = recommend_by(
            [results.pack],
            [source],
            order.access,
            rules,
            policies.bars_of(rules, order.tier, order.bars),
            order.tier,
            words=[f"store={quoted(str(planned.grid.settings.store))}"],
            config_dir=planned.config_dir,
        )
    except UserError as error:
        return None, str(error)
    return decision, ""


def _accompanied(planned: Preview, found: Campaign) -> Campaign:
    """With what retrained copies and a stand-in show, or why they do not."""
    order, more, failed = planned.order, dict[str, Any](), dict[str, str]()
    where = (planned.common, planned.words, planned.config_dir)
    copies, name = planned.work / "copies", planned.name
    asked: dict[str, Callable[[], list[dict[str, Any]]]] = {}
    if order.retrain:
        asked["copies"] = lambda: companions.copies(order, copies, name, planned.model, *where)
    if order.stand_in:
        asked["stand_in"] = lambda: companions.stand_in(order.stand_in, name, *where, order.access)
    for kind, run in asked.items():
        try:
            more[kind] = run()
        except UserError as error:
            failed[kind] = str(error)
    return replace(found, failed=failed, **more)
