"""Records that do not fit as dense ones: every stage gives what it gives of dense ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import api
from bench.contract import UserError, sparse
from bench.data.interactions import Interactions
from bench.engine import stages
from bench.engine.check.probes import few
from bench.engine.stages.result import Machine, Result, decode, encode

HERE = Machine("cpu", None)
EASE = {"_target_": "bench.models.recommenders.Ease", "penalty": 100.0}
PURE_SVD = {"_target_": "bench.models.recommenders.PureSvd", "factors": 10}
VICTIMS = {"seed": 5, "limit": 60}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """800 customers of 300 items who buy from two of 20 shelves, popular items more often."""
    rng = np.random.default_rng(0)
    popular = 1 / (np.arange(15) + 1.0)
    lines = []
    for _ in range(800):
        shelf = rng.choice(20, 2, replace=False)
        items = {int(s * 15 + rng.choice(15, p=popular / popular.sum())) for s in shelf.repeat(6)}
        lines.append(" ".join(map(str, sorted(items))))
    path = tmp_path_factory.mktemp("shop") / "shop.dat"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(kind: str, payload: dict[str, Any], parents: dict[str, Result]) -> Result:
    """A stage, its result as it comes back from a store."""
    result = stages.run(kind, payload, parents, HERE)
    stored = decode(result.output, encode(result).get("tensors.safetensors"))
    return Result(stored.output, stored.tensors, config=payload)


def results(shop: Path, model: dict[str, Any], dense_gib: float) -> dict[str, Any]:
    """Every stage of a trial."""
    target = "bench.data.interactions.Interactions"
    dataset = {"_target_": target, "file": str(shop), "dense_gib": dense_gib, "segments": 4}
    data = run("data", {"dataset": dataset, "seed": 1}, {})
    parents = {"data": data, "evaluator": run("evaluator", {"seed": 0}, {"data": data})}
    trained = run("target", {"model": model, "defense": [], "seed": 2}, {"data": data})
    deployed = {**parents, "target": trained}
    attack = {
        "attack": {"_target_": "attacks.linear_recommender.LinearRecommender"},
        "goal": "output_reconstruction",
        "task": "recommendation",
        "served": [],
        "defense": [],
        "victims": VICTIMS,
        "seed": 3,
    }
    popular = {**attack, "attack": {"_target_": "attacks.popularity.Popularity"}}
    top = {"_target_": "defenses.top_n.TopN", "length": 10, "hide_bought": True}
    asked = {"served": [top], "metric": "accuracy", "seed": 4}
    reference = {"reference": "item_knn", "task": "recommendation", "seed": 0}
    return {
        "report": trained.output["report"],
        "utility": run("utility", asked, deployed).output["utility"],
        "attack": run("attack", attack, deployed).output["score"],
        "popularity": run("attack", popular, parents).output["score"],
        "reference": run("reference", reference, {"data": data}).output["reference"],
    }


@pytest.mark.parametrize("model", [EASE, PURE_SVD])
def test_every_stage_gives_what_it_gives_of_dense_records(
    model: dict[str, Any], shop: Path
) -> None:
    plain, kept = (results(shop, model, gib) for gib in (1.0, 0.0))
    for stage, wanted in plain.items():
        assert _flat(kept[stage]) == pytest.approx(_flat(wanted), abs=2e-3, rel=1e-4), stage
    assert kept["attack"]["value"] > kept["popularity"]["value"] + 0.1


def _flat(value: dict[str, Any]) -> dict[str, Any]:
    """Numbers, without those of rare items: what fills a guess up is a tie, broken in two ways."""
    numbers = {k: v for k, v in (value | value.get("extra", {})).items() if "sensitive" not in k}
    return {k: v for k, v in numbers.items() if isinstance(v, int | float)}


def test_what_needs_dense_records_is_left_out_and_says_why(shop: Path) -> None:
    words = [
        "dataset=[interactions]",
        f"dataset.interactions.file={shop}",
        "dataset.interactions.dense_gib=0",
        "defense=[none,top_n,dp_sgd]",
        "attack=[basket_decoder,linear_recommender]",
        "seeds=1",
        "controls=[repeat,zero]",
    ]
    plan = api.plan([*words, "model=[mlp,ease]"]).plan
    assert {trial.cell.model for trial in plan.trials} == {"ease"}
    assert {trial.cell.attack for trial in plan.trials if trial.access != "none"} <= {
        "linear_recommender",
        "repeat[linear_recommender]",
    }
    reasons = {what: reason for what, reason in plan.skipped}
    left_out = [what for what in reasons if what.startswith("interactions x basket_decoder")]
    for what in ("interactions x mlp", *left_out[:1]):
        assert "800 x 300 would take" in reasons[what]
        assert "dataset.interactions.item_cap" in reasons[what]
    with pytest.raises(UserError, match="needs dense records"):
        api.plan([*words, "model=[mlp]"])


def test_components_are_tried_on_a_few_dense_records(shop: Path) -> None:
    splits = Interactions(file=str(shop), segments=4, dense_gib=0.0).load(0, None)
    tried = few(splits, 20)
    assert sparse.is_sparse(splits.train.x) and not sparse.is_sparse(tried.train.x)
    assert len(tried.train) == len(tried.test) == len(tried.public) == 20
