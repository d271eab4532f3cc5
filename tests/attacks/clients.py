"""A toy federation: small images, clients that share exact updates, a smooth network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.contract import (
    Card,
    Exposure,
    Federation,
    Knowledge,
    Network,
    Split,
    TrainingDefense,
    Weights,
    generator,
)
from bench.models.federated import updates

CLASSES, SIDE = 5, 8
SHAPE = (1, SIDE, SIDE)

Share = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def images(n: int, seed: int) -> Tensor:
    return 0.05 + 0.9 * torch.rand(n, *SHAPE, generator=generator(seed))


def mlp(activation: type[nn.Module] = nn.Tanh, hidden: int = 32) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, hidden), activation())
        return Network(nn.Sequential(block), nn.Linear(hidden, CLASSES))


def conv(activation: type[nn.Module] = nn.Tanh) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1, stride=2), activation())
        return Network(nn.Sequential(block), nn.Linear(12 * SIDE**2 // 4, CLASSES))


def softmax() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(nn.Sequential(), nn.Linear(SIDE**2, CLASSES))


def share(network: Network, x: Tensor, y: Tensor, federation: Federation) -> dict[str, Tensor]:
    """Every client's update by plain SGD, one client after the other."""
    names = [k for k, p in network.named_parameters() if p.requires_grad]
    rows = []
    for images_, labels in zip(
        x.split(federation.batch_size), y.split(federation.batch_size), strict=True
    ):
        weights = {k: p.detach().clone() for k, p in network.named_parameters()}
        start = {k: weights[k].clone() for k in names}
        for _ in range(federation.local_steps):
            leaves = {k: w.requires_grad_() for k, w in weights.items()}
            logits = torch.func.functional_call(network, leaves, (images_,))
            loss = nn.functional.cross_entropy(logits, labels)
            grads = torch.autograd.grad(loss, [leaves[k] for k in names])
            weights = {k: w.detach() for k, w in leaves.items()}
            for k, g in zip(names, grads, strict=True):
                weights[k] = weights[k] - federation.local_lr * g
        if federation.local_steps == 1:
            rows.append(dict(zip(names, grads, strict=True)))
        else:
            rows.append({k: (start[k] - weights[k]) / federation.local_lr for k in names})
    return {k: torch.stack([row[k] for row in rows]) for k in names}


def world(
    network: Network,
    federation: Federation,
    change: Share = lambda update: update,
    labels: Tensor | None = None,
    prior: dict[str, Tensor] | None = None,
    public: int = 40,
) -> tuple[Exposure, Knowledge, Tensor, Tensor]:
    """Exposure, knowledge, and what the attack must not see: records and labels."""
    x = images(federation.records, 1)
    y = torch.arange(federation.records) % CLASSES if labels is None else labels
    update = share(network, x, y, federation)

    def refuse(_: Any) -> Tensor:
        raise AssertionError("an attack on updates asks the deployment nothing")

    exposure = Exposure("gradients", refuse, refuse, network.eval(), updates=lambda: change(update))
    names = tuple(str(i) for i in range(CLASSES))
    card = Card("toy", "face", "image", SHAPE, names, "person", "made here", "none", True)
    held = images(public, 2)
    split = Split(held, torch.zeros(public, dtype=torch.int64), torch.arange(public))
    knowledge = Knowledge(card, split, federation=federation, prior=prior or {})
    return exposure, knowledge, x, y


def corrupt(
    network: Network, federation: Federation, *layers: TrainingDefense, public: int = 400
) -> tuple[Exposure, Knowledge, Tensor, Tensor]:
    """The same where the server may send other weights, and clients hide behind ``layers``."""
    for layer in layers:
        federation = layer.federate(federation)
    honest, knowledge, x, y = world(network, federation, public=public)
    rng = generator(5)

    def round_at(sent: Sequence[Weights]) -> Weights:
        return updates(network, layers, x, y, federation, "classification", rng, "cpu", sent)

    asks = honest.scores, honest.labels
    exposure = Exposure(
        "malicious_server", *asks, network, updates=lambda: round_at(()), tampered=round_at
    )
    return exposure, knowledge, x, y


def psnr(a: Tensor, b: Tensor) -> Tensor:
    return -10 * (a - b).square().flatten(1).mean(1).clamp_min(1e-10).log10()


def exact(found: Tensor, x: Tensor, atol: float = 1e-3) -> float:
    """Share of the records that some row of ``found`` is."""
    apart = torch.cdist(x.flatten(1), found.flatten(1)) / x[0].numel() ** 0.5
    return float((apart.amin(1) < atol).float().mean())


def prune(removed: float) -> Share:
    """Client by client."""

    def change(update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rows = torch.cat([v.flatten(1) for v in update.values()], 1).abs()
        least = rows.kthvalue(int(removed * rows.shape[1]), dim=1).values
        return {k: v * (v.abs() > least.view(-1, *[1] * (v.dim() - 1))) for k, v in update.items()}

    return change
