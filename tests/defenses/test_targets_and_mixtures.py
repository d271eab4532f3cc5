"""Early stopping, soft labels, mixtures and erased pictures."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from bench.contract import Network, Step, TrainingDefense, UserError, generator
from bench.models.fitting import predict
from bench.models.mlp import Mlp
from bench.models.training import train
from defenses.early_stopping import EarlyStopping
from defenses.label_smoothing import LabelSmoothing
from defenses.mixup import Mixup
from defenses.random_erasing import RandomErasing
from tests.models.records import table

MODEL = Mlp(hidden=(16,), epochs=4)
IDLE = Network(nn.Sequential(nn.Flatten()), nn.Linear(1, 1))


def step(progress: float = 0.0, n_classes: int = 4, seed: int = 0) -> Step:
    return Step(progress, n_classes, generator(seed))


def augmented(
    defense: TrainingDefense, x: Tensor, y: Tensor, at: Step | None = None
) -> tuple[Tensor, Tensor]:
    return defense.augment(IDLE, x, y, at or step())


# ---------------------------------------------------------------- early stopping
def test_training_stops_where_records_held_out_say_so() -> None:
    model = dataclasses.replace(MODEL, epochs=200, lr=0.03)
    _, whole = train(model, [], table(), 0, "cpu")
    _, early = train(model, [EarlyStopping()], table(), 0, "cpu")
    _, later = train(model, [EarlyStopping(patience=20)], table(), 0, "cpu")
    assert whole.epochs == 200 and early.epochs < later.epochs < 200


def test_the_test_split_decides_nothing() -> None:
    splits = table()
    other = dataclasses.replace(splits, test=table(seed=1).test)
    one, _ = train(MODEL, [EarlyStopping()], splits, 0, "cpu")
    two, _ = train(MODEL, [EarlyStopping()], other, 0, "cpu")
    assert torch.equal(one.head.weight, two.head.weight)


def test_no_share_is_no_early_stopping() -> None:
    for nothing in (0.0, None):
        assert EarlyStopping(nothing).recipe(MODEL.recipe) == MODEL.recipe
    recipe = EarlyStopping(0.2, 7).recipe(MODEL.recipe)
    assert (recipe.validation, recipe.patience) == (0.2, 7)


# ---------------------------------------------------------------- label smoothing
def test_targets_are_those_of_the_paper() -> None:
    y = torch.tensor([2, 0])
    x, soft = augmented(LabelSmoothing(-0.2), torch.zeros(2, 1), y, step(0.9))
    torch.testing.assert_close(
        soft, torch.tensor([[-0.05, -0.05, 1.15, -0.05], [1.15, -0.05, -0.05, -0.05]])
    )
    torch.testing.assert_close(soft.sum(1), torch.ones(2))
    assert torch.equal(x, torch.zeros(2, 1))


@pytest.mark.parametrize("alpha", [-0.1, 0.1])
def test_the_loss_is_that_of_torch_and_its_continuation_below_zero(alpha: float) -> None:
    outputs = torch.randn(5, 4, generator=generator(1))
    y = torch.tensor([0, 1, 2, 3, 0])
    _, soft = augmented(LabelSmoothing(alpha, "constant"), outputs, y)
    found = nn.functional.cross_entropy(outputs, soft)
    logs = outputs.log_softmax(1)
    wanted = -(1 - alpha) * logs[torch.arange(5), y].mean() - alpha * logs.mean()
    torch.testing.assert_close(found, wanted)
    if alpha > 0:
        ours = nn.functional.cross_entropy(outputs, y, label_smoothing=alpha)
        torch.testing.assert_close(found, ours)


def test_a_negative_alpha_comes_in_late() -> None:
    defense = LabelSmoothing(-0.2)
    found = [defense.strength(p) for p in (0.0, 0.49, 0.5, 0.6, 0.74, 0.75, 0.99)]
    assert found == pytest.approx([0, 0, 0, -0.04, -0.096, -0.2, -0.2])
    assert LabelSmoothing(-0.2, "constant").strength(0.0) == -0.2
    assert LabelSmoothing(0.2).strength(0.0) == 0.2
    y = torch.tensor([1])
    assert augmented(defense, torch.zeros(1, 1), y, step(0.3))[1] is y


def test_labels_that_are_soft_already_are_smoothed_too() -> None:
    soft = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    _, y = augmented(LabelSmoothing(0.2), torch.zeros(1, 1), soft)
    torch.testing.assert_close(y, torch.tensor([[0.45, 0.45, 0.05, 0.05]]))


# ---------------------------------------------------------------- mixup
def test_records_and_labels_are_mixed_with_the_same_weight_and_partner() -> None:
    y = torch.arange(4)
    x = nn.functional.one_hot(y, 4).float()  # a record says who it is
    mixed, soft = augmented(Mixup(1.0), x, y)
    torch.testing.assert_close(mixed, soft)
    assert not torch.equal(mixed, x)
    torch.testing.assert_close(mixed.sum(0), torch.ones(4))  # partners are a permutation


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_weights_follow_the_beta_distribution(alpha: float) -> None:
    at, x, y = step(), torch.tensor([[1.0], [0.0]]), torch.tensor([0, 1])
    drawn = torch.cat([augmented(Mixup(alpha), x, y, at)[0][0] for _ in range(2000)])
    partnered = drawn[drawn != 1.0]  # half of the time the partner is the record itself
    # Beta(a, a): variance 1 / (4 (2 a + 1)), mean 1/2.
    assert float(partnered.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(partnered.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_the_weight_follows_from_the_steps_generator() -> None:
    x, y = torch.randn(6, 3, generator=generator(2)), torch.arange(6) % 4
    one, two, other = (augmented(Mixup(), x, y, step(seed=s))[0] for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    for nothing in (None, 0.0):
        assert augmented(Mixup(nothing), x, y)[0] is x


# ---------------------------------------------------------------- random erasing
def test_a_square_of_the_asked_share_is_erased_and_nothing_else() -> None:
    x = torch.rand(300, 3, 32, 32, generator=generator(0))
    erased, _ = augmented(RandomErasing(largest=0.4, smallest=0.1), x, torch.zeros(300))
    changed = erased != x
    assert torch.equal(changed[:, 0], changed[:, 1]), "all channels alike"
    share = changed[:, 0].float().mean((1, 2))
    assert 0.09 < float(share.min()) < 0.13 and 0.36 < float(share.max()) < 0.42
    rows, columns = changed[:, 0].any(2).sum(1), changed[:, 0].any(1).sum(1)
    assert torch.equal(rows, columns)
    assert torch.equal(rows * columns, changed[:, 0].sum((1, 2))), "a filled square"
    wanted = x.mean((0, 2, 3)).view(1, 3, 1, 1).expand_as(x)
    torch.testing.assert_close(erased[changed], wanted[changed])


def test_every_place_is_erased_now_and_then() -> None:
    x = torch.rand(2000, 1, 8, 8, generator=generator(0))
    erased, _ = augmented(RandomErasing(largest=0.1, smallest=0.1), x, torch.zeros(2000))
    often = (erased != x).float().mean((0, 1))
    assert float(often.min()) > 0.01


def test_noise_and_probability() -> None:
    x = torch.full((400, 1, 16, 16), 0.5)
    erased, _ = augmented(RandomErasing(fill="noise"), x, torch.zeros(400))
    noise = erased[erased != x]
    assert float(noise.min()) >= 0 and float(noise.std()) == pytest.approx(12**-0.5, rel=0.02)
    half, _ = augmented(RandomErasing(fill="noise", probability=0.5), x, torch.zeros(400))
    assert float((half != x).flatten(1).any(1).float().mean()) == pytest.approx(0.5, abs=0.08)
    assert augmented(RandomErasing(probability=0.0), x, torch.zeros(400))[0] is x


# ---------------------------------------------------------------- together
def test_they_stack_and_the_network_still_learns() -> None:
    model = dataclasses.replace(MODEL, epochs=60, lr=0.01)
    layers = [Mixup(0.2), LabelSmoothing(0.1), EarlyStopping(patience=20)]
    splits = table()
    network, _ = train(model, layers, splits, 0, "cpu")
    right = predict(network, splits.test.x).argmax(1) == splits.test.y
    assert float(right.float().mean()) > 0.75


def test_the_smallest_area_is_not_above_the_largest() -> None:
    with pytest.raises(UserError, match=r"smallest is 0\.5"):
        RandomErasing(smallest=0.5)
