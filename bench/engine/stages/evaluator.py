"""Fit the judges of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.engine.stages.data import splits_of
from bench.engine.stages.result import Machine, Parents, Result, kept
from bench.metrics import evaluators


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """Facts and tensors of the fitted evaluators."""
    tensors, facts = evaluators.fit(
        splits_of(parents["data"]),
        payload["seed"],
        machine.device,
        faces=payload.get("face_network", False),
    )
    return Result({"facts": facts}, kept(tensors))
