"""Answers that the owner's own models change: a membership classifier, an autoencoder."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest
import torch

from bench.contract import Query, ReleaseDefense, generator
from defenses.common import perceptron
from defenses.common.answers import secret, uniform
from defenses.memguard import Memguard, member
from defenses.purifier import Purifier
from tests.defenses.owners import owner

GUARD = Memguard(epsilon=2.0, steps=40, fit_steps=150)
PURE = Purifier(fit_steps=300)


@cache
def fitted(defense: ReleaseDefense) -> dict[str, torch.Tensor]:
    held = dataclasses.replace(defense, epsilon=2.0) if isinstance(defense, Memguard) else defense
    return dict(held.prepare(owner(), 3))


def asked(x: torch.Tensor, defense: ReleaseDefense, key: int = 1) -> Query:
    return Query(x, generator(0), key, fitted(defense))


def released(defense: ReleaseDefense, x: torch.Tensor, key: int = 1) -> torch.Tensor:
    base = GUARD if isinstance(defense, Memguard) else defense
    return defense.release(x.softmax(1), asked(x, base, key))


TRAIN, PUBLIC = owner().train.x, owner().public.x


@pytest.mark.parametrize("defense", [GUARD, Memguard(epsilon=0.2, steps=40), PURE])
def test_labels_rows_and_batches_are_kept(defense: ReleaseDefense) -> None:
    x = torch.cat([TRAIN[:20], PUBLIC[:20], torch.zeros(1, 6), torch.eye(6) * 200])
    scores = x.softmax(1)
    answer = released(defense, x)
    assert answer.dtype == scores.dtype and float(answer.min()) >= 0.0
    assert torch.equal(answer.argmax(1), scores.argmax(1))
    torch.testing.assert_close(answer.sum(1), torch.ones(len(x)))
    few = x[18:22]
    alone = torch.cat([released(defense, row[None]) for row in few])
    torch.testing.assert_close(answer[18:22], alone, atol=1e-6, rtol=0)
    assert torch.equal(answer, released(defense, x)) and not torch.equal(answer, scores)


@pytest.mark.parametrize("defense", [GUARD, PURE])
def test_what_is_fitted_follows_from_its_seed(defense: ReleaseDefense) -> None:
    short = dataclasses.replace(defense, fit_steps=3)  # type: ignore[type-var]
    one, two, other = (short.prepare(owner(n=40), seed) for seed in (3, 3, 4))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not any(torch.equal(one[k], other[k]) for k in one)


def test_a_perceptron_is_its_layers() -> None:
    weights = perceptron.fresh("p", (3, 4, 2), generator(0), "cpu")
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    ).double()
    with torch.no_grad():
        for own, name in zip(net.parameters(), weights, strict=True):
            own.copy_(weights[name])
    x = torch.randn(5, 3, dtype=torch.float64, generator=generator(1))
    torch.testing.assert_close(perceptron.run("p", weights, x), net(x))


# ---------------------------------------------------------------- memguard
def test_the_classifier_tells_members_and_the_answers_mislead_it() -> None:
    g = fitted(GUARD)
    is_member = [member(x.softmax(1).double(), g) > 0 for x in (TRAIN, PUBLIC)]
    before = (is_member[0].double().mean() + (~is_member[1]).double().mean()) / 2
    assert float(before) > 0.8  # .85 to .90 over eight seeds; a guess is right in half
    now = [member(released(GUARD, x).double(), g) > 0 for x in (TRAIN, PUBLIC)]
    after = (now[0].double().mean() + (~now[1]).double().mean()) / 2
    assert float(after) < 0.3  # just past its boundary, on the other side


def test_the_classifier_is_left_near_a_half() -> None:
    g, x = fitted(GUARD), TRAIN[:100]
    before = (member(x.softmax(1).double(), g).sigmoid() - 0.5).abs()
    after = (member(released(GUARD, x).double(), g).sigmoid() - 0.5).abs()
    assert float(after.mean()) < 0.35 * float(before.mean())
    assert bool((after <= before + 1e-6).all())


def test_the_noise_stops_where_the_classifier_changes_its_mind() -> None:
    """Two classes, and a classifier that takes a confidence above .8 for a member's."""
    g = {"g.0.weight": torch.tensor([[10.0, 0.0]]), "g.0.bias": torch.tensor([-8.0])}
    g = {k: v.double() for k, v in g.items()}
    p = torch.tensor([0.99, 0.9, 0.83, 0.77, 0.6, 0.51])
    scores = torch.stack([1 - p, p], 1)
    answer = GUARD.release(scores, Query(scores, generator(0), 1, g))[:, 1]
    # One step moves the difference of two log scores by 0.1 sqrt(2).
    step = 0.1 * 2**0.5 * 0.8 * 0.2
    assert bool((answer[:3] <= 0.8).all() and (answer[3:] >= 0.8).all())
    assert float((answer - 0.8).abs().max()) <= step * 1.05


def test_the_descent_follows_its_objective() -> None:
    g, rows = fitted(GUARD), TRAIN[:5].softmax(1).double()
    label = rows.argmax(1, keepdim=True)
    z = rows.log() + 2.0 * torch.randn(rows.shape, generator=generator(2), dtype=rows.dtype)

    def objective(z: torch.Tensor) -> torch.Tensor:
        lead = z.clone().scatter(1, label, -torch.inf).max(1).values - z.gather(1, label)[:, 0]
        moved = (z.softmax(1) - rows).abs().sum(1)
        return member(z.softmax(1), g).abs() + 10 * lead.clamp_min(0) + 3.0 * moved

    small = 1e-6 * torch.eye(6, dtype=rows.dtype)
    slope = [(objective(z + e) - objective(z - e)) / 2e-6 for e in small]
    _, _, gradient = GUARD._look(z, rows, label, g, 3.0)
    torch.testing.assert_close(gradient, torch.stack(slope, 1), atol=1e-4, rtol=1e-4)


def test_the_expected_distortion_keeps_to_the_budget() -> None:
    """Phase II, against its formula: noise with probability epsilon over its distance."""
    x, budget = TRAIN[:300], 0.1
    scores = x.softmax(1)
    distance = (released(GUARD, x) - scores).abs().sum(1).double()
    chance = (budget / distance).clamp_max(1.0)
    guard = dataclasses.replace(GUARD, epsilon=budget)
    spent = []
    for key in range(3):
        moved = (released(guard, x, key) != scores).any(1)
        drawn = uniform(secret(asked(x, GUARD, key), salt=2), 1).squeeze(1)
        clear = ((drawn - chance).abs() > 1e-6) & (distance > 1e-5)
        assert torch.equal(moved[clear], (drawn <= chance)[clear])
        spent.append(float((released(guard, x, key) - scores).abs().sum(1).mean()))
    assert sum(spent) / 3 < budget * 1.05
    assert sum(spent) / 3 > 0.5 * float((chance * distance).mean())


def test_noise_is_given_once_and_for_all_to_a_record() -> None:
    guard, x = dataclasses.replace(GUARD, epsilon=0.1), TRAIN[:100]
    assert torch.equal(released(guard, x, key=5), released(guard, x, key=5))
    assert not torch.equal(released(guard, x, key=5), released(guard, x, key=6))


# ---------------------------------------------------------------- purifier
def test_purified_answers_of_members_look_like_those_of_others() -> None:
    shown = [released(PURE, x).max(1).values.mean() for x in (TRAIN, PUBLIC)]
    scores = [x.softmax(1).max(1).values.mean() for x in (TRAIN, PUBLIC)]
    assert float(shown[0] - shown[1]) < 0.7 * float(scores[0] - scores[1])


def test_a_heavy_divergence_gives_back_the_label_alone() -> None:
    light, heavy = PURE, Purifier(kl=30.0, fit_steps=300)
    label = PUBLIC.argmax(1) == 2
    spread = [released(d, PUBLIC[label]).std(0).max() for d in (light, heavy)]
    assert float(spread[1]) < 0.1 * float(spread[0])


def test_the_autoencoder_gives_back_answers_for_others() -> None:
    scores = PUBLIC.softmax(1)
    distance = (
        (released(Purifier(kl=1e-4, label_weight=0.0, fit_steps=400), PUBLIC) - scores)
        .abs()
        .sum(1)
        .mean()
    )
    by_label = torch.stack([scores[PUBLIC.argmax(1) == c].mean(0) for c in range(6)])
    baseline = (by_label[PUBLIC.argmax(1)] - scores).abs().sum(1).mean()
    assert float(distance) < 0.6 * float(baseline)


def test_swapping_tells_the_runner_up_for_its_share_of_members_only() -> None:
    defense = Purifier(swap=0.25, fit_steps=20)
    assert defense.relabels and defense.covers == {"scores", "labels"}
    assert not PURE.relabels and PURE.covers == {"scores"}
    answer = released(defense, TRAIN)
    first, second = TRAIN.topk(2).indices.unbind(1)
    moved = answer.argmax(1) != first
    assert int(moved.sum()) == 100 and len(fitted(defense)["swapped"]) == 100
    assert torch.equal(answer.argmax(1)[moved], second[moved])
    assert torch.equal(released(defense, PUBLIC).argmax(1), PUBLIC.argmax(1))
    kept = Purifier(swap=0.0, fit_steps=20)
    torch.testing.assert_close(answer.sort(1).values, released(kept, TRAIN).sort(1).values)
