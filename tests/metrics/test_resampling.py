"""The bootstrap over people says how much a score moves with who happens to be attacked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from bench.contract import Score, Split
from bench.metrics import attribute as attributes
from bench.metrics import (
    class_representative,
    output_reconstruction,
    resampling,
    training_instance,
)
from bench.metrics.customers import useful
from bench.metrics.leakage import victim_errors
from bench.metrics.people import DRAWS
from bench.metrics.resampling import resampled
from bench.metrics.utility import measure
from tests.attacks.tables import table_card

Outcomes = dict[str, Any]
WORLDS = 300
"""Simulated samples of victims: a standard error from them is known to 4 %."""


def score(metric: str, outcomes: Outcomes) -> Score:
    tensors = {name: torch.as_tensor(values) for name, values in outcomes.items()}
    rows = len(next(iter(tensors.values())))
    return Score(metric, 0.5, 0.5, 0.5, 1.0, rows, {}, tensors)


def apart(outcomes: Outcomes) -> torch.Tensor:
    """Every row is of another person."""
    return torch.arange(len(next(iter(outcomes.values()))))


def area(scores: Any, right: Any) -> float:
    ranks, up = rankdata(scores), int(right.sum())
    return float((ranks[right].sum() - up * (up + 1) / 2) / (up * (len(right) - up)))


def attribute(rng: np.random.Generator, n: int = 300) -> Outcomes:
    truth, member = rng.integers(2, size=n), rng.random(n) < 0.5
    said = np.round(rng.normal(truth * np.where(member, 1.0, 0.3), 1.0), 1)  # with ties
    return {"member": member, "truth": truth, "score": np.stack([-said, said], 1)}


def attribute_value(outcomes: Outcomes) -> float:
    inside = outcomes["member"]
    return area(outcomes["score"][inside, 1], outcomes["truth"][inside] == 1)


def numeric(rng: np.random.Generator, n: int = 300) -> Outcomes:
    base = rng.chisquare(1, n)
    return {
        "member": rng.random(n) < 0.5,
        "score": -base * rng.uniform(0, 1.2, n),
        "base_error": base,
    }


def numeric_value(outcomes: Outcomes) -> float:
    inside = outcomes["member"]
    return float(1 - -outcomes["score"][inside].mean() / outcomes["base_error"][inside].mean())


def baskets(rng: np.random.Generator, n: int = 300) -> Outcomes:
    return {"member": rng.random(n) < 0.5, "f1": rng.beta(1, 3, n)}


def baskets_value(outcomes: Outcomes) -> float:
    return float(outcomes["f1"][outcomes["member"]].mean())


def people(rng: np.random.Generator, n: int = 40) -> Outcomes:
    found = rng.random(n) < 0.3
    return {"success": found, "member_success": found, "nonmember_success": rng.random(n) < 0.1}


def people_value(outcomes: Outcomes) -> float:
    return float(outcomes["success"].mean())


Draw = Callable[[np.random.Generator], Outcomes]
CASES: dict[str, tuple[str, Draw, Callable[[Outcomes], float]]] = {
    "auc": ("auc", attribute, attribute_value),
    "skill": ("mse_skill", numeric, numeric_value),
    "f1": ("f1_at_k", baskets, baskets_value),
    "classes": (class_representative.METRIC, people, people_value),
}


@pytest.mark.parametrize("case", list(CASES))
def test_the_standard_error_is_that_of_fresh_victims(case: str) -> None:
    metric, draw, value = CASES[case]
    rng = np.random.default_rng(0)
    truth = np.std([value(draw(rng)) for _ in range(WORLDS)], ddof=1)
    errors = []
    for _ in range(25):
        outcomes = draw(rng)
        drawn = resampled(score(metric, outcomes), apart(outcomes))["value"]
        errors.append(np.std(drawn, ddof=1))
    assert np.mean(errors) == pytest.approx(truth, rel=0.15)


@pytest.mark.parametrize("case", list(CASES))
def test_everybody_once_gives_the_score_itself(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metric, draw, value = CASES[case]
    outcomes = draw(np.random.default_rng(1))
    monkeypatch.setattr(resampling, "weights", lambda person: np.ones((DRAWS, len(person))))
    again = resampled(score(metric, outcomes), apart(outcomes))
    assert set(again) == {"value", "members", "nonmembers"}
    assert again["value"] == [pytest.approx(value(outcomes), abs=1e-5)] * DRAWS


def test_three_values_are_judged_each_against_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    truth, said = rng.integers(3, size=90), rng.normal(size=(90, 3))
    said[np.arange(90), truth] += 1
    outcomes = {"member": np.ones(90, bool), "truth": truth, "score": said}
    outcomes["member"][:30] = False
    monkeypatch.setattr(resampling, "weights", lambda person: np.ones((DRAWS, len(person))))
    again = resampled(score("auc", outcomes), apart(outcomes))
    inside = outcomes["member"]
    expected = np.mean([area(said[inside, v], truth[inside] == v) for v in range(3)])
    assert again["members"][0] == pytest.approx(expected, abs=1e-5)


def test_records_of_one_person_are_drawn_together() -> None:
    """Ten records each that say the same are worth one."""
    rng = np.random.default_rng(3)
    alone = {name: np.asarray(values) for name, values in baskets(rng, 60).items()}
    repeated = {name: np.repeat(values, 10) for name, values in alone.items()}
    person = torch.arange(60).repeat_interleave(10)
    error = lambda draws: np.std(draws["value"], ddof=1)  # noqa: E731
    own = error(resampled(score("f1_at_k", alone), torch.arange(60)))
    clustered = error(resampled(score("f1_at_k", repeated), person))
    naive = error(resampled(score("f1_at_k", repeated), apart(repeated)))
    assert clustered == pytest.approx(own, rel=1e-3)
    assert clustered > 2 * naive


def test_attack_and_baseline_are_drawn_together() -> None:
    rng = np.random.default_rng(4)

    def world() -> tuple[Outcomes, Outcomes]:
        easy = rng.beta(1, 1, 400)
        member = rng.random(400) < 0.5
        attack = np.clip(easy + rng.normal(0.1, 0.1, 400), 0, 1)
        return {"member": member, "f1": attack}, {"member": member, "f1": easy * 0.9}

    def gain(pair: tuple[Outcomes, Outcomes]) -> float:
        base = baskets_value(pair[1])
        return (baskets_value(pair[0]) - base) / (1 - base)

    truth = np.std([gain(world()) for _ in range(WORLDS)], ddof=1)
    errors = []
    for _ in range(25):
        draws = [resampled(score("f1_at_k", side), torch.arange(400)) for side in world()]
        errors.append(victim_errors(True, 1.0, *draws)[0])
    assert np.mean(errors) == pytest.approx(truth, rel=0.15)
    mine, other = world()
    others = resampled(score("f1_at_k", other), torch.arange(400) + 1000)
    apart = victim_errors(True, 1.0, resampled(score("f1_at_k", mine), torch.arange(400)), others)
    assert apart[0] is not None
    assert np.mean(errors) < 0.6 * apart[0]


def test_a_person_has_the_same_number_whoever_else_is_attacked() -> None:
    outcomes = baskets(np.random.default_rng(5), 30)
    some = {name: np.asarray(values)[::-1].copy() for name, values in outcomes.items()}
    one = resampled(score("f1_at_k", outcomes), torch.arange(30))
    assert one == resampled(score("f1_at_k", some), torch.arange(30).flip(0))
    assert one != resampled(score("f1_at_k", outcomes), torch.arange(30) + 1)


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert resampled(score("another", {"success": np.ones(3)}), torch.arange(3)) == {}
    few = {"member": np.array([True, False]), "f1": np.array([0.2, 0.3])}
    assert resampled(score("f1_at_k", few), torch.arange(2)) == {}
    assert victim_errors(True, 1.0, {}, {}) == (None, None)


def test_utility_moves_as_with_fresh_customers() -> None:
    card = table_card(n_classes=2)
    rng = np.random.default_rng(6)

    def world() -> tuple[Split, torch.Tensor]:
        y = torch.from_numpy(rng.integers(2, size=300))
        odds = torch.from_numpy(rng.normal((2 * y - 1) * 0.8, 1.0)).float()
        x = torch.zeros(300, *card.shape)
        return Split(x, y, torch.arange(300)), torch.stack([1 - odds.sigmoid(), odds.sigmoid()], 1)

    def measured(test: Split, scores: torch.Tensor) -> dict[str, Any]:
        return dict(measure("classification", test, card, scores.argmax(1), scores))

    names = ("balanced_accuracy", "brier", "auroc", "accuracy")
    worlds = [measured(*world()) for _ in range(WORLDS)]
    test, scores = world()
    drawn = useful("classification", test, card, scores.argmax(1), scores, "balanced_accuracy")
    for name in names:
        truth = np.std([found[name] for found in worlds], ddof=1)
        assert np.std(drawn[name], ddof=1) == pytest.approx(truth, rel=0.3), name


@pytest.mark.parametrize("skill", [0.0, 0.02])
def test_a_skill_near_zero_is_as_uncertain_as_any_other(skill: float) -> None:
    rng = np.random.default_rng(8)

    def world() -> Outcomes:
        base = rng.chisquare(1, 400)
        error = base * rng.uniform(0.2, 2 * (1 - skill) - 0.2, 400)
        return {"member": np.ones(400, bool), "score": -error, "base_error": base}

    truth = np.std([numeric_value(world()) for _ in range(WORLDS)], ddof=1)
    errors = []
    for _ in range(25):
        outcomes = world() | {"member": np.arange(400) < 200}
        errors.append(np.std(resampled(score("mse_skill", outcomes), apart(outcomes))["value"]))
    assert np.mean(errors) == pytest.approx(truth * 2**0.5, rel=0.15)


def test_it_costs_little() -> None:
    outcomes = attribute(np.random.default_rng(7), 2000)
    started = time.process_time()
    resampled(score("auc", outcomes), torch.arange(2000))
    assert time.process_time() - started < 3


def test_metrics_have_the_names_of_their_judges() -> None:
    assert set(resampling._JUDGES) == {
        attributes.METRIC,
        attributes.NUMERIC,
        output_reconstruction.BASKETS,
        output_reconstruction.IMAGES,
        class_representative.METRIC,
        training_instance.METRIC,
    }
