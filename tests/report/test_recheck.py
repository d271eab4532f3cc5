"""What records say, worked out again."""

from __future__ import annotations

import math
from typing import Any

import fake_records as fake
import pytest
from scipy import stats

from bench.contract.record import TrialRecord
from bench.report import boards, frame, recheck, tables


def _record(attack: str, **score: Any) -> TrialRecord:
    record = fake.trial("diabetes", "mlp", "none", attack, 0)
    assert record.score is not None
    return record.model_copy(update={"score": record.score.model_copy(update=score)})


BASELINE = {"value": 0.6, "s_base": 0.6, "s_ceil": 1.0, "L": 0.0, "M": 0.0,
            "members": 0.62, "nonmembers": 0.6}  # fmt: skip
# By hand: L = (0.7 - 0.6) / (1 - 0.6); M = (0.75 - 0.65) - (0.62 - 0.60).
SOUND = {"value": 0.7, "s_base": 0.6, "s_ceil": 1.0, "L": 0.25, "M": 0.08,
         "members": 0.75, "nonmembers": 0.65, "s_base_attack": "imputer"}  # fmt: skip


def test_sound_records_have_nothing_wrong() -> None:
    found = recheck.sums([_record("imputer", **BASELINE), _record("neuron", **SOUND)])
    assert (found.checked, found.alone, found.wrong) == (2, 0, ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"L": 0.24}, "L is 0.24, but s = 0.7, s_base = 0.6 and s_ceil = 1 give 0.25"),
        ({"L": None}, "L is none, but"),
        ({"value": 0.71}, "give 0.275"),
        ({"M": 0.1}, "M is 0.1, but its members and non-members give 0.08"),
        ({"members": 0.8}, "M is 0.08, but its members and non-members give 0.13"),
        ({"s_base": 0.5, "L": 0.4}, "s_base is 0.5, but 'imputer' reached 0.6"),
    ],
)
def test_each_changed_figure_is_named_with_its_trial(change: dict[str, Any], words: str) -> None:
    found = recheck.sums([_record("imputer", **BASELINE), _record("neuron", **(SOUND | change))])
    assert any(words in line for line in found.wrong), found.wrong
    assert all(line.startswith("diabetes/mlp/none/neuron/0 (") for line in found.wrong)


def test_without_the_baseline_only_leakage_can_be_worked_out() -> None:
    found = recheck.sums([_record("neuron", **(SOUND | {"M": 9.0}))])
    assert (found.checked, found.alone, found.wrong) == (1, 1, ())


def test_status_and_schema() -> None:
    done = _record("imputer", **BASELINE)
    [line] = recheck.sums([done.model_copy(update={"status": "oom"})]).wrong
    assert "is 'oom' and has a score" in line
    [line] = recheck.sums([done.model_copy(update={"schema_version": "2.0.0"})]).wrong
    assert "record schema 2.0.0" in line


def test_drift_names_row_column_and_both_values() -> None:
    made = boards.build(frame.build(fake.build(3, ("baskets",)), "s"))
    built = tables.leaderboard_csv(made, "s")
    assert recheck.drift(built.encode(), built) == []
    lines = built.splitlines()
    head, row = lines[0].split(","), lines[1].split(",")
    at = head.index("utility")
    old, row[at] = row[at], "0.5"
    [line] = recheck.drift("\n".join([lines[0], ",".join(row), *lines[2:]]).encode(), built)
    assert line.endswith(f"utility is 0.5, the records give {old}")
    assert row[head.index("defense")] in line
    [line] = recheck.drift("\n".join([lines[0], *lines[2:]]).encode(), built)
    assert "lacks the row" in line
    [line] = recheck.drift(built.encode(), "\n".join([lines[0], *lines[2:]]))
    assert "has a row" in line
    row[at] = f"{float(old) * (1 + 1e-6):.9f}"
    assert recheck.drift("\n".join([lines[0], ",".join(row), *lines[2:]]).encode(), built) == []


def test_one_more_seed_falls_in_the_predicted_interval_nineteen_times_in_twenty() -> None:
    """Against the formula of a textbook: mean +- t sd sqrt(1 + 1/n)."""
    records = fake.build(4, ("baskets",))
    made = boards.build(frame.build(records, "s"))
    [record] = [r for r in records if r.cell.key() == "baskets/mlp/none/yang/0"]
    values = [r.score.L for r in records
              if r.score and (r.cell.attack, r.cell.defense) == ("yang", "none")]  # fmt: skip
    leaks = [v for v in values if v is not None]
    n, mean = len(leaks), sum(leaks) / len(leaks)
    sd = math.sqrt(sum((v - mean) ** 2 for v in leaks) / (n - 1))
    half = stats.t.ppf(0.975, n - 1) * sd * math.sqrt(1 + 1 / n)
    ends = recheck.predicted(made)[recheck.place(record)]
    assert ends == pytest.approx((mean - half, mean + half))


def test_a_sample_is_spread_over_boards_and_repeatable() -> None:
    table = frame.build(fake.build(3), "s")
    picked = recheck.sample(table, 5, seed=1)
    chosen = table.set_index("trial_id").loc[picked]
    keys = ["dataset", "model", "goal", "access"]
    assert len(chosen[keys].drop_duplicates()) == 5
    assert (chosen["access"] != "none").all()
    assert (chosen["status"] == "done").all()
    assert recheck.sample(table, 5, seed=1) == picked
    assert recheck.sample(table, 5, seed=2) != picked
    assert len(recheck.sample(table, 10_000, seed=1)) == len(set(recheck.sample(table, 10_000, 1)))
    assert recheck.sample(table[:0], 3, 0) == []
