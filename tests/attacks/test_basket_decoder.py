from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.basket_decoder import BasketDecoder
from attacks.common.item_decoders import mean_f1, probabilities
from attacks.common.segments import popularity
from attacks.popularity import Popularity
from bench.contract import Access, Card, Exposure, Knowledge, Split, generator

N_ITEMS, N_CLASSES = 40, 4


@cache
def shop() -> tuple[Card, Split, Split, Tensor]:
    """Baskets of a class's items plus one of two themes that scores show and labels hide."""
    g = generator(0)
    n = 900
    y = torch.randint(N_CLASSES, (n,), generator=g)
    theme = torch.randint(2, (n,), generator=g)
    rate = torch.full((n, N_ITEMS), 0.05)
    rows = torch.arange(n)
    for j in range(5):
        rate[rows, y * 5 + j] = 0.6
        rate[rows, 20 + theme * 10 + j] = 0.6
    x = (torch.rand(n, N_ITEMS, generator=g) < rate).float()
    items = tuple(map(str, range(N_ITEMS)))
    classes = tuple(map(str, range(N_CLASSES)))
    card = Card("toy", "retail", "basket", (N_ITEMS,), classes, "record", "", "", True, None, items)
    data = Split(x, y, rows)
    weight = torch.zeros(N_ITEMS, N_CLASSES)
    for c in range(N_CLASSES):
        weight[c * 5 : c * 5 + 5, c] = 2.0
        weight[20:25, c] = 1.0 if c % 2 else -1.0
    return card, data.take(rows < 600), data.take(rows >= 600), weight


def attack(
    access: Access = "scores", release: Any = lambda p: p, seed: int = 0, **options: Any
) -> tuple[Tensor, Exposure, dict[str, Any]]:
    card, public, victims, weight = shop()

    def scores(x: Tensor) -> Tensor:
        out: Tensor = release(torch.softmax(x @ weight, 1))
        return out

    def labels(x: Tensor) -> Tensor:
        return (x @ weight).argmax(1)

    exposure = Exposure(access, scores, labels)
    observed = (scores if access == "scores" else labels)(victims.x)
    knowledge = Knowledge(card, public, observed=observed, victim_labels=victims.y)
    out = BasketDecoder(access, **options).run(exposure, knowledge, seed, "cpu")
    return out.values, exposure, dict(out.info)


def f1(values: Tensor) -> float:
    _, public, victims, _ = shop()
    return mean_f1(values, victims.x, round(float(public.x.sum(1).mean())))


def base(given_label: bool) -> float:
    card, public, victims, _ = shop()
    knowledge = Knowledge(card, public, victim_labels=victims.y)
    nothing = Exposure("none", lambda x: x, lambda x: x)
    out = Popularity(given_label=given_label).run(nothing, knowledge, 0, "cpu").values
    assert out.shape == victims.x.shape
    return f1(out)


def test_scores_reveal_more_than_the_label_and_the_label_more_than_nothing() -> None:
    full, rounded, label = (
        f1(attack()[0]),
        f1(attack(release=lambda p: torch.round(p, decimals=1))[0]),
        f1(attack("labels")[0]),
    )
    assert base(True) > base(False) + 0.05
    assert full > base(True) + 0.03
    assert full > rounded - 0.005
    assert label > base(True) - 0.01


@pytest.mark.parametrize(
    "release",
    [
        lambda p: torch.zeros_like(p).scatter(1, p.argmax(1, keepdim=True), 1.0),
        lambda p: torch.full_like(p, 0.25),
        torch.zeros_like,
    ],
)
def test_a_sanitised_answer_is_never_worse_than_ignoring_it(release: Any) -> None:
    values, _, _ = attack(release=release)
    assert bool(torch.isfinite(values).all())
    assert f1(values) > base(True) - 0.01


def test_every_public_basket_is_asked_once() -> None:
    for access in ("scores", "labels"):
        _, exposure, _ = attack(access, epochs=1)  # type: ignore[arg-type]
        assert exposure.meter.queries == 600


def test_same_seed_same_answer_and_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    a, b = (attack(epochs=3, seed=4)[0] for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(state, torch.get_rng_state())


def test_the_decoder_with_the_best_held_out_f1_attacks() -> None:
    info = attack()[2]
    held = info["holdout_f1"]
    assert set(held) == {"popularity", "ridge", "network", "mean"}
    assert held[info["decoder"]] == max(held.values())


def test_victims_do_not_enter_the_training() -> None:
    """Leaving out victims changes nothing for the others."""
    card, public, victims, weight = shop()

    def scores(x: Tensor) -> Tensor:
        return torch.softmax(x @ weight, 1)

    whole = Knowledge(card, public, observed=scores(victims.x), victim_labels=victims.y)
    part = dataclasses.replace(whole, observed=scores(victims.x)[:7], victim_labels=victims.y[:7])
    a, b = (
        BasketDecoder(epochs=2).run(Exposure("scores", scores, scores), k, 0, "cpu").values
        for k in (whole, part)
    )
    assert torch.allclose(a[:7], b, atol=1e-6)


def test_withheld_scores_stand_one_unit_below_the_least_answer() -> None:
    answers = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.0, 0.5], [0.0, 0.2, 0.8]])
    z = probabilities(answers, 3)(answers)
    assert bool(torch.isfinite(z).all())
    assert bool((z.mean(0).abs() < 1e-5).all())
    assert float(z[0, 2]) < float(z[1, 2]) < float(z[2, 2])


def test_popularity_of_a_class_without_baskets_is_the_global_one() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    table = popularity(x, torch.tensor([0, 0]), 2)
    assert torch.allclose(table[1], x.mean(0))
