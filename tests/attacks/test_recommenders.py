"""Baskets from the answers of a recommender: decoded, solved, or guessed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from attacks.basket_decoder import BasketDecoder
from attacks.common import wide_matrix
from attacks.common.item_decoders import basket_size, mean_f1, ridge, shown
from attacks.linear_recommender import LinearRecommender
from attacks.popularity import Popularity
from bench.contract import Access, Exposure, Network, Reconstruction, UserError, sparse
from bench.contract.task import top_list
from tests.attacks.shops import ITEMS, baskets, ease, linear, told, victims


def scores(x: Tensor) -> Tensor:
    return x @ ease()


def decode(access: Access, length: int = 10, hide: bool = True, seed: int = 0) -> Reconstruction:
    def lists(x: Tensor) -> Tensor:
        return top_list(scores(x), x, length, hide)

    exposure = Exposure(access, scores, lists)
    observed = (scores if access == "scores" else lists)(victims())
    found = BasketDecoder(access, epochs=15).run(exposure, told(observed), seed, "cpu")
    assert exposure.meter.queries == 600 and found.values.shape == victims().shape
    return found


def f1(values: Tensor) -> float:
    return mean_f1(values, victims(), basket_size(baskets()[:600]))


def ceiling() -> float:
    return f1(victims())


def popular() -> float:
    nothing = Exposure("none", scores, scores)
    values = Popularity().run(nothing, told(None), 0, "cpu").values
    assert values.shape == (1, ITEMS)
    return f1(values.expand(len(victims()), -1))


def test_scores_of_a_linear_recommender_are_the_basket() -> None:
    found = decode("scores")
    assert f1(found.values) == pytest.approx(ceiling(), abs=0.01)
    assert found.info["decoder"] in ("ridge", "mean")


def test_lists_say_less_than_scores_and_more_than_nothing() -> None:
    hidden, shown_, short = (
        f1(decode("labels", *options).values) for options in ((10, True), (10, False), (3, False))
    )
    assert popular() + 0.1 < short < shown_ < ceiling() - 0.02
    assert hidden > popular() + 0.2


def test_items_of_a_list_that_hides_purchases_are_never_guessed() -> None:
    found = decode("labels")
    listed = shown(ITEMS)(top_list(scores(victims()), victims(), 10, True))[:, :ITEMS] > 0
    assert found.info["listed_ruled_out"]
    assert float(found.values[listed].max()) < float(found.values[~listed].min())
    assert not decode("labels", 10, False).info["listed_ruled_out"]


def test_the_absence_of_an_item_speaks_for_it() -> None:
    """Two items go together; a list hides what was bought, so whoever is not offered one has it."""
    x = torch.zeros(400, ITEMS)
    x[::2, 0] = x[::2, 1] = x[1::4, 0] = 1.0
    partner = x[:, :1] - 10 * x[:, 1:2]  # offered to buyers of 0 who lack 1
    lists = torch.where(partner > 0, 1, -1).long()
    exposure = Exposure("labels", scores, lambda _: lists)
    found = BasketDecoder("labels", epochs=2).run(exposure, told(lists, x), 0, "cpu").values
    assert float(found[x[:, 1] > 0, 1].min()) > float(found[x[:, 1] == 0, 1].max()) - 1e-6


def test_an_empty_list_and_a_constant_recommender_are_worth_popularity() -> None:
    for access, answer in (
        ("scores", lambda x: torch.full_like(x, 3.0)),
        ("labels", lambda x: torch.full((len(x), 4), -1)),
        ("labels", lambda x: torch.arange(4).expand(len(x), 4)),
    ):
        exposure = Exposure(access, answer, answer)  # type: ignore[arg-type]
        knowledge = told(answer(victims()))
        found = BasketDecoder(access, epochs=2).run(exposure, knowledge, 0, "cpu")  # type: ignore[arg-type]
        assert bool(torch.isfinite(found.values).all())
        assert f1(found.values) > popular() - 0.06


def test_a_tiny_public_set_is_enough_to_run_and_less_is_refused() -> None:
    knowledge = told(scores(victims()), baskets()[:4])
    exposure = Exposure("scores", scores, scores)
    values = BasketDecoder(epochs=2).run(exposure, knowledge, 0, "cpu").values
    assert bool(torch.isfinite(values).all())
    with pytest.raises(UserError, match="at least 4 public baskets"):
        BasketDecoder().run(exposure, told(None), 0, "cpu")


def test_same_seed_same_answer() -> None:
    assert torch.equal(decode("labels", seed=3).values, decode("labels", seed=3).values)


def test_lists_become_items_and_ranks() -> None:
    z = shown(4)(torch.tensor([[2, 0, -1]]))
    assert z.tolist() == [[1, 0, 1, 0, 0, 0, 1, 0]]


def test_ridge_is_least_squares_with_a_free_intercept() -> None:
    from attacks.common.item_decoders import Pairs

    z = baskets()[:50]
    guess = ridge(Pairs(z, z @ ease() + 2.0), 1e-8)
    torch.testing.assert_close(guess(victims()), victims() @ ease() + 2.0, atol=1e-2, rtol=1e-2)
    flat = ridge(Pairs(z, z), 1e12)
    torch.testing.assert_close(flat(victims())[0], z.mean(0), atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- white box
def solve(network: nn.Module, observed: Tensor | None = None) -> Reconstruction:
    observed = network(victims()).detach() if observed is None else observed
    exposure = Exposure("weights", network, network, network)
    found = LinearRecommender().run(exposure, told(observed), 0, "cpu")
    assert exposure.meter.queries == 0
    return found


def test_a_matrix_of_full_rank_gives_the_basket_away_exactly() -> None:
    found = solve(linear(ease(), 0.5))
    assert found.info["stop_reason"] == "solved" and found.info["rank"] == ITEMS
    assert torch.equal(found.values.round(), victims())


def test_purchases_lie_in_the_box_and_popularity_decides_what_is_left() -> None:
    basis = torch.linalg.svd(baskets(seed=1), full_matrices=False)[2][:12]
    found = solve(linear(basis.T @ basis))
    assert found.info["rank"] == 12
    assert 0.0 <= float(found.values.min()) <= float(found.values.max()) <= 1.0
    assert f1(found.values) > popular() + 0.2
    blind = solve(linear(1e-3 * torch.ones(ITEMS, ITEMS)))
    assert f1(blind.values) > popular() - 0.02


def test_it_says_where_there_is_nothing_to_solve() -> None:
    curved = Network(nn.Sequential(nn.Linear(ITEMS, 20), nn.Tanh()), nn.Linear(20, ITEMS)).eval()
    for network, observed, reason in (
        (curved, None, "no matrix"),
        (linear(torch.zeros(ITEMS, ITEMS)), None, "constant"),
        (linear(ease()), torch.zeros(300, 5, dtype=torch.int64), "lists"),
    ):
        found = solve(network, observed)
        assert reason in found.info["stop_reason"]
        assert f1(found.values) == pytest.approx(popular())


def wide(network: nn.Module, observed: Tensor) -> Reconstruction:
    """As :func:`solve`, of public baskets that are kept in compressed rows."""
    knowledge = told(observed, sparse.compressed(baskets()[:600]))
    exposure = Exposure("weights", network, network, network)
    return LinearRecommender().run(exposure, knowledge, 0, "cpu")


@pytest.mark.parametrize("directions", [4, 128])
def test_of_a_wide_catalogue_it_finds_what_it_finds_of_a_small_one(
    directions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Item by item, and in few directions."""
    monkeypatch.setattr(wide_matrix, "_DIRECTIONS", directions)
    network = linear(ease(), 0.5)
    found = wide(network, network(victims()).detach())
    assert torch.equal(found.values.round(), victims())
    noisy = network(victims()).detach()
    noisy = noisy + 0.05 * noisy.std() * torch.randn(
        noisy.shape, generator=torch.Generator().manual_seed(0)
    )
    alike = f1(solve(network, noisy).values)
    assert f1(wide(network, noisy).values) > alike - 0.03


def test_of_a_wide_catalogue_it_finds_the_same_bits_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards are void where a trial that is repeated gives others."""
    monkeypatch.setattr(wide_matrix, "_DIRECTIONS", 4)
    network = linear(ease(), 0.5)
    first, second = (wide(network, network(victims()).detach()).values for _ in range(2))
    assert torch.equal(first, second)


def test_of_a_wide_catalogue_with_few_factors_popularity_decides_the_rest() -> None:
    basis = torch.linalg.svd(baskets(seed=1), full_matrices=False)[2][:12]
    network = linear(basis.T @ basis)
    found, alike = wide(network, network(victims()).detach()), solve(network)
    assert found.info["rank"] == 12
    torch.testing.assert_close(found.values, alike.values, atol=1e-3, rtol=1e-3)


def test_of_a_wide_catalogue_it_says_where_there_is_nothing_to_solve() -> None:
    curved = Network(nn.Sequential(nn.Linear(ITEMS, 20), nn.Tanh()), nn.Linear(20, ITEMS)).eval()
    for network, reason in ((curved, "no matrix"), (linear(torch.zeros(ITEMS, ITEMS)), "constant")):
        found = wide(network, network(victims()).detach())
        assert reason in found.info["stop_reason"]
        assert f1(found.values) == pytest.approx(popular())
    known = told(None, sparse.compressed(baskets()[:600]))
    values = Popularity().run(Exposure("none", scores, scores), known, 0, "cpu").values
    assert torch.allclose(values, baskets()[:600].mean(0))
