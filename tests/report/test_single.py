"""Rows of one target that was given: intervals over people, no ranks, and nothing else changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from bench.contract.record import TrialRecord
from bench.report import boards, stats, worst_of
from bench.report.frame import SINGLE
from bench.report.single import over_people, spread
from tests.report.built import built, row, scored

DRAWS = 200


def binomial_error(found: Any, victims: int, rng: np.random.Generator) -> Any:
    """What a bootstrap of so many draws says of the standard error of shares."""
    exact = np.sqrt(found * (1 - found) / victims)
    return exact * np.sqrt(rng.chisquare(DRAWS - 1, np.shape(found)) / (DRAWS - 1))


@pytest.mark.parametrize("attacks", [1, 5, 10])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 1.0])
def test_the_strongest_attack_lies_within(attacks: int, share: float) -> None:
    """Attacks that share victims, each with luck of its own, two of them the strongest."""
    rng, victims, held, runs = np.random.default_rng(0), 100, 0, 600
    truth = share * np.linspace(1.0, 0.8, attacks)
    truth[: min(2, attacks)] = share
    for _ in range(runs):
        luck = 0.5 * rng.random((1, victims)) + 0.5 * rng.random((attacks, victims))
        # The mean of two uniform numbers is below t with probability 2 t^2 up to a half.
        t = np.where(truth <= 0.5, np.sqrt(truth / 2), 1 - np.sqrt((1 - truth) / 2))
        found = (luck <= t[:, None]).mean(1)
        error = binomial_error(found, victims, rng)
        low, high = worst_of.of_one_target(found[:, None], error, np.full(attacks, victims))
        held += low <= share <= high
    assert held / runs >= 0.93


@pytest.mark.parametrize(
    ("seeds", "people", "own"), [(1, 0.05, 0), (3, 0.05, 0.02), (3, 0.02, 0.1)]
)
def test_the_interval_of_a_figure_holds_the_truth(seeds: int, people: float, own: float) -> None:
    """People shared by all seeds, and what each seed of an attack adds."""
    rng, runs = np.random.default_rng(1), 1000
    by, names = ["attack"], ["L"]
    values = 0.3 + rng.normal(0, people, (runs, 1)) + np.zeros((runs, seeds))
    if seeds > 1:
        values += rng.normal(0, own, values.shape)
    error = people * np.sqrt(rng.chisquare(DRAWS - 1, values.shape) / (DRAWS - 1))
    rows = pd.DataFrame(
        {
            "attack": np.repeat(np.arange(runs), seeds),
            "L": values.ravel(),
            "L_error": error.ravel(),
            "single": True,
        }
    )
    table = over_people(stats.summarise(rows, by, names), rows, by, names)
    held = (table["L_lo"] <= 0.3) & (table["L_hi"] >= 0.3)
    assert len(table) == runs
    assert 0.93 <= held.mean() <= 0.97


@pytest.mark.parametrize("ends", [worst_of.of_one_target, worst_of.ends_of_one_target])
@pytest.mark.parametrize("attacks", [1, 5])
def test_luck_of_few_seeds_is_not_taken_for_known(ends: Any, attacks: int) -> None:
    """An attack that finds all or nothing with its seed, on people who hardly differ."""
    rng, runs, held = np.random.default_rng(4), 500, 0
    for _ in range(runs):
        by_seed = 0.4 + rng.normal(0, 0.02, (attacks, 1)) + rng.normal(0, 0.1, (attacks, 3))
        low, high = ends(by_seed, np.full(attacks, 0.02), np.full(attacks, 1000))
        held += low <= 0.4 <= high
    assert held / runs >= 0.93


def test_seeds_do_not_lessen_the_error_over_people() -> None:
    made = []
    for seeds in (1, 10):
        rows = pd.DataFrame({"attack": "a", "seed": range(seeds), "L": 0.3, "single": True})
        rows = rows.assign(L_error=0.05)
        table = over_people(stats.summarise(rows, ["attack"], ["L"]), rows, ["attack"], ["L"])
        made.append(float(table["L_hi"][0] - table["L_lo"][0]))
    assert made[0] == pytest.approx(made[1]) == pytest.approx(2 * 1.96 * 0.05, rel=1e-3)


def test_spread_is_of_the_paired_difference() -> None:
    rng = np.random.default_rng(2)
    mine, noise = rng.normal(0, 1, DRAWS), rng.normal(0, 0.1, DRAWS)
    assert spread(mine) == pytest.approx(np.std(mine, ddof=1))
    assert spread(mine, mine + noise) == pytest.approx(np.std(noise, ddof=1))
    assert np.isnan(spread([]))
    assert np.isnan(spread(mine, mine[:3]))


def test_an_attack_whose_error_is_unknown_may_find_anything() -> None:
    by_seed, victims = np.array([[0.2], [0.6]]), np.array([100, 100])
    low, high = worst_of.of_one_target(by_seed, [0.04, np.nan], victims)
    assert 0.05 < low < 0.2
    assert high == 1
    assert np.isnan(worst_of.of_one_target(by_seed, [np.nan, np.nan], victims)).all()
    assert worst_of.ends_of_one_target(by_seed, [0.04, np.nan], victims)[1] == 1
    missing = np.array([[0.2], [np.nan]])
    assert worst_of.of_one_target(missing, [0.04, np.nan], victims)[1] < 0.5


def test_all_or_nothing_is_no_certainty() -> None:
    low, high = worst_of.of_one_target(np.array([[0.0]]), [0.0], [30])
    assert low == 0
    assert 0.05 < high < 0.2
    low, high = worst_of.of_one_target(np.array([[1.0]]), [0.0], [30])
    assert 0.8 < low < 0.95
    assert high == 1


def alone(records: list[TrialRecord], error: float | None = 0.05) -> list[TrialRecord]:
    """The same trials on a model that was given."""
    out = []
    for record in records:
        assert record.score is not None
        score = record.score.model_copy(update={"L_error": error, "M_error": error})
        flags = [*record.flags, SINGLE]
        out.append(record.model_copy(update={"score": score, "flags": flags}))
    return out


LEAKS: dict[str, list[float | None]] = {"none": [0.5, 0.52, 0.48], "freezing": [0.3, 0.31, 0.29]}


def board(change: Any, count: int = 3) -> boards.Boards:
    return built(*(change(scored(name, "mirror", leaks[:count])) for name, leaks in LEAKS.items()))


def test_rows_of_one_target_have_intervals_and_no_rank() -> None:
    found = board(alone)
    for name in LEAKS:
        one = row(found, name, "scores")
        flags = set(one["flags"])
        assert "single_target" in flags
        assert "provisional" not in flags
        assert pd.isna(one["rank"])
        assert not one["verdict"]
        assert pd.isna(one["dL_lo"])
        assert pd.isna(one["dL_hi"])
        assert one["L_lo"] < one["L"] - 0.08
        assert one["L_hi"] > one["L"] + 0.08


def test_one_seed_is_enough_for_an_interval() -> None:
    one = row(board(alone, 1), "none", "scores")
    assert one["L_hi"] - one["L_lo"] == pytest.approx(2 * 1.96 * 0.05, abs=0.15)
    assert pd.isna(row(board(lambda records: records, 1), "none", "scores")["L_lo"])


def test_rows_of_trained_targets_are_as_before() -> None:
    trained = board(lambda records: records)
    one = row(trained, "none", "scores")
    assert "single_target" not in set(one["flags"])
    assert one["rank"] >= 1
    assert pd.notna(row(trained, "freezing", "scores")["dL_lo"])
    both = board(
        lambda records: [
            r.model_copy(update={"score": r.score.model_copy(update={"L_error": 0.3})})
            for r in records
            if r.score is not None
        ]
    )
    assert_frame_equal(both.rows, trained.rows)
