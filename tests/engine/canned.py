"""Plans out of nothing, and a back end that gives every node a result it had ready."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from bench.contract.identity import PROTOCOL_VERSION
from bench.contract.record import Cell
from bench.engine.driver import Driver, Listener
from bench.engine.graph import Kind, Node, Plan, Trial
from bench.engine.messages import Bundle, Done, Job, Returned
from bench.engine.pace import Pace
from bench.engine.settings import Infrastructure, LocalBackend, Resources, Settings, Tracking
from bench.engine.store import Store
from bench.engine.work import RunOutcome, remaining

_SOURCE = {f"bench.module{n}": hashlib.sha256(bytes([n])).hexdigest() for n in range(40)}
_SCORE = {
    "metric": "auc",
    "value": 0.75,
    "members": 0.75,
    "nonmembers": 0.5,
    "ceiling": 1.0,
    "victims": 40,
    "extra": {"auc": 0.75},
}
_BUDGET = {"queries": 80, "queries_cap": None, "forward_passes": 80}
OUTPUTS: Mapping[str, Mapping[str, Any]] = {
    "data": {
        "card": {
            "source": "made up",
            "terms": "none",
            "privacy_unit": "record",
            "publishable": True,
            "sensitive": {"name": "s"},
            "class_names": ["no", "yes"],
        },
        "facts": {"sha256": "0" * 64, "n_rows": 120},
    },
    "evaluator": {"facts": {"accuracy": 0.9}},
    "reference": {"reference": {"accuracy": 0.8}},
    "target": {
        "report": {
            "privacy": None,
            "epochs": 5,
            "steps": 10,
            "final_loss": 0.5,
            "train_accuracy": 0.9,
            "public_records": 0,
        },
        "n_params": 8,
        "sha256": "1" * 64,
        "train_s": 0.1,
    },
    "utility": {"metric": "accuracy", "utility": {"accuracy": 0.85}, "answer_ms": 1.0},
    "attack": {
        "info": {"stop_reason": "finished"},
        "knowledge_read": ["K3"],
        "sha256": "2" * 64,
        "budget": _BUDGET,
        "refusals": [],
        "attack_s": 0.1,
        "score_s": 0.01,
        "score": _SCORE,
    },
}
ENV = {"host": "canned", "device": "cpu", "threads": 1, "python": "3.12", "peak_rss_mb": 100.0}


def done(job: Job) -> Done:
    """A good result for a job."""
    return Done("done", output=OUTPUTS[job.kind], seconds=0.01, env=ENV)


def failed(status: str = "failed") -> Done:
    """A bad one."""
    failure = {"type": "ValueError", "message": "on purpose", "traceback": "here"}
    return Done(status, failure=failure, seconds=0.01, env=ENV)


class PlanMaker:
    """Nodes and trials, added one by one."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.trials: list[Trial] = []

    def node(self, kind: Kind, label: str, replica: str | None = None, **parents: str) -> str:
        """A node of that label; made once."""
        key = hashlib.sha256(f"{kind} {label}".encode()).hexdigest()
        identity = {
            "protocol": PROTOCOL_VERSION,
            "kind": kind,
            "config": {"seed": len(self.nodes), "victims": {"seed": 1, "limit": 1000}},
            "parents": dict(parents),
            "files": {},
            "source": _SOURCE,
        }
        node = Node(key, kind, {"seed": 1}, parents, identity, label, replica=replica)
        self.nodes.setdefault(key, node)
        return key

    def trial(self, data: int, target: int, attack: int, replica: str | None = None) -> None:
        """A trial, with the nodes that it shares with others."""
        made = self.node
        d = made("data", f"data/{data}")
        e = made("evaluator", f"data/evaluator/{data}", data=d)
        r = made("reference", f"data/logistic/{data}", data=d)
        t = made("target", f"data/mlp{target}/none/{data}", replica, data=d)
        both = {"data": d, "evaluator": e, "target": t}
        nodes = {
            "data": d,
            "evaluator": e,
            "reference": r,
            "target": t,
            "utility": made("utility", f"data/mlp{target}/none/utility/{data}", data=d, target=t),
            "attack": made("attack", f"data/mlp{target}/none/toy{attack}/{data}", **both),
        }
        base = made("attack", f"data/guess/{data}", data=d, evaluator=e)
        cell = Cell(
            dataset="data", model=f"mlp{target}", defense="none", attack=f"toy{attack}", seed=data
        )
        key = hashlib.sha256(cell.key().encode()).hexdigest()
        self.trials.append(
            Trial(key, cell, "attribute", "scores", nodes, {"guess": base}, _INFO, ())
        )

    def plan(self) -> Plan:
        """What was added."""
        return Plan(self.nodes, tuple(self.trials), {})


_INFO = {
    "option": "data",
    "sector": "credit",
    "modality": "table",
    "model": {"_target_": "bench.models.mlp.MLP"},
    "defense": {"family": "none", "settings": 1, "stages": [], "layers": [], "covers": []},
    "attack": {"family": "toy", "settings": 1, "params": {"number": 1}},
}


def grid_of(data: int, targets: int, attacks: int, replica: str | None = None) -> Plan:
    """A plan of ``data`` x ``targets`` x ``attacks`` trials."""
    maker = PlanMaker()
    for d in range(data):
        for t in range(targets):
            for a in range(attacks):
                maker.trial(d, t, a, replica)
    return maker.plan()


@dataclass
class Canned:
    """A back end whose answers come from ``answer``, one bundle a poll.

    Attributes:
        answer: what comes of a bundle.
        slots_: how many bundles run at once.
        pick: which of the running bundles comes back next, given how many there are.
        sent: every bundle that was sent.
    """

    answer: Callable[[Bundle], Returned] | None = None
    slots_: int = 2
    pick: Callable[[int], int] = lambda number: 0
    sent: list[Bundle] = field(default_factory=list)
    running: list[Bundle] = field(default_factory=list)
    enforces_deadlines: bool = True
    why: str | None = None

    def watch(self) -> None:
        """Nothing changes."""

    def obstacle(self, asked: Resources) -> str | None:
        """As given."""
        return self.why

    def slots(self) -> int:
        """As given."""
        return self.slots_

    def room(self, asked: Resources) -> int:
        """What is left."""
        return self.slots_ - len(self.running)

    def want(self, waiting: Mapping[Resources, int]) -> None:
        """Nothing is started."""

    def submit(self, bundle: Bundle) -> None:
        """Keep it."""
        assert self.room(bundle.resources) > 0
        self.sent.append(bundle)
        self.running.append(bundle)

    def poll(self, timeout: float) -> Sequence[Returned]:
        """Answer one."""
        if not self.running:
            return []
        bundle = self.running.pop(self.pick(len(self.running)))
        return [(self.answer or all_done)(bundle)]

    def left_out(self) -> Mapping[str, str]:
        """None."""
        return {}

    def close(self) -> None:
        """Nothing to stop."""


def all_done(bundle: Bundle) -> Returned:
    """Every job has ended well."""
    return Returned(bundle.id, {job.node: done(job) for job in bundle.jobs}, host="canned")


def settings_of(root: Path, **more: Any) -> Settings:
    """Settings of a run of canned results."""
    fields: dict[str, Any] = {
        "rerun": "never",
        "retries": 1,
        "timeout_s": {"default": 60.0},
        "resources": {"default": Resources(num_cpus=1, num_gpus=0)},
        "infrastructure": Infrastructure(losses=5, first_wait_s=0, most_wait_s=0, patience_s=0.3),
        "data_root": None,
        "plugins": [],
        "store": root,
        "backend": LocalBackend(name="local"),
        "tracking": Tracking(name="none", uri=""),
    }
    return Settings.model_construct(**cast(Any, {**fields, **more}))


def drive(
    plan: Plan,
    root: Path,
    backend: Canned,
    listeners: Sequence[Listener] = (),
    history: Mapping[str, float] | None = None,
    **more: Any,
) -> RunOutcome:
    """Run what remains of a plan."""
    settings = settings_of(root, **more)
    store = Store(root)
    work = remaining(plan, store, settings.rerun)
    claims = store.claims(f"driver {id(backend)}")
    claims.open()
    kinds: dict[str, int] = {}
    for key in work.todo:
        kinds[plan.nodes[key].kind] = kinds.get(plan.nodes[key].kind, 0) + 1
    pace = Pace(kinds, history or {})
    driver = Driver(plan, store, backend, settings, claims, pace, listeners, {"commit": "c"})
    try:
        return driver.run(work)
    finally:
        claims.close()
