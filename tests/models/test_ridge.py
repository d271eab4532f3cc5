from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sklearn.linear_model import Ridge as Theirs

from bench.models.ridge import Ridge


def test_it_is_scikit_learns_ridge() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=rng) + 2
    y = x @ torch.arange(5.0) + torch.randn(200, generator=rng)
    for alpha in (0.0, 1.0, 30.0):
        model = Ridge(alpha)
        network = model.build((5,), 1, 0)
        model.solve(network, x, y, model.recipe, 0)
        theirs = Theirs(alpha=alpha).fit(x.numpy(), y.numpy())
        ours = network(x).squeeze(1).detach().numpy()
        np.testing.assert_allclose(ours, theirs.predict(x.numpy()), rtol=1e-3, atol=1e-3)


def test_weight_decay_shrinks_it() -> None:
    x, y = torch.randn(50, 3), torch.randn(50)
    model = Ridge(1.0)
    plain, decayed = (model.build((3,), 1, 0) for _ in range(2))
    model.solve(plain, x, y, model.recipe, 0)
    model.solve(decayed, x, y, replace(model.recipe, weight_decay=1.0), 0)
    assert float(decayed.head.weight.detach().norm()) < float(plain.head.weight.detach().norm())


def test_a_column_that_is_always_the_same_does_no_harm() -> None:
    x = torch.cat([torch.randn(50, 2), torch.ones(50, 1)], 1)
    model = Ridge(0.0)
    network = model.build((3,), 1, 0)
    model.solve(network, x, x[:, 0], model.recipe, 0)
    torch.testing.assert_close(network(x).squeeze(1).detach(), x[:, 0], atol=1e-3, rtol=1e-3)
