"""Utility as users with the access of a board have it, and what it is compared with."""

from __future__ import annotations

from typing import Any

import pytest

from bench.contract.record import DefenseInfo, TrialRecord, Utility
from bench.exchange import recheck
from bench.report import boards, families, frame
from bench.report.closure import BoardKey
from tests.report import fake_records as fake
from tests.report.built import FACES, row

LABELS, SCORES = BoardKey(*FACES, "labels"), BoardKey(*FACES, "scores")
ATTACKS = ("brep", "yang")


def trials(
    defense: str, accuracy: list[float], brier: list[float | None] | None = None, **info: Any
) -> list[TrialRecord]:
    """Trials by labels and by scores, with the given utility per seed; None: no Brier score."""
    out = []
    for attack in ATTACKS:
        for seed, found in enumerate(accuracy):
            known = {} if brier is None else {"brier": brier[seed]}
            useful = Utility(metric="accuracy", value=found, all={"accuracy": found, **known})
            record = fake.trial("faces", "mlp", "none", attack, seed)
            cell = record.cell.model_copy(update={"defense": defense})
            family = defense.split("[", maxsplit=1)[0]
            told = DefenseInfo(family=family, stages=["training"], **info)
            change = {"trial_id": f"{defense}-{attack}-{seed}", "cell": cell, "utility": useful}
            out.append(record.model_copy(update=change | {"defense": told}))
    return out


def built(*parts: list[TrialRecord]) -> boards.Boards:
    return boards.build(frame.build([r for part in parts for r in part], "made"))


def test_who_gets_scores_loses_what_is_done_to_scores() -> None:
    found = built(
        trials("none", [0.8, 0.8], [0.30, 0.34]), trials("rounding", [0.8, 0.8], [0.5, 0.54])
    )
    plain, coarse = row(found, "none", "scores"), row(found, "rounding", "scores")
    assert plain["utility_metric"] == "quadratic_score"
    assert plain["utility"] == pytest.approx(1 - 0.32 / 2)
    assert coarse["dU"] == pytest.approx(-0.1)
    coarse = row(found, "rounding", "labels")
    assert (coarse["utility_metric"], coarse["dU"]) == ("accuracy", 0.0)


def test_a_label_is_a_forecast_that_is_certain() -> None:
    found = built(
        trials("none", [0.8, 0.8], [0.3, 0.3]), trials("label_only", [0.8, 0.8], [None, None])
    )
    only = row(found, "label_only", "scores")
    assert only["utility"] == pytest.approx(0.8)
    assert only["dU"] == pytest.approx(0.8 - 0.85)


def test_where_a_record_lacks_the_measure_all_rows_keep_accuracy_and_the_board_says_so() -> None:
    found = built(trials("none", [0.8, 0.8], [0.3, 0.3]), trials("dropout", [0.7, 0.7]))
    for name in ("none", "dropout"):
        assert row(found, name, "scores")["utility_metric"] == "accuracy"
    assert "utility" in dict(found.notes[SCORES])
    assert "utility" not in dict(found.notes[LABELS])


def test_against_an_overfit_network_a_defense_looks_free_and_against_a_tuned_one_it_is_not() -> (
    None
):
    parts = [
        trials("none", [0.54, 0.55, 0.54]),
        trials("dp_sgd", [0.54, 0.56, 0.54]),
    ]
    alone = row(built(*parts), "dp_sgd", "labels")
    assert alone["dU"] > 0 and alone["against"] == "none"
    found = built(*parts, trials("regularised", [0.57, 0.58, 0.57], settings=3))
    beside = row(found, "dp_sgd", "labels")
    assert beside["dU_hi"] < 0 and beside["against"] == "regularised"
    # The network that nobody tuned is told by the same measure.
    assert row(found, "none", "labels")["dU_hi"] < 0
    assert "untuned" in dict(built(*parts).notes[LABELS])
    assert "untuned" not in dict(found.notes[LABELS])


def test_a_layer_on_answers_is_tuned_by_what_it_costs_itself() -> None:
    # The network that it guards is .1 behind the tuned one, which is no fault of the layer.
    guard = [trials("none", [0.7, 0.72]), trials("regularised", [0.8, 0.82])]
    layers = trials("rounding[decimals=0]", [0.69, 0.71]) + trials(
        "rounding[decimals=1]", [0.7, 0.72]
    )
    for record in layers:
        record.defense.stages[:] = ["release"]
    table = frame.build([*guard[0], *guard[1], *layers], "made")
    tuned = families.tuned(table)
    found = tuned[(tuned["family"] == "rounding") & (tuned["access"] == "labels")].iloc[0]
    assert "over_budget" not in found["flags"] and found["loss"] == pytest.approx(0.0, abs=0.011)
    assert found["dU"] == pytest.approx(-0.1, abs=0.011)
    assert "guarded" in dict(boards.build(table).notes[LABELS])


def test_a_row_says_from_how_many_settings_it_was_chosen() -> None:
    found = built(
        trials("none", [0.8, 0.8]),
        trials("dropout[rate=0.1]", [0.8, 0.8], settings=2),
        trials("dropout[rate=0.3]", [0.8, 0.8], settings=2),
        trials("mid", [0.8, 0.8], settings=20),  # searched beforehand
        trials("regularised", [0.8, 0.8], settings=4),  # chooses by itself
    )
    told = {name: row(found, name, "labels")["settings"] for name in found.rows["defense"]}
    assert told == {
        "none": 1,
        "dropout[rate=0.1]": 2,
        "dropout[rate=0.3]": 2,
        "mid": 20,
        "regularised": 4,
    }


def test_who_has_nothing_to_tune_was_not_tuned_too_little() -> None:
    table = frame.build(
        [
            *trials("none", [0.8, 0.8]),
            *trials("dropout[rate=0.1]", [0.8, 0.8], settings=2),
            *trials("dropout[rate=0.3]", [0.8, 0.8], settings=2),
            *trials("label_only", [0.8, 0.8], tunable=False),
            *trials("mid", [0.8, 0.8]),
            *trials("regularised", [0.8, 0.8]),
        ],
        "made",
    )
    tuned = families.tuned(table)
    tuned = tuned[tuned["access"] == "labels"].set_index("family")["flags"]
    marked = {name for name, flags in tuned.items() if "unequal_tuning" in flags}
    assert marked == {"mid", "regularised"}


def test_a_trial_that_is_run_again_is_held_against_what_records_state() -> None:
    found = built(trials("none", [0.78, 0.82], [0.3, 0.3]))
    assert row(found, "none", "scores")["utility"] == pytest.approx(0.85)
    low, high = recheck.predicted(found)[*FACES, "scores", "inf", "none", "yang"]["utility"]
    assert low < 0.8 < high and (low + high) / 2 == pytest.approx(0.8)
