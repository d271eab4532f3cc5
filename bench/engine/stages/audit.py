"""Train a twin among canaries and see how many of them it gives away (PROTOCOL 4.4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.contract import (
    DivergedError,
    PrivacyLedger,
    Split,
    Splits,
    Task,
    UserError,
    generator,
)
from bench.engine.components import build
from bench.engine.stages.data import splits_of
from bench.engine.stages.result import Machine, Parents, Result
from bench.metrics import privacy_audit as audit
from bench.models.canaries import Planted, Steps
from bench.models.training import task_of, train
from defenses.common.accounting import advantage, epsilon_of_advantage, profile

_MOST_CANARIES = 2000
_FEWEST_CANARIES = 8
_FAR = 4.0
"""How far above its own the outcome of a canary is, in standard deviations of the outcome."""


@dataclass(frozen=True)
class Twin:
    """Training records with canaries among them.

    Attributes:
        train: what the twin is trained on.
        canaries: records of all canaries, with wrong labels.
        owner: which canary each of them belongs to, int64 ``[k]``, from 0.
        included: which canaries are in ``train``, bool ``[m]``.
    """

    train: Split
    canaries: Split
    owner: Tensor
    included: Tensor


def run(payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """What the guesses about canaries prove, or why there are none; empty without a claim."""
    claim = parents["target"].output["report"]["privacy"]
    if claim is None:
        return Result({})
    ledger = PrivacyLedger(**claim)
    said = _tried(payload, splits_of(parents["data"]), ledger, machine)
    if isinstance(said, str):
        return Result({"epsilon": ledger.epsilon, "unit": ledger.unit, "reason": said})
    return Result(said)


def _tried(
    payload: Mapping[str, Any], splits: Splits, ledger: PrivacyLedger, machine: Machine
) -> dict[str, Any] | str:
    """What the guesses prove, or why there are none."""
    if ledger.neighbour_relation != "add_remove":
        return "canaries are there or not, and the claim is of records whose value changes"
    model = build(payload["model"], "model", machine.packages)
    layers = [build(layer, "defense", machine.packages) for layer in payload["defense"]]
    task = task_of(model, splits.card)
    twin = plant(splits, task, ledger.unit, payload["canaries"])
    if twin is None:
        return f"there are too few {_UNITS[ledger.unit]} that differ"
    steps = Steps()
    layers.append(Planted(twin.canaries, twin.owner, tuple(layers), steps))
    among = dataclasses.replace(splits, train=twin.train)
    try:
        _, report = train(model, layers, among, payload["seed"], machine.device, steps)
    except (UserError, DivergedError) as error:
        return f"the training among canaries failed: {error}"
    return read(report.privacy, steps, twin.included)


def read(ledger: PrivacyLedger | None, steps: Steps, included: Tensor) -> dict[str, Any] | str:
    """What the weights of canaries say after a training.

    Args:
        ledger: of this training.
        steps: what happened to the weights.
        included: which canaries were trained on, bool ``[m]``.
    """
    if ledger is None or steps.weights is None or not bool(steps.weights.any()):
        return "the training did not take up the canaries' weights"
    m = len(included)
    if steps.count and ledger.accountant == "prv":
        run = (ledger.noise_multiplier, ledger.sample_rate, ledger.steps)
        return of_steps(ledger, audit.watched(steps.total[:m], included, steps.total[m:], *run))
    return of_weights(ledger, audit.guess(steps.weights.detach()[0, :m].cpu(), included))


_UNITS = {"record": "records", "person": "people"}


def of_steps(ledger: PrivacyLedger, found: audit.Guesses) -> dict[str, Any]:
    """What guesses from the steps of a training say of its ledger."""
    times = (ledger.sample_rate, ledger.steps, ledger.delta)
    shown, most = (audit.advantage_shown(guesses) for guesses in (found, found.best))
    return _said(ledger, found) | {
        "sees": "steps",
        "refuted": shown > advantage(ledger.noise_multiplier, *times),
        "epsilon_lower": epsilon_of_advantage(shown, *times),
        "epsilon_most": epsilon_of_advantage(most, *times),
    }


def of_weights(ledger: PrivacyLedger, found: audit.Guesses) -> dict[str, Any]:
    """What guesses from the weights that a training ends with say of its ledger."""
    claim = audit.budgets([ledger.epsilon], [ledger.delta])
    if ledger.accountant == "prv":
        run = (ledger.noise_multiplier, ledger.sample_rate, ledger.steps)
        claim = audit.budgets(*profile(*run, ledger.delta))
    return _said(ledger, found) | {
        "sees": "weights",
        "refuted": audit.refutes(found, claim),
        "epsilon_lower": audit.lower_bound(found, ledger.delta),
        "epsilon_most": audit.lower_bound(found.best, ledger.delta),
    }


def _said(ledger: PrivacyLedger, found: audit.Guesses) -> dict[str, Any]:
    return {
        "canaries": found.canaries,
        "guesses": found.made,
        "right": found.right,
        "epsilon": ledger.epsilon,
        "unit": ledger.unit,
    }


def plant(splits: Splits, task: Task, unit: str, seed: int) -> Twin | None:
    """Turn units into canaries with wrong labels, each of them in the training by its own coin.

    As many units of the training split as there are held-out ones become canaries together with
    these, so that the twin has about as many units as the target. Where few are held out, it is
    half of the training units. Records that are alike are no canaries, because a canary is
    recognised by its values.

    Args:
        splits: of whose test split, too, canaries are made.
        task: what the target predicts.
        unit: ``record`` or ``person``; a canary is all records of a person.
        seed: of which units, which labels and which are left out.

    Returns:
        None where there are fewer than eight canaries.
    """
    rng = generator(seed)
    train, spare = splits.train, splits.test
    if unit == "person":
        spare = spare.take((~torch.isin(spare.person, train.person)).nonzero().squeeze(1))
    pool = _joined(train, spare)
    named = pool.person if unit == "person" else torch.arange(len(pool))
    unit_of = torch.unique(named, return_inverse=True)[1]
    count = int(unit_of.max()) + 1
    own = torch.zeros(count, dtype=torch.bool)
    own[unit_of[: len(train)]] = True

    _, kind, times = torch.unique(pool.x.flatten(1), dim=0, return_inverse=True, return_counts=True)
    alike = torch.zeros(count, dtype=torch.bool)
    alike[unit_of[times[kind] > 1]] = True
    order = torch.randperm(count, generator=rng)
    order = order[~alike[order]]
    inside, outside = order[own[order]], order[~own[order]]
    pairs = min(len(inside), len(outside), _MOST_CANARIES // 2)
    if 2 * pairs >= len(inside) // 2:
        chosen = torch.cat([inside[:pairs], outside[:pairs]])
    else:
        chosen = inside[: min(len(inside) // 2, _MOST_CANARIES)]
    if len(chosen) < _FEWEST_CANARIES:
        return None

    place = torch.full((count,), -1)
    place[chosen] = torch.arange(len(chosen))
    rows = (place[unit_of] >= 0).nonzero().squeeze(1)
    owner = place[unit_of[rows]]
    canaries = _wrong(pool.take(rows), owner, task, splits.card.n_classes, rng)
    included = torch.rand(len(chosen), generator=rng) < 0.5
    others = (own[unit_of] & (place[unit_of] < 0)).nonzero().squeeze(1)
    kept = canaries.take(included[owner].nonzero().squeeze(1))
    return Twin(_joined(pool.take(others), kept), canaries, owner, included)


def _wrong(
    records: Split, owner: Tensor, task: Task, n_classes: int, rng: torch.Generator
) -> Split:
    """The records of canaries with labels that nothing else teaches, one class a canary."""
    if task == "recommendation":
        return records
    if task == "regression":
        return dataclasses.replace(records, y=records.y + _FAR)
    first = torch.zeros(int(owner.max()) + 1, dtype=records.y.dtype)
    first[owner] = records.y
    wrong = torch.randint(1, n_classes, (len(first),), generator=rng)
    return dataclasses.replace(records, y=((first + wrong) % n_classes)[owner])


def _joined(one: Split, other: Split) -> Split:
    s = None if one.s is None or other.s is None else torch.cat([one.s, other.s])
    x, y, person = (
        torch.cat([getattr(part, name) for part in (one, other)]) for name in ("x", "y", "person")
    )
    return Split(x, y, person, s)
