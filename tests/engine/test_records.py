"""Tables and baskets through the whole engine: tasks, what models offer, controls, knowledge."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.engine.config import compose_grid
from bench.engine.execution import execute
from bench.engine.plan import make_plan

QUIET = ("tracking=none", "backend=local", "progress=none", "controls=[]", "seeds=1")


def _plan(*words: str):  # type: ignore[no-untyped-def]
    return make_plan(compose_grid([*QUIET, *words]))


def test_models_and_attacks_meet_where_they_can() -> None:
    plan = _plan(
        "dataset=[diabetes,diabetes_progression,baskets]",
        "model=[mlp,decision_tree,ridge,ease]",
        "defense=[none,dp_sgd,label_only,top_n]",
        "attack=[attribute_map,tree_counts,neuron,fjrmia,basket_decoder,linear_recommender]",
    )
    cells = {
        (
            t.cell.dataset,
            t.cell.model,
            t.cell.defense.partition("[")[0],
            t.cell.attack.partition("[")[0],
        )
        for t in plan.trials
    }
    assert ("diabetes", "decision_tree", "none", "tree_counts") in cells
    assert ("diabetes", "mlp", "none", "neuron") in cells
    assert ("diabetes_progression", "ridge", "dp_sgd", "fjrmia") in cells
    assert ("baskets", "ease", "top_n", "basket_decoder") in cells
    assert ("baskets", "ease", "none", "linear_recommender") in cells
    models = {(dataset, model) for dataset, model, *_ in cells}
    assert models == {
        ("diabetes", "mlp"),
        ("diabetes", "decision_tree"),
        ("diabetes_progression", "mlp"),
        ("diabetes_progression", "ridge"),
        ("baskets", "mlp"),
        ("baskets", "decision_tree"),
        ("baskets", "ease"),
    }
    reasons = {f"{what}: {why}" for what, why in plan.skipped}
    assert any("needs leaves, which 'mlp' lacks" in r for r in reasons)
    assert any("needs descent, which 'decision_tree' lacks" in r for r in reasons)
    assert any("does not protect regression" in r for r in reasons)
    assert any("does not attack regression" in r for r in reasons)


def test_who_has_seen_the_answer_is_judged_apart() -> None:
    plan = _plan("dataset=[diabetes]", "attack=[score_classifier,csmia]")
    goals = {t.cell.attack.partition("[")[0]: t.goal for t in plan.trials if t.access != "none"}
    assert goals == {"score_classifier": "attribute_observed", "csmia": "attribute"}


def test_the_positive_control_is_for_targets_trained_by_epochs() -> None:
    plan = _plan(
        "dataset=[diabetes]",
        "model=[mlp,boosting]",
        "attack=[csmia,score_classifier]",
        "controls=[overfit,early_stopped,untrained]",
    )
    found = {(t.control, t.cell.model, t.cell.attack) for t in plan.trials if t.control}
    assert found == {
        ("overfit", "mlp", "csmia"),
        ("early_stopped", "mlp", "csmia"),
        ("untrained", "mlp", "csmia"),
        ("untrained", "boosting", "csmia"),
    }


def test_a_sweep_reaches_into_the_prior() -> None:
    plan = _plan("dataset=[diabetes]", "attack=[imputation_sizes]")
    rows = {t.cell.attack for t in plan.trials}
    assert "imputation_sizes[prior.n_aux=50]" in rows
    sizes = {n.payload["prior"]["n_aux"] for n in plan.nodes.values() if n.kind == "prior"}
    assert sizes == {None, 50, 500, 5000}


@pytest.mark.slow
def test_every_task_ends_in_records(tmp_path: Path) -> None:
    words = [
        *QUIET,
        f"store={tmp_path}/runs",
        f"report_dir={tmp_path}",
        "dataset=[diabetes,diabetes_progression,baskets]",
        "dataset.baskets.train=300",
        "dataset.baskets.test=150",
        "dataset.baskets.public=300",
        "model=[mlp,boosting,ridge,ease]",
        "model.mlp.epochs=10",
        "defense=[none,top_n]",
        "attack=[attribute_map,tree_counts,membership,fjrmia,score_classifier,basket_decoder]",
        "attack.basket_decoder.epochs=5",
    ]
    grid = compose_grid(words)
    records = execute(grid, make_plan(grid)).outcome.records
    failed = [(r.cell.key(), r.error.message) for r in records if r.error]
    assert not failed
    metrics = {(r.goal, r.score.metric) for r in records if r.score}
    assert metrics == {
        ("attribute", "auc"),
        ("attribute_observed", "auc"),
        ("output_reconstruction", "f1_at_k"),
    }
    for record in records:
        assert record.utility is not None and record.utility.reference is not None
        if record.cell.dataset == "diabetes_progression":
            assert record.utility.metric == "within_20pct"
        if record.cell.model == "ease":
            # It is asked about what is left of a basket, whose lists hold what was held out.
            assert record.utility.metric == "ndcg_at_20"
            assert record.utility.value > 0.5 * record.utility.reference
