"""Train a model behind the training part of a defense."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.contract import DivergedError, FitReport, Model, Network, TrainingDefense
from bench.engine.components import build
from bench.engine.stages.data import splits_of
from bench.engine.stages.result import Machine, Parents, Result, kept
from bench.models.replicas import Training, train_together


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """The trained weights and what training did.

    Raises:
        DivergedError: NaN or Inf among the weights.
    """
    (result,) = run_many([payload], [parents], machine)
    if isinstance(result, Exception):
        raise result
    return result


def run_many(
    payloads: Sequence[Mapping[str, Any]], parents: Sequence[Parents], machine: Machine
) -> list[Result | Exception]:
    """The same of several targets, those networks trained in one program that can be.

    Returns:
        Of each its result, or what :func:`run` would have raised. The output says as ``replicas``
        how many networks were trained in the same program; the seconds are its share.
    """
    trainings = [
        Training(*_parts(payload, machine), splits_of(own["data"]), payload["seed"])
        for payload, own in zip(payloads, parents, strict=True)
    ]
    results: list[Result | Exception] = []
    for outcome in train_together(trainings, machine.device):
        if isinstance(outcome.value, Exception):
            results.append(outcome.value)
            continue
        try:
            results.append(_result(*outcome.value, outcome.seconds, outcome.replicas))
        except DivergedError as error:
            results.append(error)
    return results


def _parts(payload: Mapping[str, Any], machine: Machine) -> tuple[Model, list[TrainingDefense]]:
    """The model and the training defenses that a payload names."""
    model = build(payload["model"], "model", machine.packages)
    return model, [build(layer, "defense", machine.packages) for layer in payload["defense"]]


def _result(network: Network, report: FitReport, seconds: float, replicas: int) -> Result:
    state = kept(network.state_dict())
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise DivergedError(f"Training gave NaN or Inf in {', '.join(bad)}.")
    return Result(
        {
            "report": dataclasses.asdict(report),
            "n_params": sum(p.numel() for p in network.parameters()),
            "sha256": digest_of(state),
            "given": dict(network.facts),
            "train_s": seconds,
            "replicas": replicas,
        },
        state,
    )


def digest_of(state: Mapping[str, Tensor]) -> str:
    """Digest of named tensors: of their names and values."""
    sha = hashlib.sha256()
    for key in sorted(state):
        sha.update(key.encode())
        sha.update(state[key].numpy().data)
    return sha.hexdigest()
