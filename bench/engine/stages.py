"""What a worker runs: one pure function per kind of node, from plain data to plain data.

A stage reads its node's payload and the results of its parents, and returns JSON, tensors and
pictures. It writes nothing. Everything random follows from the payload's seed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from bench.contract import (
    AccessError,
    Attack,
    DivergedError,
    Exposure,
    Federation,
    FitReport,
    Gate,
    Network,
    Reconstruction,
    Split,
    Splits,
    Stream,
    Truth,
    Victims,
    check_splits,
)
from bench.contract import seed as derive
from bench.contract.data import Card
from bench.engine.components import CORE_PACKAGES, build
from bench.engine.knowledge import knowledge_of, victims_of

if TYPE_CHECKING:
    from bench.engine.deployment import Deployment


@dataclass(frozen=True)
class Result:
    """What a stage gives: JSON ``output``, named tensors, and files such as pictures.

    ``config`` is the payload of the node it came from; the worker fills it in for parents.
    """

    output: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """Where a stage runs: nothing here may change what it gives.

    Attributes:
        device: torch device granted to the task.
        data_root: folder of real data sets.
        packages: top-level packages that options may name.
    """

    device: str
    data_root: Path | None
    packages: tuple[str, ...] = CORE_PACKAGES


Parents = Mapping[str, Result]
"""Role to result."""


def run(kind: str, payload: Mapping[str, Any], parents: Parents, site: Site) -> Result:
    """Run the stage of ``kind``."""
    return _STAGES[kind](payload, parents, site)


# ---------------------------------------------------------------- data
def _data(payload: Mapping[str, Any], parents: Parents, site: Site) -> Result:
    dataset = build(payload["dataset"], "dataset", site.packages)
    splits = dataset.load(payload["seed"], site.data_root)
    check_splits(splits)
    tensors = {
        f"{name}.{key}": value.contiguous()
        for name in ("train", "test", "public")
        for key, value in vars(getattr(splits, name)).items()
        if value is not None
    }
    return Result({"card": dataclasses.asdict(splits.card), "facts": dict(splits.facts)}, tensors)


_CARD: TypeAdapter[Card] = TypeAdapter(Card)


def _splits(data: Result) -> Splits:
    def split(name: str) -> Split:
        keys = {k.partition(".")[2]: v for k, v in data.tensors.items() if k.startswith(name + ".")}
        return Split(**keys)

    return Splits(
        _CARD.validate_python(data.output["card"]),
        split("train"),
        split("test"),
        split("public"),
        data.output["facts"],
    )


# ---------------------------------------------------------------- evaluator
def _evaluator(payload: Mapping[str, Any], parents: Parents, site: Site) -> Result:
    from bench.metrics import evaluators

    splits = _splits(parents["data"])
    tensors, facts = evaluators.fit(splits, payload["seed"], site.device)
    return Result({"facts": facts}, {k: v.cpu().contiguous() for k, v in tensors.items()})


# ---------------------------------------------------------------- plain baseline of utility
def _reference(payload: Mapping[str, Any], parents: Parents, site: Site) -> Result:
    from bench.metrics import reference

    splits = _splits(parents["data"])
    found = reference.fit(splits, payload["task"], payload["reference"], payload["seed"])
    return Result({"reference": found})


def _prior(payload: Mapping[str, Any], parents: Parents, site: Site) -> Result:
    splits = _splits(parents["data"])
    goal = payload["goal"]
    federation = Federation()
    victims = None
    if goal != "gradient_reconstruction":  # clients are whatever protocol the attack is about
        victims = victims_of(splits, goal, payload["victims"], federation)
    knowledge = knowledge_of(
        splits, goal, victims, {}, (), None, federation, splits.card.tasks[0], site.device
    )
    prior = build(payload["prior"], "prior", site.packages)
    tensors = prior.fit(knowledge, payload["seed"], site.device)
    return Result({}, {k: v.cpu().contiguous() for k, v in tensors.items()})


# ---------------------------------------------------------------- target
def _trained(
    payload: Mapping[str, Any], splits: Splits, site: Site
) -> tuple[Network, FitReport, float]:
    """The network a payload describes, what training did, and the seconds it took."""
    from bench.models.training import train

    model = build(payload["model"], "model", site.packages)
    layers = [build(layer, "defense", site.packages) for layer in payload["defense"]]
    started = time.perf_counter()
    network, report = train(model, layers, splits, payload["seed"], site.device)
    return network, report, time.perf_counter() - started


def _target(payload: Mapping[str, Any], parents: Parents, site: Site) -> Result:
    network, report, seconds = _trained(payload, _splits(parents["data"]), site)
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise DivergedError(f"Training gave NaN or Inf in {', '.join(bad)}.")
    return Result(
        {
            "report": dataclasses.asdict(report),
            "n_params": sum(p.numel() for p in network.parameters()),
            "sha256": _digest(state),
            "train_s": seconds,
        },
        state,
    )


def _digest(state: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for key in sorted(state):
        sha.update(key.encode())
        sha.update(state[key].numpy().tobytes())
    return sha.hexdigest()


# ---------------------------------------------------------------- deployment
def _deployment(
    splits: Splits, payload: Mapping[str, Any], parents: Parents, site: Site
) -> Deployment:
    from bench.engine.deployment import Deployment

    target = parents["target"]
    return Deployment.restore(
        splits,
        target.config,
        target.tensors,
        payload["served"],
        site.device,
        site.packages,
        parents["prepare"].tensors if "prepare" in parents else None,
    )


def _prepare(payload: Mapping[str, Any], parents: Parents, site: Site) -> Result:
    deployed = _deployment(_splits(parents["data"]), payload, parents, site)
    fitted = deployed.prepare(payload["seed"])
    return Result({}, {k: v.detach().cpu().contiguous() for k, v in fitted.items()})


def _audit(payload: Mapping[str, Any], parents: Parents, site: Site) -> Result:
    from bench.metrics import privacy_audit as audit

    splits = _splits(parents["data"])
    twin = audit.plant(splits.train, splits.card.n_classes, payload["canaries"])
    among = dataclasses.replace(splits, train=twin.train)
    network, report, _ = _trained(payload, among, site)
    ledger = report.privacy
    if ledger is None or ledger.neighbour_relation != "add_remove" or ledger.unit != "record":
        # A canary is there or not; that says nothing of a guarantee about other neighbours.
        return Result({})
    with torch.no_grad():
        outputs = network(twin.canaries.x.to(site.device))
        wrong = twin.canaries.y.to(site.device).unsqueeze(1)
        scores = torch.log_softmax(outputs, 1).gather(1, wrong).squeeze(1).cpu()
    m, included = len(twin.canaries), twin.included.cpu()
    r, v = audit.guesses(m), audit.right(scores, included)
    return Result(
        {
            "canaries": m,
            "guesses": r,
            "right": v,
            "epsilon_lower": audit.lower_bound(m, r, v, ledger.delta),
            "epsilon": ledger.epsilon,
        }
    )


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


def _utility(payload: Mapping[str, Any], parents: Parents, site: Site) -> Result:
    from bench.metrics.utility import UTILITY, measure

    splits = _splits(parents["data"])
    deployed = _deployment(splits, payload, parents, site)
    scores, labels = deployed.interface(payload["seed"])
    blocked = None
    with torch.no_grad():
        if deployed.watched:
            from bench.data.traffic import benign

            customers = benign(
                splits.test.to(site.device), splits.card, _CUSTOMERS, payload["seed"]
            )
            blocked = deployed.blocked(customers, payload["seed"])
        test, offered = splits.test.to(site.device), deployed.offered("scores") == "scores"
        metrics = measure(deployed.task, test, splits.card, labels, scores if offered else None)
        answer_ms = _pace(scores if offered else labels, test.x[:_ASKED])
    metric = UTILITY.get(deployed.task, payload["metric"])
    out = {"metric": metric, "utility": metrics, "answer_ms": answer_ms}
    return Result(out if blocked is None else out | {"blocked": blocked, "customers": _CUSTOMERS})


# ---------------------------------------------------------------- attack
def _attack(payload: Mapping[str, Any], parents: Parents, site: Site) -> Result:
    splits = _splits(parents["data"])
    goal = payload["goal"]
    attack: Attack = build(payload["attack"], "attack", site.packages)
    federation = attack.federation
    victims = victims_of(splits, goal, payload["victims"], federation)
    gate = Gate()
    exposure = Exposure("none", _refuse, _refuse)
    observe, task = None, payload["task"]
    if "target" in parents:
        deployed = _deployment(splits, payload, parents, site)
        federation = deployed.observed(attack)
        victims = victims_of(splits, goal, payload["victims"], federation)
        gate = deployed.gate(Stream(**payload.get("stream", {})))
        exposure = deployed.expose(attack, victims, payload["seed"], gate)
        if goal == "output_reconstruction" or "K6" in attack.knowledge:
            scores, labels = deployed.interface(derive(payload["seed"], part="observed"))
            observe = labels if attack.access == "labels" else scores
    prior = parents["prior"].tensors if "prior" in parents else {}
    knowledge = knowledge_of(
        splits, goal, victims, prior, payload["defense"], observe, federation, task, site.device
    )
    started = time.perf_counter()
    found = attack.run(exposure, knowledge, payload["seed"], site.device)
    attack_s = time.perf_counter() - started
    if not bool(torch.isfinite(found.values).all()):
        raise DivergedError("The attack returned NaN or Inf.")
    found = Reconstruction(
        found.values.detach().cpu().contiguous(),
        found.info,
        None if found.labels is None else found.labels.detach().cpu(),
    )

    started = time.perf_counter()
    classes = None if knowledge.classes is None else knowledge.classes.cpu()
    truth = Truth(splits, victims, classes, parents["evaluator"].tensors, federation)
    score = importlib.import_module(f"bench.metrics.{goal}").score(found, truth)
    score_s = time.perf_counter() - started

    outcomes = {f"outcome.{k}": v.detach().cpu().contiguous() for k, v in score.outcomes.items()}
    files = {}
    if splits.card.modality == "image":
        from bench.engine.pictures import strip

        shown = _true_pictures(splits, classes, victims)
        files["gallery.png"] = strip(shown, found.values[: len(shown)])
    trail = gate.trail.columns()
    if trail:
        from bench.engine.trail import parquet

        files["trail.parquet"] = parquet(trail)
    return Result(
        {
            "score": {
                key: getattr(score, key)
                for key in ("metric", "value", "members", "nonmembers", "ceiling")
            }
            | {"extra": dict(score.extra)},
            "info": dict(found.info),
            "sha256": _digest({"values": found.values}),
            "budget": {
                **vars(exposure.meter),
                "cover": gate.covered,
                "accounts": gate.used,
                "duration_s": gate.clock,
                "queries_cap": exposure.budget,
            },
            "refusals": [
                {"account": account, "answered": answered, "detected": detected}
                for account, answered, detected in gate.refusals
            ],
            "attack_s": attack_s,
            "score_s": score_s,
        },
        {"values": found.values, **outcomes},
        files,
    )


def _true_pictures(
    splits: Splits, classes: Tensor | None, victims: Victims | None, most: int = 10
) -> Tensor:
    """What the first reconstructions should look like: a class's picture, or the victim's own."""
    if classes is not None:  # class representatives
        train = splits.train
        return torch.stack([train.x[(train.y == c).nonzero()[0, 0]] for c in classes[:most]])
    assert victims is not None
    return victims.records.x[:most]


def _refuse(_: Tensor) -> Tensor:
    raise AccessError("A baseline has no access to a model.")


_STAGES: Mapping[str, Callable[[Mapping[str, Any], Parents, Site], Result]] = {
    "data": _data,
    "evaluator": _evaluator,
    "reference": _reference,
    "prior": _prior,
    "target": _target,
    "prepare": _prepare,
    "utility": _utility,
    "audit": _audit,
    "attack": _attack,
}

__all__ = ["Parents", "Result", "Site", "run"]
