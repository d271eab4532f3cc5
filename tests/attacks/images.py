"""A toy world of images: people are points in a smooth latent, the target is nearly linear."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.contract import Access, Card, Exposure, Knowledge, Network, Split, generator

PEOPLE, SIDE, RANK = 6, 12, 10
SHAPE = (1, SIDE, SIDE)


def card(people: int = PEOPLE) -> Card:
    names = tuple(f"person {i}" for i in range(people))
    return Card("toy_faces", "face", "image", SHAPE, names, "person", "made here", "none", True)


def waves() -> Tensor:
    """Orthonormal smooth patterns ``[RANK, SIDE * SIDE]``."""
    t = (torch.arange(SIDE) + 0.5) / SIDE * torch.pi
    grid = [
        torch.outer((i * t).cos(), (j * t).cos()).flatten()
        for i in range(4)
        for j in range(4)
        if i + j > 0
    ][:RANK]
    return torch.nn.functional.normalize(torch.stack(grid))


def photographs(people: int, each: int, seed: int, spread: float = 0.3) -> Split:
    """``each`` images of every person: a person's pattern plus a smaller one of the moment."""
    rng = generator(seed)
    who = torch.randn(people, RANK, generator=rng).repeat_interleave(each, 0)
    moment = spread * torch.randn(len(who), RANK, generator=rng)
    x = (0.5 + 0.5 * (who + moment) @ waves() / RANK**0.5).clamp(0.02, 0.98)
    owner = torch.arange(people).repeat_interleave(each)
    return Split(x.view(-1, *SHAPE), owner, owner + 1000 * seed)


def knowledge(people: int = PEOPLE, prior: dict[str, Tensor] | None = None) -> Knowledge:
    public = photographs(30, 3, seed=9)
    classes = torch.arange(people)
    return Knowledge(card(people), public, classes=classes, prior=prior or {})


def target(private: Split, gain: float = 40.0) -> Network:
    """Nearest class mean as a network: logits ``gain * (m_c . x - |m_c|^2 / 2)``."""
    people = torch.unique(private.y)
    means = torch.stack([private.x[private.y == c].mean(0).flatten() for c in people])
    head = nn.Linear(means.shape[1], len(means))
    with torch.no_grad():
        head.weight.copy_(gain * means)
        head.bias.copy_(-gain * means.square().sum(1) / 2)
    return Network(nn.Sequential(nn.Flatten()), head).eval()


def exposed(
    network: nn.Module,
    access: Access,
    release: Callable[[Tensor], Tensor] = lambda scores: scores,
    budget: int | None = None,
) -> Exposure:
    return Exposure(
        access,
        lambda x: release(network(x).softmax(1)),
        lambda x: network(x).argmax(1),
        network,
        budget,
    )
