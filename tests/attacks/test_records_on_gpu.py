"""Attacks on records where the target is on a GPU."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from attacks.analytic_gradient import AnalyticGradient
from attacks.basket_decoder import BasketDecoder
from attacks.linear_recommender import LinearRecommender
from attacks.public_marginals import PublicMarginals
from attacks.public_records import PublicRecords
from attacks.record_search import RecordSearch
from attacks.tableak import TabLeak
from bench.contract import Exposure
from bench.contract.task import top_list
from tests.attacks import rows, shops

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.mark.parametrize(
    "attack",
    [
        TabLeak(steps=3, restarts=2, batch_size=2, records=8),
        AnalyticGradient(records=8),
        AnalyticGradient(batch_size=2, records=8),
        PublicMarginals(records=8),
        PublicMarginals(guess="sampled", records=8),
    ],
)
def test_rows_from_gradients(attack: Any) -> None:
    exposure, held, _ = rows.world(rows.mlp(), attack.federation)
    update = {k: v.cuda() for k, v in exposure.updates().items()}
    network = rows.mlp().cuda()
    exposure = Exposure("gradients", network, network, network, updates=lambda: update)
    held = dataclasses.replace(held, public=held.public.to("cuda"))
    out = attack.run(exposure, held, 0, "cuda")
    assert out.values.is_cuda and bool(torch.isfinite(out.values).all())


@pytest.mark.parametrize(
    "attack",
    [
        RecordSearch(steps=3, candidates=4),
        RecordSearch(access="scores", sweeps=1, candidates=4),
        PublicRecords(candidates=4),
    ],
)
def test_records_of_a_class(attack: Any) -> None:
    network = rows.mlp().cuda()
    _, held, _ = rows.world(rows.mlp(), TabLeak(records=8).federation)
    held = dataclasses.replace(
        held, public=held.public.to("cuda"), classes=torch.arange(2, device="cuda")
    )
    out = attack.run(
        Exposure(attack.access, lambda x: network(x).softmax(1), network, network), held, 0, "cuda"
    )
    assert out.values.is_cuda and bool(torch.isfinite(out.values).all())


@pytest.mark.parametrize(
    "attack",
    [BasketDecoder(epochs=2), BasketDecoder(access="labels", epochs=2), LinearRecommender()],
)
def test_baskets_from_a_recommender(attack: Any) -> None:
    network = shops.linear(shops.ease()).cuda()
    victims = shops.victims().cuda()

    def lists(x: torch.Tensor) -> torch.Tensor:
        return top_list(network(x), x, 10)

    observed = (lists if attack.access == "labels" else network)(victims).detach()
    held = shops.told(observed)
    held = dataclasses.replace(held, public=held.public.to("cuda"))
    out = attack.run(Exposure(attack.access, network, lists, network), held, 0, "cuda")
    assert out.values.is_cuda and bool(torch.isfinite(out.values).all())
