"""An attacker who knows how a target was made makes the same from records of his own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from bench.contract import (
    DivergedError,
    Owner,
    Query,
    ReleaseDefense,
    Split,
    Splits,
    TrainingDefense,
    metered,
)
from bench.engine import deployment
from bench.engine.deployment import Deployment, Made
from bench.engine.recent import Recent
from bench.models import replicas
from bench.models.mlp import Mlp
from bench.models.training import train
from defenses.bido import Bido
from defenses.dp_sgd import DpSgd
from defenses.dropout import Dropout
from defenses.label_smoothing import LabelSmoothing
from tests.attacks.tables import table, table_card, told

MODEL = Mlp(hidden=(16,), epochs=30, batch_size=16, lr=0.01)


@dataclass(frozen=True)
class Shifted(ReleaseDefense):
    """Answers say how many records the owner trained on, and how many he found public."""

    paper = "made up for this test"

    def prepare(self, owner: Owner, seed: int) -> Mapping[str, Tensor]:
        return {"counts": torch.tensor([len(owner.train), len(owner.public)]).float()}

    def release(self, scores: Tensor, query: Query) -> Tensor:
        return query.fitted["counts"].expand(len(scores), 2)


def owner(
    served: tuple[ReleaseDefense, ...] = (), *others: TrainingDefense
) -> tuple[Deployment, Split]:
    card = table_card()
    train_split, other = table(card, 60, 0), table(card, 50, 1)
    splits = Splits(card, train_split, table(card, 20, 2), other)
    layers = others or (LabelSmoothing(alpha=0.4),)
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


def halves(records: Split, count: int) -> list[tuple[Split, Split, int]]:
    """What ``count`` deployments are made of: half of the records each, and its number as seed."""
    wanted = []
    for seed in range(count):
        order = torch.randperm(len(records), generator=torch.Generator().manual_seed(seed))
        middle = len(records) // 2
        wanted.append((records.take(order[:middle]), records.take(order[middle:]), seed))
    return wanted


@pytest.mark.parametrize(
    "layer",
    [LabelSmoothing(alpha=0.4), Dropout(), Bido(), DpSgd(epsilon=8.0, batch_size=8, epochs=2)],
    ids=repr,
)
def test_deployments_that_are_asked_for_together_are_those_asked_for_alone(
    layer: TrainingDefense,
) -> None:
    made, other = owner((Shifted(),), layer)
    made = replace(made, model=replace(MODEL, epochs=3))
    open_ = replace(made, served=())
    for deployed in (made, open_):
        wanted = halves(other, 3)
        together = list(deployed.like(wanted))
        alone = [answers for one in wanted for answers in deployed.like([one])]
        for (scores, _), (expected, _) in zip(together, alone, strict=True):
            assert torch.allclose(scores(other.x), expected(other.x), rtol=0, atol=1e-3)
        assert all(not scores(other.x).requires_grad for scores, _ in together)


@pytest.mark.parametrize(("layer", "most"), [(Dropout(), 16), (Bido(), 1)])
def test_only_a_few_are_made_before_they_are_wanted(layer: TrainingDefense, most: int) -> None:
    deployed, other = owner((), layer)
    deployed = replace(deployed, model=replace(MODEL, epochs=1))
    taken: list[int] = []

    def wanted() -> Iterator[tuple[Split, Split, int]]:
        for one in halves(other, 18):
            taken.append(one[2])
            yield one

    answers = deployed.like(wanted())
    assert taken == []
    next(answers)
    assert len(taken) == most
    assert len(list(answers)) == 17


def test_one_that_diverges_says_so_in_its_place() -> None:
    deployed, other = owner()
    good, (train, rest, seed), last = halves(other, 3)
    answers = deployed.like([good, (replace(train, x=train.x * torch.nan), rest, seed), last])
    scores, _ = next(answers)
    ((expected, _),) = deployed.like([good])
    assert torch.allclose(scores(other.x), expected(other.x), rtol=0, atol=1e-3)
    with pytest.raises(DivergedError):
        next(answers)


def test_the_meter_notes_that_it_is_used_whatever_number_is_asked_for() -> None:
    deployed, other = owner()
    victims = deployed.splits.train
    knowledge = told(deployed.splits.card, other, victims, train_like=deployed.like, train_size=60)
    watched, read = metered(knowledge, {"K2", "K7"})
    assert watched.train_like is not None
    assert len(list(watched.train_like(halves(other, 2)))) == 2
    assert read == {"K7"} and watched.train_size == 60


def test_what_another_attack_had_trained_is_not_trained_again(monkeypatch) -> None:
    trained: list[int] = []

    def counted(trainings, device):
        trained.extend(one.seed for one in trainings)
        return replicas.train_together(trainings, device)

    monkeypatch.setattr(deployment, "train_together", counted)
    kept: Made = Recent(2**20)
    first, other = owner((Shifted(),))
    second = replace(first, served=(), made=kept, spared=[])
    first = replace(first, made=kept)
    wanted = halves(other, 3)
    list(first.like(wanted))
    assert len(trained) == 3 and not first.spared
    answers = list(second.like(wanted))
    assert len(trained) == 3, "behind other release layers it is the same network"
    assert len(second.spared) == 3 and min(second.spared) > 0
    alone = list(replace(second, made=None).like(wanted))
    for (scores, _), (expected, _) in zip(answers, alone, strict=True):
        assert torch.allclose(scores(other.x), expected(other.x), rtol=0, atol=1e-3)


@pytest.mark.parametrize("what", ["records", "public", "seed", "model", "layers"])
def test_another_training_is_another_network(what: str) -> None:
    deployed, other = owner()
    deployed = replace(deployed, made=Recent(2**20), spared=[])
    ((train_split, rest, seed),) = halves(other, 1)
    ((scores, _),) = deployed.like([(train_split, rest, seed)])
    if what == "records":
        train_split = replace(train_split, y=1 - train_split.y)
    elif what == "public":
        rest = replace(rest, x=rest.x + 1)
    elif what == "seed":
        seed += 1
    elif what == "model":
        deployed = replace(deployed, model=replace(MODEL, epochs=2))
    else:
        deployed = replace(deployed, layers=(LabelSmoothing(alpha=0.1),))
    ((others, _),) = deployed.like([(train_split, rest, seed)])
    assert not deployed.spared
    assert torch.equal(scores(other.x), others(other.x)) == (what == "public")
