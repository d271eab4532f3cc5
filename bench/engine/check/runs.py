"""Everything an attack is run against, and what one run of it did."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.contract import (
    AccessError,
    Attack,
    Exposure,
    Gateway,
    KnowledgeError,
    Splits,
    Victims,
    metered,
)
from bench.contract import seed as derive
from bench.contract.knowledge import READING
from bench.engine.check.findings import first_difference, global_seeds, process_state, told
from bench.engine.check.probes import Ground, model_for
from bench.engine.config import Option, compose_grid
from bench.engine.deployment import Deployment
from bench.engine.graph import Plan
from bench.engine.knowledge import knowledge_of, victims_of
from bench.engine.plan import make_plan
from bench.engine.stages import run
from bench.engine.stages.data import splits_of
from bench.engine.stages.prepare import deployment_of
from bench.engine.stages.result import Machine, Result
from bench.goals import goal_named


@dataclass(frozen=True)
class Outcome:
    """What one run of an attack did.

    Attributes:
        found: what it returned; None where it raised ``error``.
        error: what it raised; None if nothing.
        exposure: what it was handed, with its meter.
        asked: records that the deployment's interface answered.
        read: codes of the knowledge it read, declared or not.
        changed: what of the process it left changed; empty: nothing.
    """

    found: Any
    error: Exception | SystemExit | None
    exposure: Exposure
    asked: int
    read: frozenset[str]
    changed: str


@dataclass
class _Asked:
    """Records answered, counted where an attack cannot reach."""

    rows: int = 0


@dataclass(frozen=True)
class _Counted(Deployment):
    """A deployment that counts what it is asked, besides the exposure's own meter."""

    asked: _Asked = dataclasses.field(default_factory=_Asked)

    def interface(self, seed: int) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Scores and labels, counted."""

        def counted(answer: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            def ask(x: Tensor) -> Tensor:
                self.asked.rows += len(x)
                return answer(x)

            return ask

        scores, labels = super().interface(seed)
        return counted(scores), counted(labels)


@dataclass(frozen=True)
class Scene:
    """Everything an attack is run against.

    Attributes:
        attack: the component.
        payload: of its node in the plan.
        parents: results of the nodes it rests on.
        machine: where it runs.
    """

    attack: Attack
    payload: Mapping[str, Any]
    parents: Mapping[str, Result]
    machine: Machine

    @property
    def splits(self) -> Splits:
        """A copy of the data of its own, so that nothing it changes there lasts."""
        return copy.deepcopy(splits_of(self.parents["data"]))

    def victims(self, splits: Splits) -> Victims | None:
        """Who is attacked."""
        return victims_of(
            splits, goal_named(self.attack.goal), self.payload["victims"], self.attack.federation
        )

    def run(self, global_seed: int, budget: int | None = None) -> Outcome:
        """Run the attack with the seed of its node.

        Args:
            global_seed: of the generators that belong to the process.
            budget: most queries allowed; None: as many as it likes.
        """
        attack, seed, splits = self.attack, self.payload["seed"], self.splits
        victims, observe, asked = self.victims(splits), None, _Asked()
        like = None
        exposure = Exposure("none", _refuse, _refuse)
        if "target" in self.parents:
            deployed = deployment_of(splits, self.payload, self.parents, self.machine)
            kept = {field.name: getattr(deployed, field.name) for field in _FIELDS}
            exposure = _Counted(**kept, asked=asked).expose(attack, victims, seed, Gateway())
            exposure.budget, like = budget, deployed.like
            if "K6" in attack.knowledge:
                scores, labels = deployed.interface(derive(seed, part="observed"))
                observe = labels if attack.access == "labels" else scores
        prior = self.parents["prior"].tensors if "prior" in self.parents else {}
        knowledge = knowledge_of(
            splits,
            goal_named(attack.goal),
            victims,
            copy.deepcopy(dict(prior)),
            self.payload["defense"],
            observe,
            attack.federation,
            self.payload["task"],
            "cpu",
            like,
        )
        watched, read = metered(knowledge, _all_codes(attack.knowledge))
        found, error = None, None
        with global_seeds(global_seed):
            before = process_state()
            try:
                found = attack.run(exposure, watched, seed, "cpu")
            except (Exception, SystemExit) as raised:
                error = raised
            changed = first_difference(before, process_state())
        return Outcome(found, error, exposure, asked.rows, frozenset(read), changed)


_FIELDS = dataclasses.fields(Deployment)


def _refuse(_: Tensor) -> Tensor:
    raise AccessError("A baseline has no access to a model.")


def _all_codes(declared: Collection[str]) -> frozenset[str]:
    """The declared codes, and one for every field that none of them covers: all can be read."""
    others = {codes[0] for codes in READING.values() if not set(codes) & set(declared)}
    return frozenset(declared) | others


def scene_of(option: Option, part: Attack, ground: Ground) -> tuple[Scene | None, str, str]:
    """The attack with all that it rests on, the data set's name, and the codes its prior read.

    Where fitting the prior reads undeclared knowledge there is no scene, and why comes last.
    """
    place, data = ground.dataset(part.modalities, part.goal, part.tasks)
    model_option, _ = model_for(data, part.tasks, part.requires)
    chosen = [f"dataset=[{place.name}]"] if ground.chosen is None else []
    others = compose_grid([*chosen, f"model=[{model_option.name}]", "defense=[none]"]).options
    datasets = others["dataset"] if ground.chosen is None else (ground.chosen,)
    only = dataclasses.replace(
        ground.grid,
        options={**ground.grid.options, **others, "dataset": datasets, "attack": (option,)},
        settings=ground.grid.settings.model_copy(
            update={"seeds": 1, "exclude": [], "controls": []}
        ),
    )
    plan = make_plan(only)
    trial = next(trial for trial in plan.trials if trial.cell.attack == option.name)
    node = plan.nodes[trial.nodes["attack"]]
    machine = Machine("cpu", ground.data_root, ground.packages)
    results: dict[str, Result] = {}
    try:
        parents = {
            role: _result(plan, key, results, machine)
            for role, key in {**node.parents, "evaluator": trial.nodes["evaluator"]}.items()
        }
    except KnowledgeError as error:
        return None, place.name, f"its prior: {told(error)}"
    codes = parents["prior"].output["knowledge_read"] if "prior" in parents else []
    return Scene(part, node.payload, parents, machine), place.name, " ".join(codes)


def _result(plan: Plan, key: str, results: dict[str, Result], machine: Machine) -> Result:
    """The result of a node, after those it rests on."""
    if key not in results:
        node = plan.nodes[key]
        parents = {
            role: _result(plan, other, results, machine) for role, other in node.parents.items()
        }
        made = run(node.kind, node.payload, parents, machine)
        results[key] = dataclasses.replace(made, config=node.payload)
    return results[key]
