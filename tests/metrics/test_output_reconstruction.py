from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from bench.contract import (
    Card,
    DivergedError,
    Reconstruction,
    Split,
    Splits,
    Truth,
    UserError,
    Victims,
    generator,
    sparse,
)
from bench.metrics import output_reconstruction
from bench.metrics.output_reconstruction import guess_size, guessed, item_auc, score


def truth(x: Tensor, public: Tensor | None = None, sensitive: tuple[int, ...] = ()) -> Truth:
    n, items = x.shape
    card = Card(
        "toy",
        "retail",
        "basket",
        (items,),
        ("a", "b"),
        "record",
        "",
        "",
        True,
        sensitive_items=sensitive,
    )
    zeros = torch.zeros(n, dtype=torch.long)
    records = Split(x, zeros, torch.arange(n))
    aux = records if public is None else Split(public, zeros[: len(public)], zeros[: len(public)])
    return Truth(
        Splits(card, records, records, aux), Victims(records, torch.arange(n) % 2 == 0), None, {}
    )


def baskets(n: int = 60, items: int = 30, seed: int = 0) -> Tensor:
    return (torch.rand(n, items, generator=generator(seed)) < 0.2).float()


def test_f1_is_that_of_two_sets() -> None:
    x = baskets()
    values = torch.rand(60, 30, generator=generator(1))
    out = score(Reconstruction(values), truth(x, sensitive=(0, 3, 4)))
    k = round(float(x.sum(1).mean()))
    f1, jaccard, hits, guesses, bought = [], [], 0, 0, 0
    for row, basket in zip(values.tolist(), x.tolist(), strict=True):
        guess = set(sorted(range(30), key=lambda i: -row[i])[:k])
        real = {i for i in range(30) if basket[i]}
        f1.append(2 * len(guess & real) / (len(guess) + len(real)))
        jaccard.append(len(guess & real) / len(guess | real))
        if len(f1) % 2 == 1:
            hits += len(guess & real & {0, 3, 4})
            guesses += len(guess & {0, 3, 4})
            bought += len(real & {0, 3, 4})
    assert out.outcomes["f1"].tolist() == pytest.approx(f1)
    assert out.value == out.members == pytest.approx(sum(f1[::2]) / 30)
    assert out.nonmembers == pytest.approx(sum(f1[1::2]) / 30)
    assert out.extra["jaccard"] == pytest.approx(sum(jaccard[::2]) / 30)
    assert out.extra["f1_sensitive"] == pytest.approx(2 * hits / (guesses + bought))


def test_the_truth_scores_exactly_the_ceiling_and_nothing_exceeds_it() -> None:
    x = baskets()
    out = score(Reconstruction(x), truth(x))
    assert out.value == pytest.approx(out.ceiling) and out.ceiling < 1.0
    assert out.extra["item_auc"] == 1.0
    noisy = x + torch.rand(x.shape, generator=generator(3))
    assert score(Reconstruction(noisy), truth(x)).value <= out.ceiling


def test_k_comes_from_the_public_baskets_alone() -> None:
    x = baskets()
    small, large = baskets(20, seed=5) * 0, torch.ones(20, 30)
    small[:, :2] = 1.0
    assert guess_size(small) == 2 and guess_size(large) == 30
    assert score(Reconstruction(x), truth(x, small)).extra["k"] == 2
    assert guess_size(torch.zeros(4, 9)) == 1


def test_guessing_nothing_is_worth_its_expectation() -> None:
    """Hamming accuracy would be 80 %; a constant score gets what a random guess gets."""
    x = baskets(400)
    constant = score(Reconstruction(torch.zeros_like(x)), truth(x))
    chance = score(Reconstruction(torch.rand(x.shape, generator=generator(1))), truth(x))
    assert constant.value == pytest.approx(chance.value, abs=0.02)
    assert constant.extra["item_auc"] == pytest.approx(0.5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 12))
def test_a_guess_has_k_items_and_the_catalogue_order_does_not_matter(seed: int, k: int) -> None:
    g = generator(seed)
    scores = torch.randint(4, (5, 12), generator=g).double()
    guess = guessed(scores, k)
    assert torch.allclose(guess.sum(1), torch.full((5,), float(k), dtype=torch.float64))
    assert float(guess.min()) >= 0 and float(guess.max()) <= 1
    order = torch.randperm(12, generator=g)
    assert torch.allclose(guessed(scores[:, order], k), guess[:, order])


def test_item_auc_is_that_of_scikit_learn() -> None:
    x, values = baskets(8), torch.randint(5, (8, 30), generator=generator(2)).double()
    expected = [roc_auc_score(t, v) for t, v in zip(x, values, strict=True)]
    assert item_auc(values, x.double()).tolist() == pytest.approx(expected)


def test_an_empty_basket_is_scored_zero() -> None:
    x = baskets()
    x[0] = 0
    out = score(Reconstruction(torch.rand(60, 30, generator=generator(0))), truth(x))
    assert float(out.outcomes["f1"][0]) == 0.0
    assert all(torch.isfinite(v.double()).all() for v in out.outcomes.values())
    assert {len(v) for v in out.outcomes.values()} == {60}


def test_without_sensitive_items_there_is_no_sensitive_f1() -> None:
    assert "f1_sensitive" not in score(Reconstruction(baskets()), truth(baskets())).extra


def test_what_cannot_be_scored_is_refused() -> None:
    x = baskets()
    with pytest.raises(UserError, match="shape"):
        score(Reconstruction(x[:, :5]), truth(x))
    with pytest.raises(DivergedError):
        score(Reconstruction(x * torch.nan), truth(x))


def test_sensitive_auc_compares_people_not_items() -> None:
    x = baskets(200)
    values = torch.rand(200, 30, generator=generator(4))
    x[:, 7] = 0.0  # bought by nobody: no AUC
    judged = truth(x, sensitive=(2, 5, 7))
    out = score(Reconstruction(values), judged).extra
    expected = [roc_auc_score(x[::2, i], values[::2, i]) for i in (2, 5)]
    assert out["auc_sensitive"] == pytest.approx(sum(expected) / 2)
    others = [roc_auc_score(x[1::2, i], values[1::2, i]) for i in (2, 5)]
    assert out["auc_sensitive_nonmembers"] == pytest.approx(sum(others) / 2)
    popular = x.mean(0).expand_as(x).contiguous()
    assert score(Reconstruction(popular), judged).extra["auc_sensitive"] == 0.5
    assert score(Reconstruction(x), judged).extra["auc_sensitive"] == 1.0
    nobody = score(Reconstruction(values), truth(x, sensitive=(7,))).extra
    assert "auc_sensitive" not in nobody


def test_one_row_is_said_of_every_victim() -> None:
    x = baskets()
    row = torch.rand(1, 30, generator=generator(1))
    short, full = (score(Reconstruction(v), truth(x)) for v in (row, row.repeat(60, 1)))
    assert short.value == full.value and len(short.outcomes["f1"]) == 60


def test_victims_are_judged_a_few_at_a_time_as_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, values = baskets(), torch.rand(60, 30, generator=generator(1)).round(decimals=1)
    whole = score(Reconstruction(values), truth(x, sensitive=(2, 5)))
    monkeypatch.setattr(output_reconstruction, "_rows", lambda n_items: 7)
    kept = truth(x, sparse.compressed(x), sensitive=(2, 5))
    parts = score(Reconstruction(values), kept)
    assert (parts.value, parts.ceiling, parts.extra) == (whole.value, whole.ceiling, whole.extra)
    assert all(torch.equal(whole.outcomes[k], parts.outcomes[k]) for k in whole.outcomes)
