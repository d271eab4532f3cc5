from __future__ import annotations

import pytest
import torch

from bench.contract import Model, sparse
from bench.data.baskets import Baskets
from bench.metrics import reference
from bench.metrics.recommendation import ask, utility
from bench.models.fitting import predict
from bench.models.recommenders import AutoEncoder, Ease, PureSvd
from bench.models.training import train

SHOP = Baskets(items=80, train=800, test=300, public=300)


@pytest.mark.parametrize("model", [Ease(), PureSvd(), AutoEncoder(epochs=40)])
def test_it_keeps_up_with_item_neighbours(model: Model) -> None:
    splits = SHOP.load(0, None)
    network, report = train(model, [], splits, 0, "cpu")
    from bench.contract.task import top_list

    lists = ask(lambda x: top_list(predict(network, x), x), splits.test.x)
    got = utility(lists, splits.test.x)
    plain = reference.fit(splits, "recommendation", "item_knn", 0)
    assert got["ndcg_at_20"] is not None
    assert got["ndcg_at_20"] > plain["ndcg_at_20"] - 0.02
    assert 0 < report.train_accuracy <= 1


def test_ease_solves_its_own_problem() -> None:
    """No other matrix with a zero diagonal has a smaller penalised error."""
    x = (torch.rand(60, 12, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    model = Ease(penalty=5.0)
    network = model.build((12,), 12, 0)
    model.solve(network, x, x, model.recipe, 0)
    b = network.head.weight.detach().T.double()
    x = x.double()
    assert torch.equal(b.diagonal(), torch.zeros(12, dtype=torch.float64))

    def cost(b: torch.Tensor) -> float:
        return float((x - x @ b).square().sum() + 5.0 * b.square().sum())

    for seed in range(20):
        step = torch.randn(12, 12, generator=torch.Generator().manual_seed(seed)).double()
        step.fill_diagonal_(0)
        assert cost(b) <= cost(b + 1e-3 * step)


def test_pure_svd_is_the_projection_on_the_leading_vectors() -> None:
    x = (torch.rand(60, 12, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    model = PureSvd(factors=4)
    network = model.build((12,), 12, 0)
    model.solve(network, x, x, model.recipe, 0)
    v = torch.linalg.svd(x.double(), full_matrices=False).Vh[:4].T
    torch.testing.assert_close(network(x).detach().double(), x.double() @ v @ v.T)
    with torch.no_grad():
        torch.testing.assert_close(PureSvd(99).build((12,), 12, 0)(x), torch.zeros(60, 12))


@pytest.mark.parametrize("penalty", [0.05, 100.0])
def test_compressed_baskets_give_the_same_ease(penalty: float) -> None:
    """In either precision; an item that nobody bought has no weight."""
    x = (torch.rand(300, 50, generator=torch.Generator().manual_seed(1)) < 0.1).float()
    x[:, [7, 49]] = 0.0
    model = Ease(penalty=penalty)
    plain, kept = model.build((50,), 50, 0), model.build((50,), 50, 0)
    model.solve(plain, x, x, model.recipe, 0)
    rows = sparse.compressed(x)
    model.solve(kept, rows, rows, model.recipe, 0)
    torch.testing.assert_close(kept.head.weight, plain.head.weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("factors", [4, 50])
def test_compressed_baskets_give_the_same_factors(factors: int) -> None:
    x = (torch.rand(300, 50, generator=torch.Generator().manual_seed(1)) < 0.1).float()
    model = PureSvd(factors)
    plain, kept = model.build((50,), 50, 0), model.build((50,), 50, 0)
    model.solve(plain, x, x, model.recipe, 0)
    rows = sparse.compressed(x)
    model.solve(kept, rows, rows, model.recipe, 0)
    torch.testing.assert_close(kept(rows), plain(x), atol=1e-5, rtol=1e-4)
