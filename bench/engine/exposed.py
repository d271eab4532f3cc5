"""Who is most exposed: victims of one target over the attack's seeds, for their owner alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import pandas as pd
from pandas.util import hash_pandas_object
from safetensors.torch import load as load_tensors

from bench.contract import Federation, Splits
from bench.contract.data import GIVEN
from bench.contract.record import TrialRecord
from bench.contract.rows import rows_of
from bench.engine.knowledge import victims_of
from bench.engine.names import TENSORS
from bench.engine.stages.data import splits_of
from bench.engine.stages.result import decode
from bench.engine.store import Store
from bench.goals import goal_named
from bench.metrics.certainty import victims_at_risk

_OUTCOME = "outcome."


def exposed(store: Store, records: Iterable[TrialRecord]) -> pd.DataFrame:
    """The victims of some trials, the most exposed first.

    Args:
        store: where the trials' results are.
        records: of one attack on one target, one for each seed. Records whose outcomes do not say
            how sure the attacker is are passed over.

    Returns:
        One row per victim: ``part`` (``members`` or ``holdout``; ``not known`` where nobody knows
        who was trained on), ``attacked`` (seeds in which the record was a victim), ``right`` (share
        of these in which the guess was right), ``certain`` (share in which it counted as certain),
        ``confidence`` (mean), ``rarity``, and the columns of the record without the sensitive one.
        Empty where no trial says it.
    """

    @cache
    def splits(key: str) -> Splits:
        output = (store.record("data", key) or {})["output"]
        return splits_of(decode(output, store.file("data", key, TENSORS)))

    tables = []
    for record in records:
        attack = store.record("attack", record.nodes["attack"])
        content = store.file("attack", record.nodes["attack"], TENSORS)
        if attack is None or content is None:
            continue
        outcomes = {
            name.removeprefix(_OUTCOME): values.numpy()
            for name, values in load_tensors(content).items()
            if name.startswith(_OUTCOME)
        }
        risk = victims_at_risk(outcomes)
        if risk is None:
            continue
        config = attack["identity"]["config"]
        data = splits(record.nodes["data"])
        victims = victims_of(data, goal_named(config["goal"]), config["victims"], Federation())
        assert victims is not None
        known = _known(data, victims.records.x)
        known.insert(0, "record", hash_pandas_object(known, index=False))
        known.insert(0, "person", victims.records.person.numpy())
        tables.append(
            known.assign(
                part=[_part(data, bool(member)) for member in risk.member],
                confidence=risk.confidence,
                right=risk.right,
                certain=risk.certain,
                rarity=float("nan") if risk.rarity is None else risk.rarity,
            )
        )
    if not tables:
        return pd.DataFrame()
    key = ["part", "person"]
    if any(table.duplicated(key).any() for table in tables):
        key.append("record")
    return _gathered(pd.concat(tables, ignore_index=True), key)


def _part(splits: Splits, member: bool) -> str:
    if not splits.card.members_known:
        return "not known"
    return "members" if member else "holdout"


def _known(splits: Splits, x: object) -> pd.DataFrame:
    """The columns of records without the sensitive one."""
    card = splits.card
    sensitive = card.sensitive
    flags = {column.name for column in card.fields if column.values == GIVEN}
    names = card.raw or tuple(c.name for c in card.fields if c.name not in flags)
    rows = rows_of(replace(card, raw=names), x)  # type: ignore[arg-type]
    hidden = [
        column.name
        for column in card.fields
        if sensitive is not None and column.columns == sensitive.columns
    ]
    return rows.drop(columns=hidden)


def _gathered(victims: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """One row per record, over the seeds in which it was attacked.

    Whose it is stays the same over the seeds, where encodings may differ. So records are told apart
    by what they hold only where a person has several.
    """
    groups = victims.groupby(key, sort=False)
    table = groups.agg(
        attacked=("right", "size"),
        right=("right", "mean"),
        certain=("certain", "mean"),
        confidence=("confidence", "mean"),
        rarity=("rarity", "first"),
    ).reset_index()
    first = victims.drop_duplicates(key)
    own = [name for name in first if name not in {*table.columns} - {*key}]
    table = table.merge(first[own], on=key).drop(columns=["person", "record"])
    order = ["certain", "right", "confidence"]
    return table.sort_values(order, ascending=False, kind="stable", ignore_index=True)
