"""What records say, worked out again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from scipy import stats

from bench.contract.record import TrialRecord
from bench.exchange import recheck
from bench.report import boards, frame, tables
from tests.report import fake_records as fake


def sums(records: Iterable[TrialRecord]) -> recheck.Sums:
    return recheck.sums([recheck.claim(record) for record in records])


def listed(records: Iterable[TrialRecord], trials: Mapping[str, str]) -> list[str]:
    return recheck.listed(map(recheck.claim, records), trials)


def _record(attack: str, **score: Any) -> TrialRecord:
    record = fake.trial("diabetes", "mlp", "none", attack, 0)
    assert record.score is not None
    return record.model_copy(update={"score": record.score.model_copy(update=score)})


BASELINE = {
    "value": 0.6,
    "s_base": 0.6,
    "s_ceil": 1.0,
    "L": 0.0,
    "M": 0.0,
    "members": 0.62,
    "nonmembers": 0.6,
}
# By hand: L = (0.7 - 0.6) / (1 - 0.6); M = (0.75 - 0.65) - (0.62 - 0.60).
SOUND = {
    "value": 0.7,
    "s_base": 0.6,
    "s_ceil": 1.0,
    "L": 0.25,
    "M": 0.08,
    "members": 0.75,
    "nonmembers": 0.65,
    "s_base_attack": "imputer",
}


def test_sound_records_have_nothing_wrong() -> None:
    found = sums([_record("imputer", **BASELINE), _record("neuron", **SOUND)])
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
    found = sums([_record("imputer", **BASELINE), _record("neuron", **(SOUND | change))])
    assert any(words in line for line in found.wrong), found.wrong
    assert all(line.startswith("diabetes/mlp/none/neuron/0 (") for line in found.wrong)


def test_each_model_has_its_own_attacker_without_the_model() -> None:
    def of(model: str, record: TrialRecord) -> TrialRecord:
        return record.model_copy(update={"cell": record.cell.model_copy(update={"model": model})})

    lists = {"value": 0.4, "s_base": 0.4, "members": 0.4, "nonmembers": 0.4}
    found = sums(
        [
            _record("imputer", **BASELINE),
            _record("neuron", **SOUND),
            of("ease", _record("imputer", **(BASELINE | lists))),
            of("ease", _record("neuron", **(SOUND | {"s_base": 0.4, "L": 0.5, "M": 0.1}))),
        ]
    )
    assert (found.checked, found.alone, found.wrong) == (4, 0, ())


def test_without_the_baseline_only_leakage_can_be_worked_out() -> None:
    found = sums([_record("neuron", **(SOUND | {"M": 9.0}))])
    assert (found.checked, found.alone, found.wrong) == (1, 1, ())


def test_status_and_schema() -> None:
    done = _record("imputer", **BASELINE)
    [line] = sums([done.model_copy(update={"status": "oom"})]).wrong
    assert "is 'oom' and has a score" in line
    [line] = sums([done.model_copy(update={"schema_version": "2.0.0"})]).wrong
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
    values = [
        r.score.L
        for r in records
        if r.score and (r.cell.attack, r.cell.defense) == ("yang", "none")
    ]
    leaks = [v for v in values if v is not None]
    n, mean = len(leaks), sum(leaks) / len(leaks)
    sd = math.sqrt(sum((v - mean) ** 2 for v in leaks) / (n - 1))
    half = stats.t.ppf(0.975, n - 1) * sd * math.sqrt(1 + 1 / n)
    ends = recheck.predicted(made)[recheck.place(record)]["L"]
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


def test_a_sample_is_spread_over_the_rows_of_a_board_and_idle_rows_come_last() -> None:
    table = frame.build(fake.build(3, ("baskets",)), "s")
    table = table[table["access"] == "scores"]
    acting = table[~frame.flagged(table, "no_effect")]["defense"].nunique()
    picked = table.set_index("trial_id").loc[recheck.sample(table, acting, 0)]
    assert picked["defense"].nunique() == acting
    assert not frame.flagged(picked, "no_effect").any()


def test_that_a_trial_was_skipped_is_a_claim_that_may_be_drawn() -> None:
    records = [
        r.model_copy(update=fake.broken("skipped", "Upstream", "No target."))
        for r in fake.build(2, ("baskets",))
        if r.cell.attack == "yang"
    ]
    assert recheck.sample(frame.build(records, "s"), 2, 0)


def test_a_weaker_baseline_than_others_were_measured_from_is_named() -> None:
    weak = _record("imputer", **(BASELINE | {"value": 0.5, "s_base": 0.5}))
    weak = weak.model_copy(update={"cell": weak.cell.model_copy(update={"attack": "majority"})})
    sound = _record("neuron", **SOUND)
    cheat = sound.model_copy(
        update={
            "cell": sound.cell.model_copy(update={"defense": "dropout"}),
            "score": sound.score.model_copy(
                update={"s_base": 0.5, "s_base_attack": "majority", "L": 0.4}
            )
            if sound.score
            else None,
        }
    )
    found = sums([_record("imputer", **BASELINE), weak, sound, cheat])
    assert any(
        "s_base is 0.5 by 'majority', but without the model 'imputer'" in line
        for line in found.wrong
    ), found.wrong


def test_records_are_those_that_are_listed() -> None:
    records = fake.build(1, ("baskets",))[:3]
    trials = {r.trial_id: r.cell.key() for r in records}
    assert listed(records, trials) == []
    [line] = listed(records[1:], trials)
    assert line.endswith("has no record")
    [line] = listed(records, dict(list(trials.items())[1:]))
    assert "is not among the trials" in line
    [line] = listed([*records, records[0]], trials)
    assert line.endswith("is there twice")
    [line] = listed(records, trials | {records[0].trial_id: "other"})
    assert "is other in its manifest" in line


def test_prose_that_drifted_is_named_by_line() -> None:
    text = "# Boards\n\n| none | 0.55 [0.22, 0.88] | 5 |\n"
    assert recheck.prose(text.encode(), text) == []
    assert recheck.prose(text.replace("0.22", "0.23").encode(), text) == [], "rounded otherwise"
    for old, new in (("0.22", "0.25"), ("| 5 |", "| 6 |"), ("none", "best"), ("0.55", "-0.55")):
        [line] = recheck.prose(text.replace(old, new).encode(), text)
        assert line.startswith("leaderboard.md, line 3 is '| "), line
    [line] = recheck.prose(text.encode(), text + "more\n")
    assert "the records give 'more'" in line


def test_trials_without_headroom_have_an_interval_of_their_success() -> None:
    records = [
        r.model_copy(update={"score": r.score.model_copy(update={"L": None})}) if r.score else r
        for r in fake.build(4, ("baskets",))
    ]
    made = boards.build(frame.build(records, "s"))
    [record] = [r for r in records if r.cell.key() == "baskets/mlp/none/yang/0"]
    assert set(recheck.predicted(made)[recheck.place(record)]) == {"s", "M", "utility"}
