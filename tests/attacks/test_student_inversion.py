from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from attacks.common.priors import PcaPrior
from attacks.student_inversion import Perceptrons, StudentInversion
from bench.contract import Knowledge
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, photographs, target

PRIVATE = photographs(PEOPLE, 4, seed=1)
SMALL = StudentInversion(queries=1500, students=2, width=32, epochs=30, restarts=3)


def held() -> Knowledge:
    return knowledge(prior=PcaPrior(8).fit(knowledge(), 0, "cpu"))


def named(x: Tensor) -> Tensor:
    """The person whose mean picture each reconstruction is most like, by correlation."""

    def unit(images: Tensor) -> Tensor:
        flat = images.flatten(1) - held().public.x.mean(0).flatten()
        return torch.nn.functional.normalize(flat)

    means = torch.stack([PRIVATE.x[PRIVATE.y == c].mean(0) for c in range(PEOPLE)])
    return (unit(x) @ unit(means).T).argmax(1)


def kept_label(scores: Tensor) -> Tensor:
    return one_hot(scores.argmax(1), scores.shape[1]).float()


def withheld(scores: Tensor) -> Tensor:
    return torch.full_like(scores, 1 / scores.shape[1])


@pytest.mark.parametrize(
    ("access", "release"),
    [("labels", lambda scores: scores), ("scores", lambda s: s), ("scores", kept_label)],
)
def test_an_answer_that_keeps_the_label_gives_the_person_away(access: Any, release: Any) -> None:
    exposure = exposed(target(PRIVATE), access, release)
    result = replace(SMALL, access=access).run(exposure, held(), 0, "cpu")
    assert result.values.shape == (PEOPLE, *SHAPE)
    assert (named(result.values) == torch.arange(PEOPLE)).sum() >= PEOPLE - 1
    assert exposure.meter.queries == result.info["asked"] == 1500
    assert result.info["agreement"] > 0.6


def test_answers_that_say_nothing_teach_nothing() -> None:
    exposure = exposed(target(PRIVATE), "scores", withheld)
    result = replace(SMALL, access="scores").run(exposure, held(), 0, "cpu")
    assert (named(result.values) == torch.arange(PEOPLE)).sum() < PEOPLE - 1


def test_repeated_answers_share_the_queries() -> None:
    exposure = exposed(target(PRIVATE), "labels")
    replace(SMALL, repeats=3, queries=300, epochs=2, steps=5).run(exposure, held(), 0, "cpu")
    assert exposure.meter.queries == 300


@pytest.mark.parametrize(("budget", "asked"), [(400, 400), (5, 0)])
def test_a_budget_is_kept(budget: int, asked: int) -> None:
    exposure = exposed(target(PRIVATE), "labels", budget=budget)
    result = replace(SMALL, epochs=2, steps=5).run(exposure, held(), 0, "cpu")
    assert exposure.meter.queries == asked
    assert (result.info.get("stop_reason") == "budget") == (asked == 0)


def test_perceptrons_in_one_program_answer_as_each_alone() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [(nn.Linear(6, 5), nn.Linear(5, 3)) for _ in range(4)]
    x = torch.rand(7, 6, generator=torch.Generator().manual_seed(1))
    alone = torch.stack([last(nn.functional.silu(first(x))) for first, last in layers])
    torch.testing.assert_close(Perceptrons(layers)(x), alone)
