"""Train a model behind the training part of a defense."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.contract import DivergedError, FitReport, Network, Splits
from bench.engine.components import build
from bench.engine.stages.data import splits_of
from bench.engine.stages.result import Machine, Parents, Result, kept
from bench.models.training import train


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """The trained weights and what training did.

    Raises:
        DivergedError: NaN or Inf among the weights.
    """
    network, report, seconds = trained(payload, splits_of(parents["data"]), machine)
    state = kept(network.state_dict())
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise DivergedError(f"Training gave NaN or Inf in {', '.join(bad)}.")
    return Result(
        {
            "report": dataclasses.asdict(report),
            "n_params": sum(p.numel() for p in network.parameters()),
            "sha256": digest_of(state),
            "train_s": seconds,
        },
        state,
    )


def trained(
    payload: Mapping[str, Any], splits: Splits, machine: Machine
) -> tuple[Network, FitReport, float]:
    """The network a payload describes, what training did, and the seconds it took."""
    model = build(payload["model"], "model", machine.packages)
    layers = [build(layer, "defense", machine.packages) for layer in payload["defense"]]
    started = time.perf_counter()
    network, report = train(model, layers, splits, payload["seed"], machine.device)
    return network, report, time.perf_counter() - started


def digest_of(state: Mapping[str, Tensor]) -> str:
    """Digest of named tensors: of their names and values."""
    sha = hashlib.sha256()
    for key in sorted(state):
        sha.update(key.encode())
        sha.update(state[key].numpy().data)
    return sha.hexdigest()
