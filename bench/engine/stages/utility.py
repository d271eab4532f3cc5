"""Measure a deployment behind its whole defense."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.contract import Network, sparse
from bench.data.traffic import benign
from bench.engine.stages.data import splits_of
from bench.engine.stages.prepare import deployment_of
from bench.engine.stages.result import Machine, Parents, Result
from bench.metrics.customers import useful
from bench.metrics.utility import UTILITY, asked, measure

_CUSTOMERS = 1000
"""Benign accounts a deployment is tried on: fewer cannot show a false-block rate of 1%."""

_ASKED = 256
"""Records that are answered at once to see how long it takes."""


def _pace(answer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Milliseconds for 1,000 answers: the quickest of three passes, least disturbed by others."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        answer(x)
        if x.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 1e6 * min(seconds) / len(x)


class _Remembered(nn.Module):
    """Asks once what is asked twice in a row: a label and its scores are one answer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """What the network answers, or has just answered."""
        if self._last is None or not torch.equal(self._last[0], x):
            self._last = x, self._network(x)
        return self._last[1]


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """Every metric of the task, how long answers take, and whom a watched deployment blocks."""
    splits = splits_of(parents["data"])
    deployed = deployment_of(splits, payload, parents, machine)
    if deployed.model.counted:
        deployed = replace(deployed, network=cast(Network, _Remembered(deployed.network)))
    scores, labels = deployed.interface(payload["seed"])
    blocked = None
    with torch.no_grad():
        if deployed.watched:
            customers = benign(
                splits.test.to(machine.device), splits.card, _CUSTOMERS, payload["seed"]
            )
            blocked = deployed.blocked(customers, payload["seed"])
        test, offered = splits.test.to(machine.device), deployed.offered("scores") == "scores"
        said = asked(deployed.task, labels, test.x)
        # The usefulness of a recommender is that of its lists.
        told = scores(test.x) if offered and deployed.task != "recommendation" else None
        metrics = measure(deployed.task, test, splits.card, said, told)
        first = sparse.take(test.x, torch.arange(min(_ASKED, len(test)), device=test.x.device))
        # Who counts what is asked is not asked again to see how long it takes.
        counted = deployed.model.counted
        answer_ms = None if counted else _pace(scores if offered else labels, first)
    metric = UTILITY.get(deployed.task, payload["metric"])
    out = {"metric": metric, "utility": metrics, "answer_ms": answer_ms}
    if payload.get("resampled"):
        out["resampled"] = useful(deployed.task, test, splits.card, said, told, metric)
    return Result(out if blocked is None else out | {"blocked": blocked, "customers": _CUSTOMERS})
