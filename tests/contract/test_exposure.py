from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.contract import AccessError, BudgetError, Exposure, at_least


def _expose(access: str, budget: int | None = None) -> Exposure:
    network = nn.Linear(4, 3)
    return Exposure(
        access,  # type: ignore[arg-type]
        lambda x: torch.softmax(network(x), 1),
        lambda x: network(x).argmax(1),
        network,
        budget,
    )


@pytest.mark.parametrize(
    ("access", "allowed"),
    [
        ("none", set()),
        ("labels", {"labels"}),
        ("scores", {"labels", "scores"}),
        ("weights", {"labels", "scores", "weights"}),
    ],
)
def test_offers_exactly_its_access(access: str, allowed: set[str]) -> None:
    exposure = _expose(access)
    x = torch.zeros(2, 4)
    asks = {
        "labels": lambda: exposure.labels(x),
        "scores": lambda: exposure.scores(x),
        "weights": exposure.network,
    }
    for name, ask in asks.items():
        if name in allowed:
            ask()
        else:
            with pytest.raises(AccessError, match=f"offers '{access}'"):
                ask()


def test_every_query_is_counted_and_the_budget_holds() -> None:
    exposure = _expose("scores", budget=10)
    exposure.scores(torch.zeros(6, 4))
    exposure.labels(torch.zeros(4, 4))
    assert exposure.meter.queries == 10
    with pytest.raises(BudgetError, match="budget of 10"):
        exposure.labels(torch.zeros(1, 4))
    assert exposure.meter.queries == 10


def test_white_box_passes_are_counted_and_weights_are_a_frozen_copy() -> None:
    exposure = _expose("weights")
    network = exposure.network()
    x = torch.zeros(5, 4, requires_grad=True)
    network(x).sum().backward()
    assert exposure.meter.forward_passes == 5
    assert exposure.meter.backward_passes == 5
    assert exposure.meter.queries == 0
    assert x.grad is not None
    assert not any(p.requires_grad for p in network.parameters())


def test_order_of_access() -> None:
    assert at_least("weights", "labels")
    assert not at_least("labels", "scores")
    # Who sees deletions sees nothing of the training protocol, and the other way round.
    assert at_least("deletions", "weights") and at_least("deletions", "deletions")
    assert not at_least("weights", "deletions") and not at_least("gradients", "deletions")
    assert not at_least("deletions", "gradients")


def test_passes_of_per_client_gradients_are_counted() -> None:
    exposure = _expose("weights")
    network = exposure.network()
    weights = {name: p.detach() for name, p in network.named_parameters()}

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(network, weights, (x,)).square().sum()

    x = torch.zeros(6, 2, 4, requires_grad=True)
    grads = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    assert exposure.meter.forward_passes == exposure.meter.backward_passes == 12
    torch.autograd.grad(grads["network.weight"].sum(), x)
    assert exposure.meter.backward_passes == 24


def test_only_a_malicious_server_sends_weights_of_its_own() -> None:
    network = nn.Linear(4, 3)
    sent: list[int] = []

    def honest() -> dict[str, torch.Tensor]:
        return {"bias": torch.zeros(5, 3)}

    def tampered(models: object) -> dict[str, torch.Tensor]:
        sent.append(len(models))  # type: ignore[arg-type]
        return {"bias": torch.ones(5, 3)}

    def exposure(access: str) -> Exposure:
        return Exposure(
            access,  # type: ignore[arg-type]
            network,
            network,
            network,
            updates=honest,
            tampered=tampered,
        )

    weights = {"bias": torch.zeros(3)}
    curious, malicious = exposure("gradients"), exposure("malicious_server")
    assert float(curious.updates()["bias"].sum()) == 0 and curious.meter.updates == 5
    with pytest.raises(AccessError, match="asked for 'malicious_server'"):
        curious.updates(weights)
    assert float(malicious.updates()["bias"].sum()) == 0
    assert float(malicious.updates(weights)["bias"].sum()) == 15
    malicious.updates([weights, weights])
    assert sent == [1, 2] and malicious.meter.updates == 15
    with pytest.raises(AccessError, match="asked for 'gradients'"):
        exposure("weights").updates()


def test_deletions_are_seen_by_those_who_have_that_access() -> None:
    network = nn.Linear(4, 3)

    def exposure(access: str) -> Exposure:
        after = {"bias": torch.ones(5, 3)}
        return Exposure(access, network, network, network, after=lambda: after)  # type: ignore[arg-type]

    assert exposure("deletions").deletions()["bias"].shape == (5, 3)
    for access in ("weights", "malicious_server"):
        with pytest.raises(AccessError, match="asked for 'deletions'"):
            exposure(access).deletions()
