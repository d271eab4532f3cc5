from __future__ import annotations

import pytest

from bench.contract.record import TrialRecord
from bench.report import attributes, boards, frame
from bench.report.facts import gather
from tests.report import fake_records as fake


def _records(seeds: int = 4) -> list[TrialRecord]:
    """Women leak most on average; men most in the last seed."""
    out = []
    for record in fake.build(seeds, ("diabetes",)):
        if record.score is not None:
            men = 0.5 if record.cell.seed == seeds - 1 else 0.0
            score = record.score.model_copy(
                update={"group_gain": {"sex=f": 0.3, "sex=m": men}, "extra": {"ppv_top_10": 0.9}}
            )
            out.append(record.model_copy(update={"score": score}))
    return out


def test_the_worst_subgroup_is_worst_on_average() -> None:
    records = _records()
    table = frame.build(records, "fake")
    made = boards.build(table)
    gains = gather(records).gains
    rows = next(r for k, r in made if k.access == "scores")
    told = attributes.told(rows, table, gains)
    assert told[0]["defense"] == "none"
    assert {row["group"] for row in told} == {"sex=f"}
    assert told[0]["gain"].startswith("+0.30")
    assert told[0]["ppv_top_10"] == "0.90"
    assert float(told[0]["score"]) > float(told[0]["base"])


def test_rows_that_repeat_the_undefended_one_are_left_out() -> None:
    records = _records()
    table = frame.build(records, "fake")
    gains = gather(records).gains
    (rows,) = (r for k, r in boards.build(table) if k.access == "weights")
    assert "top_k[k=3]" not in {row["defense"] for row in attributes.told(rows, table, gains)}


@pytest.mark.parametrize("dataset", ["faces", "baskets"])
def test_other_goals_have_no_such_table(dataset: str) -> None:
    records = fake.build(2, (dataset,))
    table = frame.build(records, "fake")
    _, rows = next(iter(boards.build(table)))
    assert attributes.told(rows, table, gather(records).gains) == []
