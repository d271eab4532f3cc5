"""An attacker who knows how a target was made makes the same from records of his own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contract import Owner, Query, ReleaseDefense, Split, Splits
from bench.engine.deployment import Deployment
from bench.models.mlp import Mlp
from bench.models.training import train
from defenses.label_smoothing import LabelSmoothing
from tests.attacks.tables import table, table_card

MODEL = Mlp(hidden=(16,), epochs=30, batch_size=16, lr=0.01)


@dataclass(frozen=True)
class Shifted(ReleaseDefense):
    """Answers say how many records the owner trained on, and how many he found public."""

    paper = "made up for this test"

    def prepare(self, owner: Owner, seed: int) -> Mapping[str, Tensor]:
        return {"counts": torch.tensor([len(owner.train), len(owner.public)]).float()}

    def release(self, scores: Tensor, query: Query) -> Tensor:
        return query.fitted["counts"].expand(len(scores), 2)


def owner(served: tuple[ReleaseDefense, ...] = ()) -> tuple[Deployment, Split]:
    card = table_card()
    train_split, other = table(card, 60, 0), table(card, 50, 1)
    splits = Splits(card, train_split, table(card, 20, 2), other)
    layers = [LabelSmoothing(alpha=0.4)]
    network, _ = train(MODEL, layers, splits, 3, "cpu")
    return Deployment(splits, MODEL, layers, served, 3, network, "cpu"), other


def test_the_same_records_and_seed_make_the_same_deployment() -> None:
    made, _ = owner()
    x = made.splits.test.x
    ((scores, labels),) = made.like([(made.splits.train, made.splits.public, made.seed)])
    own, _ = made.interface(0)
    assert torch.equal(scores(x), own(x).detach())
    assert torch.equal(labels(x), scores(x).argmax(1))


def test_it_is_made_from_the_records_that_are_given_and_leaves_the_owner_as_he_was() -> None:
    made, other = owner()
    before = {k: v.clone() for k, v in made.network.state_dict().items()}
    half = torch.arange(50) < 25
    inside, rest = other.take(half), other.take(~half)
    (scores, _), (again, _), (another, _) = made.like((inside, rest, seed) for seed in (0, 0, 1))

    def surest(split: Split) -> float:
        return float(scores(split.x).gather(1, split.y.unsqueeze(1)).mean())

    assert surest(inside) > max(surest(rest), surest(made.splits.train)) + 0.05
    assert torch.equal(scores(rest.x), again(rest.x))
    assert not torch.equal(scores(rest.x), another(rest.x))
    assert not scores(rest.x).requires_grad
    after = made.network.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_layers_that_prepare_something_do_so_from_the_given_records() -> None:
    made, other = owner((Shifted(),))
    ((scores, _),) = made.like(
        [(other.take(torch.arange(20)), other.take(torch.arange(20, 50)), 0)]
    )
    assert scores(other.x[:1]).tolist() == [[20.0, 30.0]]
