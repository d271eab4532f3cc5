"""Train a twin among canaries and see how many of them it gives away."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from bench.engine.stages.data import splits_of
from bench.engine.stages.result import Machine, Parents, Result
from bench.engine.stages.target import trained
from bench.metrics import privacy_audit as audit


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """What the guesses about canaries prove; empty where no epsilon per record is claimed."""
    splits = splits_of(parents["data"])
    twin = audit.plant(splits.train, splits.card.n_classes, payload["canaries"])
    among = dataclasses.replace(splits, train=twin.train)
    network, report, _ = trained(payload, among, machine)
    ledger = report.privacy
    if ledger is None or ledger.neighbour_relation != "add_remove" or ledger.unit != "record":
        # A canary is there or not; that says nothing of a guarantee about other neighbours.
        return Result({})
    with torch.no_grad():
        outputs = network(twin.canaries.x.to(machine.device))
        wrong = twin.canaries.y.to(machine.device).unsqueeze(1)
        scores = torch.log_softmax(outputs, 1).gather(1, wrong).squeeze(1).cpu()
    m, included = len(twin.canaries), twin.included.cpu()
    r, v = audit.guesses(m), audit.right(scores, included)
    return Result(
        {
            "canaries": m,
            "guesses": r,
            "right": v,
            "epsilon_lower": audit.lower_bound(m, r, v, ledger.delta),
            "epsilon_most": audit.lower_bound(m, r, r, ledger.delta),
            "epsilon": ledger.epsilon,
        }
    )
