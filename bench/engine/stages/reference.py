"""Fit the plain baseline that a model must keep up with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.engine.stages.data import splits_of
from bench.engine.stages.result import Machine, Parents, Result
from bench.metrics import reference


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """Its utility by every metric of the task."""
    splits = splits_of(parents["data"])
    utility = reference.fit(splits, payload["task"], payload["reference"], payload["seed"])
    return Result({"reference": utility})
