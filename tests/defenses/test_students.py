"""Students released in the place of what saw the private records: distillation and PATE."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from bench.contract import UserError, seed
from bench.models.mlp import Mlp
from bench.models.training import train
from defenses.distillation import Distillation
from defenses.pate import Pate
from tests.models.records import images, table

MODEL = Mlp(hidden=(16,), epochs=5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_student_takes_hintons_step(temperature: float) -> None:
    splits = table(n=16)
    model = Mlp(hidden=(8,), epochs=1, batch_size=16, optimizer="sgd", lr=0.1)
    start = model.build((6,), 2, seed(0, part="init"))
    x = splits.public.x
    teacher, _ = _trained_teacher(model, splits)
    soft = (teacher(x) / temperature).softmax(1).detach()
    log = (start(x) / temperature).log_softmax(1)
    (-(soft * log).sum(1).mean() * temperature**2).backward()
    got, _ = train(model, [Distillation(temperature=temperature)], splits, 0, "cpu")
    assert start.head.weight.grad is not None
    torch.testing.assert_close(
        got.head.weight, start.head.weight - 0.1 * start.head.weight.grad, rtol=1e-4, atol=1e-6
    )


def _trained_teacher(model: Mlp, splits: Any) -> tuple[Any, Any]:
    from bench.models.training import Loop

    loop = Loop(model, splits.card, "classification", "cpu")
    own = seed(0, part="teacher")
    network = loop.build(2, own)
    return network, loop.fit(network, splits.train, model.recipe, own)


def test_a_public_student_learns_the_private_classes() -> None:
    splits = table(n=200)
    model = Mlp(hidden=(16,), epochs=30)
    wrong = dataclasses.replace(splits.public, y=1 - splits.public.y)
    public, report = train(
        model, [Distillation()], dataclasses.replace(splits, public=wrong), 0, "cpu"
    )
    assert report.public_records == 200 and report.train_accuracy > 0.75
    private, report = train(model, [Distillation(records="private")], splits, 0, "cpu")
    assert report.public_records == 0
    assert not torch.equal(public.head.weight, private.head.weight)


def test_noise_is_of_the_scale_it_says() -> None:
    votes = torch.tensor([[3.0, 0.0]]).repeat(40000, 1)
    # The difference of two draws exceeds 3: normal of variance 2 s^2; of Laplace by convolution.
    for mechanism, wanted in [
        ("gaussian", 0.5 * math.erfc(3 / (math.sqrt(2) * 2) / math.sqrt(2))),
        ("laplace", (2 + 3 / 2) / 4 * math.exp(-3 / 2)),
    ]:
        defense = Pate(mechanism=mechanism, noise=2.0)  # type: ignore[arg-type]
        flipped = float((defense.aggregate(votes, 0) == 1).float().mean())
        assert flipped == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize(("mechanism", "pure"), [("gaussian", math.inf), ("laplace", 200 / 40)])
def test_epsilon_is_the_least_over_renyi_orders(mechanism: Any, pure: float) -> None:
    each = 1.0 if mechanism == "gaussian" else 2.0
    orders = torch.linspace(1.01, 200, 400000, dtype=torch.float64)
    bound = 100 * each * orders / 40**2 + math.log(1e5) / (orders - 1)
    got = Pate(mechanism=mechanism, noise=40.0).epsilon(100, 1e-5)
    assert got == pytest.approx(min(float(bound.min()), pure), rel=1e-4)
    # Gaussian votes are one Gaussian release of sensitivity sqrt(2 T): its exact profile is below.
    if mechanism == "gaussian":
        mu = math.sqrt(2 * 100) / 40
        low = 0.5 * math.erfc((got / mu - mu / 2) / math.sqrt(2))
        high = 0.5 * math.erfc((got / mu + mu / 2) / math.sqrt(2))
        assert low - math.exp(got) * high <= 1e-5


def test_one_replaced_record_changes_one_teacher() -> None:
    splits = table(n=60)
    x = splits.train.x.clone()
    x[7] = 50.0
    changed = dataclasses.replace(splits.train, x=x)
    votes = [_votes(split, splits) for split in (splits.train, changed)]
    assert torch.equal(votes[0].sum(1), torch.full((60,), 4.0))
    assert float((votes[0] - votes[1]).abs().sum(1).max()) <= 2.0


def _votes(split: Any, splits: Any) -> torch.Tensor:
    from bench.contract import TrainingContext
    from bench.models.training import Loop

    loop = Loop(MODEL, splits.card, "classification", "cpu")
    context = TrainingContext(splits.card, "classification", splits.public, loop, 0, "cpu")
    return Pate(teachers=4)._votes(split, splits.public.x, MODEL.recipe, context, 5)


def test_pate_learns_and_keeps_its_ledger() -> None:
    splits = table(n=400)
    defense = Pate(teachers=4, noise=0.5, queries=300)
    _, report = train(Mlp(hidden=(16,), epochs=60), [defense], splits, 0, "cpu")
    assert report.train_accuracy > 0.7 and report.public_records == 300
    ledger = report.privacy
    assert ledger is not None and ledger.steps == 300 and ledger.delta == 1 / 4000
    assert ledger.epsilon == pytest.approx(1200 + 2 * math.sqrt(1200 * math.log(4000)))
    assert ledger.noise_multiplier * ledger.clip_norm == pytest.approx(0.5)


def test_the_student_sees_public_records_of_other_people() -> None:
    splits = images(people=4)
    _, report = train(MODEL, [Pate(teachers=2, queries=None)], splits, 0, "cpu")
    assert report.public_records == len(splits.public)


def test_pate_refuses_what_it_cannot_promise() -> None:
    with pytest.raises(UserError, match="has 96 training records"):
        train(MODEL, [Pate(teachers=97)], table(), 0, "cpu")
    with pytest.raises(UserError, match=r"above 1 / \(10 n\)"):
        train(MODEL, [Pate(delta=0.1)], table(), 0, "cpu")
