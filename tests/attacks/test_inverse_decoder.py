from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.class_decoder import ClassDecoder
from attacks.common.decoder import DecoderNet, _encoder, _held_out
from attacks.inverse_decoder import InverseDecoder
from bench.contract import Access, Exposure, Knowledge, UserError
from tests.attacks.images import PEOPLE, SHAPE, exposed, knowledge, photographs, target

PRIVATE = photographs(PEOPLE, 8, seed=1)
SMALL: dict[str, Any] = {"channels": 32, "epochs": 60, "lr": 5e-3}
NETWORK = target(PRIVATE, gain=5.0)


def top_2(scores: Tensor) -> Tensor:
    return torch.where(scores >= scores.topk(2, 1).values[:, 1:], scores, 0.0)


def one_decimal(scores: Tensor) -> Tensor:
    return torch.round(scores, decimals=1)


def same(scores: Tensor) -> Tensor:
    return scores


def world(
    access: Access = "scores", release: Callable[[Tensor], Tensor] = same, budget: int | None = None
) -> tuple[Exposure, Knowledge]:
    exposure = exposed(NETWORK, access, release, budget)
    with torch.no_grad():
        logits = NETWORK(PRIVATE.x)
    observed = logits.argmax(1) if access == "labels" else release(logits.softmax(1))
    held = replace(knowledge(), observed=observed, victim_labels=PRIVATE.y)
    return exposure, held


def skill(values: Tensor) -> float:
    blank = knowledge().public.x.mean(0)
    error = (values - PRIVATE.x).square().mean()
    return 1 - float(error / (blank - PRIVATE.x).square().mean())


@pytest.mark.parametrize(
    ("access", "release", "least"),
    [
        ("scores", same, 0.3),
        ("scores", top_2, 0.1),
        ("scores", one_decimal, 0.1),
        ("labels", same, 0.05),
    ],
)
def test_answers_give_images_away(access: Access, release: Any, least: float) -> None:
    exposure, held = world(access, release)
    out = InverseDecoder(access=access, **SMALL).run(exposure, held, 0, "cpu")
    assert out.values.shape == PRIVATE.x.shape
    assert float(out.values.min()) >= 0 and float(out.values.max()) <= 1
    assert skill(out.values) > least
    assert exposure.meter.queries == len(held.public)
    assert out.info["holdout_mse"] < out.info["mean_mse"]


@pytest.mark.parametrize("access", ["scores", "labels"])
def test_classes_are_decoded(access: Access) -> None:
    exposure, held = world(access)
    out = ClassDecoder(access=access, **SMALL).run(exposure, held, 0, "cpu")
    means = torch.stack([PRIVATE.x[PRIVATE.y == c].mean(0) for c in range(PEOPLE)]).flatten(1)
    blank = held.public.x.mean(0).flatten()
    unit = torch.nn.functional.normalize
    near = unit(out.values.flatten(1) - blank) @ unit(means - blank).T
    assert (near.argmax(1) == torch.arange(PEOPLE)).sum() >= PEOPLE - 1
    tried = 4 * PEOPLE if access == "scores" else 0
    assert exposure.meter.queries == len(held.public) + tried


def test_constant_answers_give_the_mean_and_no_error() -> None:
    exposure, held = world("scores", lambda s: torch.full_like(s, 1 / PEOPLE))
    assert abs(skill(InverseDecoder(**SMALL).run(exposure, held, 0, "cpu").values)) < 0.15
    assert torch.isfinite(ClassDecoder(**SMALL).run(exposure, held, 0, "cpu").values).all()


def test_two_classes() -> None:
    network = target(photographs(2, 4, seed=1))
    held = knowledge(2)
    for access in ("scores", "labels"):
        out = ClassDecoder(access=access, epochs=3).run(exposed(network, access), held, 0, "cpu")
        assert out.values.shape == (2, *SHAPE) and bool(torch.isfinite(out.values).all())


@pytest.mark.parametrize("attack", [InverseDecoder(epochs=3), ClassDecoder(epochs=3)])
@pytest.mark.parametrize("budget", [0, 3, 40, 95])
def test_a_budget_is_kept(attack: Any, budget: int) -> None:
    exposure, held = world(budget=budget)
    out = attack.run(exposure, held, 0, "cpu")
    assert exposure.meter.queries <= budget
    assert out.info["stop_reason"] == ("budget" if budget < 4 else "trained")
    assert torch.isfinite(out.values).all()


def test_the_same_seed_gives_the_same_images() -> None:
    first, again, other = (
        InverseDecoder(epochs=4).run(*world(), seed, "cpu").values for seed in (3, 3, 4)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_every_repeated_answer_is_a_query() -> None:
    exposure, held = world()
    InverseDecoder(epochs=2, repeats=3).run(exposure, held, 0, "cpu")
    assert exposure.meter.queries == 3 * len(held.public)


def test_whole_people_are_held_out() -> None:
    person = torch.arange(10).repeat_interleave(3)[torch.randperm(30)]
    held = _held_out(person, 0.2)
    assert held.sum() == 6 and not set(person[held].tolist()) & set(person[~held].tolist())
    assert 0 < _held_out(torch.zeros(10), 0.1).sum() < 10


def test_published_features_by_hand() -> None:
    answers = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    raw = (answers.clamp_min(1e-30).log() + 50).clamp_min(0)
    z = _encoder(answers, 3, 50.0, False)(answers)
    assert torch.allclose(z, (raw - raw.mean(0)) / raw.std(0), atol=1e-5)
    labels = torch.tensor([2, 0])
    assert _encoder(labels, 3, None, True)(labels).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_aligned_answers_forget_how_sure_they_were() -> None:
    logits = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    encode = _encoder(logits.softmax(1), 6, 30.0, True)
    assert torch.allclose(encode(logits.softmax(1)), encode((2 * logits).softmax(1)), atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 64, 64), (1, 112, 92), (1, 7, 30)])
def test_any_shape(shape: tuple[int, int, int]) -> None:
    mean = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    net = DecoderNet(5, mean, 16)
    out = net(torch.zeros(4, 5))
    assert out.shape == (4, *shape)
    assert torch.allclose(net(torch.randn(2, 5))[0], mean, atol=1e-5)


def test_doubled() -> None:
    twice = ClassDecoder(epochs=7, patience=2).doubled()
    assert (twice.epochs, twice.patience) == (14, 4)
    assert InverseDecoder(epochs=7).doubled().epochs == 14


def test_the_victims_answers_are_needed() -> None:
    with pytest.raises(UserError, match="answers to the victims"):
        InverseDecoder().run(exposed(NETWORK, "scores"), knowledge(), 0, "cpu")
