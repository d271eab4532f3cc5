from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bench.engine.config import compose_grid
from bench.engine.environment import environment
from bench.engine.join import join
from bench.engine.plan import make_plan
from bench.engine.stages import run, run_many
from bench.engine.stages.result import Machine, Result

MACHINE = Machine("cpu", None, ("bench", "attacks", "defenses", "tests"))


def plan(toy_words: Any, toy_conf: Path, *words: str) -> Any:
    quick = ("model=[mlp]", "model.mlp.epochs=2", "defense=[none]", "seeds=3", *words)
    return make_plan(compose_grid(toy_words(*quick), toy_conf))


def test_targets_of_a_group_are_results_like_any_other(toy_words, toy_conf: Path) -> None:
    made = plan(toy_words, toy_conf)
    targets = [node for node in made.nodes.values() if node.kind == "target"]
    assert len(targets) == 3 and len({node.replica for node in targets}) == 1
    data = {
        n.id: run("data", n.payload, {}, MACHINE) for n in made.nodes.values() if n.kind == "data"
    }
    parents = [{"data": data[node.parents["data"]]} for node in targets]
    together = run_many("target", [node.payload for node in targets], parents, MACHINE)
    for node, own, result in zip(targets, parents, together, strict=True):
        assert isinstance(result, Result)
        alone = run("target", node.payload, own, MACHINE)
        assert result.output.keys() == alone.output.keys()
        assert (result.output["replicas"], alone.output["replicas"]) == (3, 1)
        assert all(
            torch.allclose(v, alone.tensors[k], atol=1e-4) for k, v in result.tensors.items()
        )


def test_a_target_that_fails_fails_alone(toy_words, toy_conf: Path) -> None:
    made = plan(toy_words, toy_conf, "seeds=1", "model.mlp.optimizer=sgd")
    target = next(node for node in made.nodes.values() if node.kind == "target")
    data = run("data", made.nodes[target.parents["data"]].payload, {}, MACHINE)
    wild = {**target.payload, "model": {**target.payload["model"], "lr": 1e30}}
    results = run_many("target", [target.payload, wild], [{"data": data}] * 2, MACHINE)
    assert isinstance(results[0], Result)
    assert type(results[1]).__name__ == "DivergedError"


def test_a_record_says_that_its_target_was_trained_among_others(toy_words, toy_conf: Path) -> None:
    made = plan(toy_words, toy_conf, "seeds=1")
    trial, env = made.trials[0], environment("cpu", 1)
    nodes: dict[str, Any] = {}
    for key, node in made.nodes.items():
        parents = {role: nodes[above]["result"] for role, above in node.parents.items()}
        result = run(node.kind, node.payload, parents, MACHINE)
        nodes[key] = {
            "result": Result(result.output, result.tensors, config=node.payload),
            "output": result.output,
            "env": env,
            "created_utc": "2026-01-01T00:00:00Z",
        }
    assert "elsewhere" not in join(trial, nodes).env
    nodes[trial.nodes["target"]]["output"] |= {"replicas": 16}
    assert join(trial, nodes).env["elsewhere"] == {"target": {"replicas": 16}}


def test_what_has_no_steps_or_a_loop_of_its_own_has_no_group(toy_words, toy_conf: Path) -> None:
    made = plan(toy_words, toy_conf, "model=[mlp,decision_tree]", "defense=[none,dropout,dp_sgd]")
    groups = {
        n.label.rpartition("/")[0]: n.replica for n in made.nodes.values() if n.kind == "target"
    }
    assert groups["toy/mlp/none"] != groups["toy/mlp/dropout"]
    assert all(groups[f"toy/mlp/{name}"] for name in ("none", "dropout"))
    assert groups["toy/mlp/dp_sgd"] is groups["toy/decision_tree/none"] is None
