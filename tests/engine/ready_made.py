"""Plans out of nothing, and a back end that gives every node a result it had ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from bench.contract.identity import digest_of
from bench.contract.record import Cell
from bench.contract.source import Source
from bench.engine import forms
from bench.engine.driving.driver import Driver, Listener
from bench.engine.driving.pace import Pace
from bench.engine.driving.work import RunOutcome, remaining
from bench.engine.graph import Case, Kind, Node, Plan, Series, Trial
from bench.engine.messages import Bundle, Done, Job, Returned
from bench.engine.settings import Infrastructure, LocalBackend, Resources, Settings, Tracking
from bench.engine.store import Store

_SOURCE = Source({f"bench.module{n}": digest_of(str(n)) for n in range(40)}, {})
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
        self._series: dict[tuple[str, str], Series] = {}

    def node(
        self, kind: Kind, label: str, repeat: int, replica: str | None = None, **parents: str
    ) -> str:
        """A node of that label; made once."""
        series = self._series.get((kind, label))
        if series is None:
            payload = {"seed": forms.number(0), "victims": {"limit": 1000}}
            series = self._series[kind, label] = Series(
                kind, payload, payload, (("seed",),), tuple(parents), label, _SOURCE, {}, replica
            )
        key = digest_of(f"{kind} {label} {repeat}")
        self.nodes.setdefault(key, Node(key, series, repeat, (repeat,), tuple(parents.values())))
        return key

    def trial(self, data: int, target: int, attack: str, replica: str | None = None) -> None:
        """A trial, with the nodes that it shares with others."""
        made = self.node
        d = made("data", "data", data)
        e = made("evaluator", "data/evaluator", data, data=d)
        r = made("reference", "data/logistic", data, data=d)
        t = made("target", f"data/mlp{target}/none", data, replica, data=d)
        u = made("utility", f"data/mlp{target}/none/utility", data, data=d, target=t)
        both = {"data": d, "evaluator": e, "target": t}
        a = made("attack", f"data/mlp{target}/none/{attack}", data, **both)
        base = made("attack", "data/guess", data, data=d, evaluator=e)
        cell = Cell(dataset="data", model=f"mlp{target}", defense="none", attack=attack, seed=0)
        roles = ("data", "evaluator", "reference", "target", "utility", "attack")
        case = Case(cell, "attribute", "scores", _INFO, (), "", roles, ("guess",))
        key = digest_of(f"{cell.key()} {data}")
        self.trials.append(Trial(key, case, data, (d, e, r, t, u, a, base)))

    def plan(self) -> Plan:
        """What was added."""
        return Plan(self.nodes, tuple(self.trials), {})


_INFO = {
    "option": "data",
    "sector": "credit",
    "modality": "table",
    "asked_about": "",
    "model": {"_target_": "bench.models.mlp.MLP"},
    "defense": {"family": "none", "settings": 1, "stages": [], "layers": [], "covers": []},
    "attack": {"family": "toy", "settings": 1, "params": {"number": 1}},
}


def grid_of(
    data: int, targets: int, attacks: int, replica: str | None = None, attack: str = "toy{}"
) -> Plan:
    """A plan of ``data`` x ``targets`` x ``attacks`` trials."""
    maker = PlanMaker()
    for d in range(data):
        for t in range(targets):
            for a in range(attacks):
                maker.trial(d, t, attack.format(a), replica)
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
    kinds: dict[str, int] = {}
    for key in work.todo:
        kinds[plan.nodes[key].kind] = kinds.get(plan.nodes[key].kind, 0) + 1
    pace = Pace(kinds, history or {})
    driver = Driver(plan, store, backend, settings, claims, pace, listeners, {"commit": "c"})
    with claims.beating():
        return driver.run(work)
