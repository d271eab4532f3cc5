"""An owner who defends his deployment, and what an attacker of it is handed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bench.contract import (
    Access,
    Card,
    Exposure,
    Gateway,
    Owner,
    Query,
    ReleaseDefense,
    ServeDefense,
    Split,
    Stream,
    Traffic,
    TrainingDefense,
    generator,
)
from bench.data.traffic import benign

Answer = Callable[[Tensor], Tensor]
Updates = Mapping[str, Tensor]


def released(
    defense: ReleaseDefense, scores: Answer, card: Card, train: Split, public: Split
) -> Answer:
    """What the owner of ``train`` answers: the target's ``scores`` behind ``defense``."""
    owner = Owner(card, "classification", train, public, scores, _nobody, "cpu")
    fitted, rng = defense.prepare(owner, 3), generator(5)
    return lambda x: defense.release(scores(x), Query(x, rng, 7, fitted))


def exposed(
    access: Access,
    defense: object,
    scores: Answer,
    card: Card,
    train: Split,
    public: Split,
    gate: Gateway | None = None,
) -> Exposure:
    """Answers of a target with ``scores``, behind ``defense`` if that is a release defense."""
    answer = scores
    if isinstance(defense, ReleaseDefense):
        answer = released(defense, scores, card, train, public)
    relabels = isinstance(defense, ReleaseDefense) and defense.relabels
    told = answer if relabels else scores
    return Exposure(access, answer, lambda x: told(x).argmax(1), gate=gate)


def gate(
    defense: object, stream: Stream, scores: Answer, card: Card, train: Split, public: Split
) -> Gateway:
    """What stands before the interface where ``defense`` watches; else nothing."""
    if not isinstance(defense, ServeDefense):
        return Gateway([], stream, public.x)

    def accounts(count: int, seed: int) -> Traffic:
        return benign(train, card, count, seed)

    owner = Owner(card, "classification", train, public, scores, accounts, "cpu")
    return Gateway([defense.watch(defense.prepare(owner, 3))], stream, public.x)


def shared(defense: object) -> Callable[[Updates], dict[str, Tensor]]:
    """What clients share, each behind ``defense``, of updates ``[clients, ...]`` by name."""
    rng = generator(11)

    def change(update: Updates) -> dict[str, Tensor]:
        if not isinstance(defense, TrainingDefense):
            return dict(update)
        count = len(next(iter(update.values())))
        clients = [defense.share({k: v[i] for k, v in update.items()}, rng) for i in range(count)]
        return {k: torch.stack([client[k] for client in clients]) for k in update}

    return change


def _nobody(count: int, seed: int) -> Traffic:
    raise AssertionError("no release defense asks for traffic")
