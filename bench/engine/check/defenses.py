"""The contract of defenses, tried: active, nothing at zero strength, true to what they say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from bench.contract import (
    Defense,
    Federation,
    Model,
    ReleaseDefense,
    ServeDefense,
    Splits,
    Stream,
    TrainingDefense,
)
from bench.engine.check.findings import Check, attempt, global_seeds, guarded, require_that
from bench.engine.check.probes import Ground, model_for, paper, same_weights
from bench.engine.check.releases import prepared, try_release, undefended
from bench.engine.config import Option

_BENIGN = 200
_BLOCKED = 0.1
"""Most benign accounts, as a share, that a watcher may refuse something."""


def try_defense(option: Option, part: Defense, ground: Ground) -> Iterator[Check]:
    """Try one layer of a defense, hook by hook."""
    yield paper(option, part)
    if not isinstance(part, TrainingDefense | ReleaseDefense | ServeDefense):
        return
    yield require_that(
        f"{option.name}: says what it covers",
        bool(part.covers),
        "set the class attribute 'covers': the access levels at which it changes what an attack "
        "sees",
    )
    yield require_that(
        f"{option.name}: says what it costs",
        bool(part.cost.strip()),
        "set the class attribute 'cost': what the owner pays besides utility, in a phrase",
    )
    yield require_that(
        f"{option.name}: can be tuned or says that it cannot",
        not part.tunable or bool(dataclasses.fields(part)),  # type: ignore[arg-type]
        "set the class attribute 'tunable' to False, because it has no option; suites give all "
        "other defenses the same number of settings",
    )
    # What one hook breaks must not hide what is wrong with the others.
    if isinstance(part, ReleaseDefense):
        yield from guarded(f"{option.name}: can release", try_release(option, part, ground))
    if isinstance(part, TrainingDefense):
        yield from guarded(f"{option.name}: can train", _try_training(option, part, ground))
    if isinstance(part, ServeDefense):
        yield from guarded(f"{option.name}: can serve", _try_serve(option, part, ground))


# ---------------------------------------------------------------- training
def _weights(model: Model, layers: Sequence[TrainingDefense], splits: Splits) -> dict[str, Any]:
    from bench.models.training import train

    network, _ = train(model, layers, splits, 0, "cpu")
    return network.state_dict()


def _try_training(option: Option, part: TrainingDefense, ground: Ground) -> Iterator[Check]:
    place, data = ground.dataset(part.modalities, tasks=part.tasks)
    splits = data.of_repeat(0).load(0, ground.data_root)
    _, model = model_for(data, part.tasks, part.needs)
    plain = _weights(model, [], splits)
    probe = dataclasses.replace(part, **part.probe) if part.probe else part  # type: ignore[type-var]
    trained: list[dict[str, Any]] = []

    def passive() -> str:
        trained.append(_weights(model, [probe], splits))
        hidden = probe.federate(Federation()) != Federation()
        if hidden or not same_weights(trained[0], plain):
            return ""
        return "the trained weights are those of no defense: it defends nothing"

    def unsteady() -> str:
        with global_seeds(1):
            again = _weights(model, [probe], splits)
        return (
            ""
            if same_weights(trained[0], again)
            else "two trainings with the same seed differ; use generators made from the seed"
        )

    def not_zero() -> str:
        zero = dataclasses.replace(part, **(part.zero or {}))  # type: ignore[type-var]
        return (
            ""
            if same_weights(_weights(model, [zero], splits), plain)
            else f"options {dict(part.zero or {})} must give the undefended weights bit for bit"
        )

    yield attempt(f"{option.name}: is active on {place.name}", passive)
    if trained:
        bad = [name for name, value in trained[0].items() if not bool(torch.isfinite(value).all())]
        yield require_that(
            f"{option.name}: trains to finite weights", not bad, f"NaN or Inf in {', '.join(bad)}"
        )
        yield attempt(f"{option.name}: follows from its seed", unsteady)
    if part.zero is not None:
        yield attempt(f"{option.name}: equals none at zero strength", not_zero)


# ---------------------------------------------------------------- serving
def _try_serve(option: Option, part: ServeDefense, ground: Ground) -> Iterator[Check]:
    """A month of benign accounts, and one account that asks noise ten thousand times."""
    from bench.data.traffic import benign

    place, data = ground.dataset(part.modalities, tasks=part.tasks)
    splits = data.of_repeat(0).load(0, ground.data_root)
    _, model = model_for(data, part.tasks, part.needs)
    bare = undefended(model, splits)
    behind = prepared(bare, part)
    scores, _labels = behind.interface(0)
    rng = torch.Generator().manual_seed(0)
    probes = splits.public.x[:1] + torch.randn(10_000, *splits.card.shape, generator=rng)
    gate = behind.gate(Stream())
    with torch.no_grad():
        _, answered = gate.serve(probes, scores)
    yield require_that(
        f"{option.name}: is active on {place.name}",
        not bool(answered.all()) or gate.clock > len(probes),
        "one account asked 10,000 times for noise around one record, and nothing came of it",
    )

    def unsteady() -> str:
        with torch.no_grad(), global_seeds(1):
            _, second = behind.gate(Stream()).serve(probes, scores)
        return (
            ""
            if torch.equal(answered, second)
            else "the same queries were treated differently the second time"
        )

    yield attempt(f"{option.name}: follows from its seed", unsteady)
    with torch.no_grad():
        blocked = behind.blocked(benign(splits.test, splits.card, _BENIGN, 1), 0)
    yield require_that(
        f"{option.name}: lets most customers pass ({blocked:.1%} of {_BENIGN} benign accounts "
        "refused)",
        blocked <= _BLOCKED,
        "more than one benign account in ten is refused something; be more patient with those who "
        "ask little",
    )
    if part.zero is not None:
        zero = dataclasses.replace(part, **part.zero)  # type: ignore[type-var]
        idle = prepared(bare, zero)
        with torch.no_grad():
            _, all_of_them = idle.gate(Stream()).serve(probes, scores)
        yield require_that(
            f"{option.name}: refuses nothing at zero strength",
            bool(all_of_them.all()),
            f"options {dict(part.zero)} must answer everything",
        )
