"""Fit what the release and serve layers of a defense need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.contract import Splits
from bench.engine.deployment import Deployment
from bench.engine.stages.data import splits_of
from bench.engine.stages.result import Machine, Parents, Result, kept


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """Tensors of every fitted layer."""
    deployed = deployment_of(splits_of(parents["data"]), payload, parents, machine)
    return Result({}, kept(deployed.prepare(payload["seed"])))


def deployment_of(
    splits: Splits, payload: Mapping[str, Any], parents: Parents, machine: Machine
) -> Deployment:
    """The target behind its defense, as the parents and the payload describe it."""
    target = parents["target"]
    return Deployment.restore(
        splits,
        target.config,
        target.tensors,
        payload["served"],
        machine.device,
        machine.packages,
        parents["prepare"].tensors if "prepare" in parents else None,
    )
