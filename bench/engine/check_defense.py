"""The contract of defenses, tried: active, nothing at zero strength, true to what they say."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.contract import (
    Defense,
    Federation,
    Model,
    Query,
    ReleaseDefense,
    ServeDefense,
    Splits,
    Stream,
    TrainingDefense,
)
from bench.contract.task import top_list
from bench.engine.conf import list_options
from bench.engine.config import Grid, Option
from bench.engine.probes import Finding, embedded, model_for, paper, same_weights

if TYPE_CHECKING:
    from bench.engine.deployment import Deployment


def try_defense(
    option: Option, part: Defense, grid: Grid, folder: Path | None
) -> Iterator[Finding]:
    """Try one layer of a defense, hook by hook."""
    yield paper(option, part)
    if not isinstance(part, TrainingDefense | ReleaseDefense | ServeDefense):
        return
    known = list_options("attack", folder)
    unknown = [a for a in part.adaptive_attacks if a.split("[")[0] not in known]
    yield (
        f"{option.name}: names an adaptive attack",
        bool(part.adaptive_attacks) and not unknown,
        f"'adaptive_attacks' must name options of conf/attack; unknown: {unknown or 'none named'}",
    )
    yield (
        f"{option.name}: says what it costs",
        bool(part.cost.strip()),
        "set the class attribute 'cost': what the owner pays besides utility, in a phrase",
    )
    if isinstance(part, ReleaseDefense):
        yield from _release(option, part)
    if isinstance(part, TrainingDefense):
        yield from _training(option, part)
    if isinstance(part, ServeDefense):
        yield from _serve(option, part)


def _release(option: Option, part: ReleaseDefense) -> Iterator[Finding]:
    rng = torch.Generator().manual_seed(0)
    if part.tasks == ("recommendation",):
        yield from _list(option, part, rng)
        return
    name, data = embedded(part.modalities, tasks=part.tasks)
    splits = data.load(0, None)
    _, model = model_for(data, part.tasks, part.needs)
    x = splits.test.x[:64]
    bare = _deployment(model, splits)
    with torch.no_grad():
        scores = bare.answer(x, rng)

    def ask(layer: ReleaseDefense, rows: slice = slice(None), seed: int = 0) -> torch.Tensor:
        behind = dataclasses.replace(bare, served=[layer])
        behind = dataclasses.replace(behind, fitted=behind.prepare(0))
        rng = torch.Generator().manual_seed(seed)
        query = Query(x[rows], rng, behind.key, behind.fitted_of(0))
        with torch.no_grad():
            return layer.release(scores[rows].clone(), query)

    out = ask(part)
    yield (
        f"{option.name}: keeps the shape on {name}", out.shape == scores.shape,
        f"got {tuple(out.shape)}",
    )  # fmt: skip
    yield f"{option.name}: is finite", bool(torch.isfinite(out).all()), "it returned NaN or Inf"
    if part.fresh:
        yield (
            f"{option.name}: answers anew every time",
            torch.equal(ask(part), out) and not torch.equal(ask(part, seed=1), out),
            "noise must follow from 'query.rng' and from nothing else",
        )
    else:
        rows = torch.cat([ask(part, slice(i, i + 1)) for i in range(8)])
        yield (
            f"{option.name}: answers row by row",
            torch.allclose(rows, out[:8], atol=1e-6),
            "a batch is answered differently from its rows one by one",
        )
    lost = int((out.gather(1, scores.argmax(1, keepdim=True)).squeeze(1) < out.max(1).values).sum())
    yield (
        f"{option.name}: keeps the argmax, or says that it does not",
        part.relabels or not lost,
        f"the best class lost its place in {lost} of {len(x)} rows; keep it, or set 'relabels'",
    )
    yield f"{option.name}: is active", not torch.equal(out, scores), "it changed nothing"
    if part.zero is not None:
        zero = dataclasses.replace(part, **part.zero)  # type: ignore[type-var]
        yield (
            f"{option.name}: does nothing at zero strength",
            torch.equal(ask(zero), scores),
            f"options {dict(part.zero)} must leave the scores as they are",
        )


def _list(option: Option, part: ReleaseDefense, rng: torch.Generator) -> Iterator[Finding]:
    x = (torch.rand(64, 60, generator=rng) < 0.2).float()
    scores = torch.randn(64, 60, generator=rng)
    shown, usual = part.recommend(scores, x), top_list(scores, x)
    query = Query(x, rng)
    changed = not torch.equal(part.release(scores, query), scores)
    if shown is not None:
        changed |= shown.shape != usual.shape or not torch.equal(shown, usual)
        rows = [part.recommend(scores[i : i + 1], x[i : i + 1]) for i in range(len(x))]
        yield (
            f"{option.name}: answers row by row",
            all(row is not None and torch.equal(row[0], shown[i]) for i, row in enumerate(rows)),
            "a batch is answered differently from its rows one by one",
        )
    lowered = part.offered("scores") != "scores"
    yield f"{option.name}: is active", changed or lowered, "it changed nothing"


def _training(option: Option, part: TrainingDefense) -> Iterator[Finding]:
    name, data = embedded(part.modalities, tasks=part.tasks)
    splits = data.load(0, None)
    _, model = model_for(data, part.tasks, part.needs)
    plain = _weights(model, [], splits)
    probe = dataclasses.replace(part, **part.probe) if part.probe else part  # type: ignore[type-var]
    first = _weights(model, [probe], splits)
    hidden = probe.federate(Federation()) != Federation()
    yield (
        f"{option.name}: is active on {name}",
        hidden or not same_weights(first, plain),
        "the trained weights are those of no defense",
    )
    yield (
        f"{option.name}: follows from its seed",
        same_weights(first, _weights(model, [probe], splits)),
        "two trainings with the same seed differ; use generators made from the seed",
    )
    if part.zero is not None:
        zero = dataclasses.replace(part, **part.zero)  # type: ignore[type-var]
        yield (
            f"{option.name}: equals none at zero strength",
            same_weights(_weights(model, [zero], splits), plain),
            f"options {dict(part.zero)} must give the undefended weights bit for bit",
        )


def _deployment(model: Model, splits: Splits) -> Deployment:
    """The model, trained on ``splits`` without a defense."""
    from bench.engine.deployment import Deployment
    from bench.models.training import train

    network, _ = train(model, [], splits, 0, "cpu")
    return Deployment(splits, model, [], [], 0, network, "cpu")


def _serve(option: Option, part: ServeDefense) -> Iterator[Finding]:
    """A month of benign accounts, and one account that asks noise ten thousand times."""
    from bench.data.traffic import benign

    name, data = embedded(part.modalities, tasks=part.tasks)
    splits = data.load(0, None)
    _, model = model_for(data, part.tasks, part.needs)
    behind = dataclasses.replace(_deployment(model, splits), served=[part])
    behind = dataclasses.replace(behind, fitted=behind.prepare(0))
    scores, _labels = behind.interface(0)
    rng = torch.Generator().manual_seed(0)
    probes = splits.public.x[:1] + torch.randn(10_000, *splits.card.shape, generator=rng)
    gate = behind.gate(Stream())
    with torch.no_grad():
        _, answered = gate.serve(probes, scores)
    yield (
        f"{option.name}: is active on {name}",
        not bool(answered.all()) or gate.clock > len(probes),
        "one account asked 10,000 times for noise around one record, and nothing came of it",
    )
    again = behind.gate(Stream())
    with torch.no_grad():
        _, second = again.serve(probes, scores)
    yield (
        f"{option.name}: follows from its seed",
        torch.equal(answered, second),
        "the same queries were treated differently the second time",
    )
    normal = benign(splits.test, splits.card, 200, 1)
    with torch.no_grad():
        blocked = behind.blocked(normal, 0)
    yield (
        f"{option.name}: lets most customers pass ({blocked:.1%} of 200 benign accounts refused)",
        blocked <= 0.1,
        "more than one benign account in ten is refused something",
    )
    if part.zero is not None:
        zero = dataclasses.replace(part, **part.zero)  # type: ignore[type-var]
        idle = dataclasses.replace(behind, served=[zero], fitted={})
        idle = dataclasses.replace(idle, fitted=idle.prepare(0))
        with torch.no_grad():
            _, all_of_them = idle.gate(Stream()).serve(probes, scores)
        yield (
            f"{option.name}: refuses nothing at zero strength",
            bool(all_of_them.all()),
            f"options {dict(part.zero)} must answer everything",
        )


def _weights(model: Model, layers: Sequence[TrainingDefense], splits: Splits) -> dict[str, Any]:
    from bench.models.training import train

    network, _ = train(model, layers, splits, 0, "cpu")
    return network.state_dict()
