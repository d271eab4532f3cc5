"""Toy tables with categories, a flag and numbers, and clients that train on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from bench.contract import (
    Card,
    Column,
    Exposure,
    Federation,
    Knowledge,
    Network,
    Split,
    Splits,
    Truth,
    Victims,
    generator,
)
from bench.contract.columns import Layout
from bench.models.trees import RandomForest
from tests.attacks.clients import Share, share

WIDTH = 10


def card(classes: int = 2) -> Card:
    """A category of four, a number, a flag, a category of three, a number."""
    fields = (
        Column("work", "category", (0, 4), ("a", "b", "c", "d")),
        Column("age", "number", (4, 5)),
        Column("owner", "category", (5, 6), ("yes",)),
        Column("home", "category", (6, 9), ("u", "v", "w")),
        Column("income", "number", (9, 10)),
    )
    names = tuple(map(str, range(classes)))
    return Card(
        "rows",
        "credit",
        "table",
        (WIDTH,),
        names,
        "record",
        "made up",
        "none",
        True,
        fields=fields,
    )


def rows(n: int, seed: int) -> Tensor:
    g = generator(seed)
    work = torch.multinomial(torch.tensor([0.5, 0.3, 0.15, 0.05]), n, True, generator=g)
    home = torch.randint(3, (n,), generator=g)
    numbers = torch.randn(n, 2, generator=g).clamp(-2.0, 2.0)
    owner = (torch.rand(n, 1, generator=g) < 0.3).float()
    return torch.cat(
        [one_hot(work, 4), numbers[:, :1], owner, one_hot(home, 3), numbers[:, 1:]], 1
    ).float()


def split(x: Tensor, classes: int = 2) -> Split:
    y = ((x[:, 4] > 0).long() + (x[:, 0] > 0).long()) % classes
    return Split(x, y, torch.arange(len(x)))


def layout(n: int = 60) -> Layout:
    return Layout.of(card(), rows(n, 2))


def mlp(activation: type[nn.Module] = nn.Tanh, hidden: int = 48, classes: int = 2) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, hidden), activation())
        return Network(nn.Sequential(block), nn.Linear(hidden, classes)).eval()


def forest(n: int = 30, seed: int = 5, **options: Any) -> Network:
    """A random forest that was grown on ``rows(n, seed)``."""
    model, members = RandomForest(**options), split(rows(n, seed))
    network = model.build((WIDTH,), 2, 0)
    model.solve(network, members.x, members.y, model.recipe, 0)
    return network.eval()


def world(
    network: Network, federation: Federation, change: Share = lambda u: u, public: int = 60
) -> tuple[Exposure, Knowledge, Truth]:
    """Exposure, knowledge, and the judge's truth of clients that hold rows of a table."""
    victims = split(rows(federation.records, 1))
    update = share(network, victims.x, victims.y, federation)

    def refuse(_: Any) -> Tensor:
        raise AssertionError("an attack on updates asks the deployment nothing")

    exposure = Exposure("gradients", refuse, refuse, network, updates=lambda: change(update))
    known = split(rows(public, 2))
    splits = Splits(card(), split(rows(30, 3)), split(rows(30, 4)), known)
    member = torch.arange(federation.records) % (2 * federation.batch_size) < federation.batch_size
    knowledge = Knowledge(card(), known, federation=federation)
    return exposure, knowledge, Truth(splits, Victims(victims, member), None, {}, federation)
