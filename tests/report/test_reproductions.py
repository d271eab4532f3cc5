"""Rows that repeat a paper with what the protocol refuses: shown, marked, and no evidence."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from bench.contract.record import TrialRecord
from bench.report import boards, families, frame, tables
from bench.report.text import headline
from tests.report import fake_records as fake

COPIED = "dp_sgd[epsilon=1]"


def _marked(record: TrialRecord, yes: bool) -> TrialRecord:
    layers = [{"_target_": "defenses.dp_sgd.DpSgd", "reproduction": yes}]
    defense = record.defense.model_copy(update={"layers": layers})
    return record.model_copy(update={"defense": defense})


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    records = fake.build(seeds=6, datasets=("diabetes",))
    return frame.build(
        [_marked(r, r.cell.defense == COPIED) for r in records if r.cell.defense != "freezing"],
        "smoke",
    )


def test_a_reproduction_is_marked_and_takes_no_place(table: pd.DataFrame) -> None:
    found = boards.build(table)
    for _, rows in found:
        by_name = rows.set_index("defense")
        assert "reproduction" in by_name.loc[COPIED, "flags"]
        assert math.isnan(by_name.loc[COPIED, "rank"])
        others = by_name.drop(index=COPIED)
        assert not any("reproduction" in flags for flags in others["flags"])
        assert not math.isnan(by_name.loc["dp_sgd[epsilon=8]", "rank"])
        assert COPIED not in headline(rows)
    assert "reproduction" in tables.leaderboard_csv(found, "smoke")


def test_without_the_mark_the_same_row_is_the_best_of_its_board(table: pd.DataFrame) -> None:
    found = boards.build(table.assign(reproduction=False))
    first = next(rows for key, rows in found if key.access == "scores")
    assert COPIED in headline(first)
    assert first.set_index("defense").loc[COPIED, "rank"] == 1


def test_a_family_is_never_tuned_to_a_reproduction(table: pd.DataFrame) -> None:
    picked = families.tuned(table, budget=1.0)
    assert COPIED not in set(picked["defense"])
    alone = families.tuned(table.assign(reproduction=False), budget=1.0)
    assert COPIED in set(alone["defense"])
    summed = families.summaries(boards.build(table), table, picked)
    assert not summed.isin([COPIED]).any().any()
