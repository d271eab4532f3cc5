"""Blocks that stay, blocks that see a sanitized copy only, and the copies."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from bench.contract import Card, Split, TrainingContext, UserError, generator, seed
from bench.models.cnn import Cnn
from bench.models.mlp import Mlp
from bench.models.training import Loop, restore, train
from defenses.common.sanitizers import gaussian_noise, microaggregate, principal, synthetic
from defenses.sanitized_finetuning import SanitizedFinetuning
from tests.models.records import images, table

MODEL = Mlp(hidden=(16, 8), epochs=3)


def state(module: Any) -> list[torch.Tensor]:
    return [v.clone() for v in module.state_dict().values()]


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(v, w) for v, w in zip(state(a), state(b), strict=True))


def test_the_first_block_is_that_of_private_training_and_the_rest_is_learnt_anew() -> None:
    splits = table()
    plain, _ = train(MODEL, [], splits, 0, "cpu")
    network, report = train(MODEL, [SanitizedFinetuning()], splits, 0, "cpu")
    assert same(network.blocks[0], plain.blocks[0])
    assert not same(network.blocks[1], plain.blocks[1]) and not same(network.head, plain.head)
    assert (report.epochs, report.steps, report.public_records) == (6, 18, 0)
    # A rate too small to learn with shows where the second training starts: not at the first one.
    still = dataclasses.replace(MODEL, lr=1e-30)
    start, _ = train(still, [SanitizedFinetuning()], splits, 0, "cpu")
    fresh = MODEL.build((6,), 2, seed(0, part="second training"))
    assert same(start.head, fresh.head)
    again = restore(MODEL, [SanitizedFinetuning()], splits, 0, network.state_dict(), "cpu")
    assert not any(p.requires_grad for p in again.blocks[0].parameters())
    assert torch.equal(again(splits.test.x), network(splits.test.x))


def test_the_last_layers_see_the_copy_only() -> None:
    # Two private sets with one and the same copy give the same network behind public blocks.
    splits = table()
    defense = SanitizedFinetuning(source="public", k=96)
    moved = splits.train.x[torch.randperm(96, generator=generator(0))]
    other = dataclasses.replace(splits, train=dataclasses.replace(splits.train, x=moved))
    one, report = train(MODEL, [defense], splits, 0, "cpu")
    two, _ = train(MODEL, [defense], other, 0, "cpu")
    for a, b in zip(state(one), state(two), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert report.public_records == 96


@pytest.mark.parametrize("sanitizer", ["k_anonymity", "noise", "synthetic"])
@pytest.mark.parametrize("source", ["private", "public"])
def test_pictures_and_tables_train_with_every_copy(sanitizer: Any, source: Any) -> None:
    defense = SanitizedFinetuning(sanitizer=sanitizer, source=source, k=2, std=0.1, components=4)
    for model, splits in ((Cnn(channels=(8, 8), epochs=1), images()), (MODEL, table())):
        one, _ = train(model, [defense], splits, 0, "cpu")
        two, _ = train(model, [defense], splits, 0, "cpu")
        assert same(one, two)
        loop = Loop(model, splits.card, "classification", "cpu")
        context = TrainingContext(splits.card, "classification", splits.public, loop, 0, "cpu")
        copy = defense.sanitized(splits.train, context)
        assert copy.x.shape == splits.train.x.shape and torch.equal(copy.y, splits.train.y)
        assert not (copy.x.unsqueeze(1) == splits.train.x).flatten(2).all(2).any()
        if splits.card.modality == "image":
            assert float(copy.x.min()) >= 0.0 and float(copy.x.max()) <= 1.0


def test_pictures_are_averaged_in_groups_of_k() -> None:
    splits = images()
    changed = microaggregate(splits.train.x, splits.card, splits.public.x, 4)
    kinds, place, counts = torch.unique(
        changed.flatten(1), dim=0, return_inverse=True, return_counts=True
    )
    assert int(counts.min()) >= 4
    for i, kind in enumerate(kinds):
        torch.testing.assert_close(splits.train.x.flatten(1)[place == i].mean(0), kind)
    # Four patterns, eight shots each: groups follow the patterns, which is what the axes see.
    assert all(len(torch.unique(splits.train.y[place == i])) == 1 for i in range(len(kinds)))


def test_made_up_records_have_the_moments_of_their_class() -> None:
    rng = generator(0)
    mix = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 2.0]])
    y = torch.arange(2).repeat(2000)
    x = torch.randn(4000, 3, generator=rng) @ mix + 3.0 * y[:, None]
    card = dataclasses.replace(table().card, shape=(3,))
    split = Split(x, y, torch.arange(4000))
    made = synthetic(split, card, x, 3, 0)
    for label in (0, 1):
        a, b = x[y == label], made.x[y == label]
        torch.testing.assert_close(a.mean(0), b.mean(0), atol=0.15, rtol=0)
        torch.testing.assert_close(torch.cov(a.T), torch.cov(b.T), atol=0.4, rtol=0)
    # One component: all variance on one line.
    line = synthetic(split, card, x, 1, 0).x[y == 0]
    _, axes = principal(line, 3)
    spread = ((line - line.mean(0)) @ axes).std(0)
    assert float(spread[1]) < 1e-3 < float(spread[0])


def test_baskets_stay_baskets() -> None:
    rng = generator(0)
    x = (torch.rand(60, 12, generator=rng) < 0.3).float()
    y = torch.arange(60) % 3
    card = Card("b", "retail", "basket", (12,), ("a", "b", "c"), "record", "made up", "none", True)
    split = Split(x, y, torch.arange(60))
    for changed in (
        microaggregate(x, card, x, 5),
        gaussian_noise(x, card, x, 1.0, generator(0)),
        synthetic(split, card, x, 5, 0).x,
    ):
        assert set(changed.unique().tolist()) <= {0.0, 1.0} and not torch.equal(changed, x)


def test_noise_is_in_units_of_a_column_s_spread() -> None:
    x = torch.zeros(4000, 6)
    public = torch.randn(4000, 6, generator=generator(1))
    public = public / public.std(0, correction=0) * torch.tensor([0.1, 1, 10, 1, 1, 1])
    noisy = gaussian_noise(x, table().card, public, 0.5, generator(0))
    torch.testing.assert_close(
        noisy.std(0), 0.5 * torch.tensor([0.1, 1, 10, 1, 1, 1]), rtol=0.05, atol=0
    )


def test_what_only_the_model_or_the_data_can_tell_is_refused_too() -> None:
    splits = images()
    with pytest.raises(UserError, match="has 2 blocks; give at most 2"):
        train(MODEL, [SanitizedFinetuning(layers=3)], splits, 0, "cpu")
    alike = dataclasses.replace(splits.public, y=torch.zeros_like(splits.public.y))
    with pytest.raises(UserError, match="two classes or more"):
        layers = [SanitizedFinetuning(source="public")]
        train(MODEL, layers, dataclasses.replace(splits, public=alike), 0, "cpu")
