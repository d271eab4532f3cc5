"""A claimed epsilon is tried by canaries, whatever attacks run."""

from __future__ import annotations

from pathlib import Path

from bench.engine.config import compose_grid
from bench.engine.execution import execute
from bench.engine.plan import make_plan


def test_what_claims_an_epsilon_is_audited_once_a_target(tmp_path: Path) -> None:
    words = [
        "dataset=[diabetes]",
        "model=[softmax]",
        "defense=[none,dp_sgd,clip_only,dp_rounded]",
        "attack=[attribute_map]",
        "seeds=1",
        "controls=[]",
        "backend=local",
        "tracking=none",
        "progress=none",
        f"store={tmp_path / 'runs'}",
        f"report_dir={tmp_path}",
        "defense.dp_sgd.epochs=3",
    ]
    grid = compose_grid(words)
    plan = make_plan(grid)
    done = execute(grid, plan)
    assert sum(node.kind == "audit" for node in plan.nodes.values()) == 2, "one target, one audit"
    audits = {r.cell.defense: r.privacy_audit for r in done.outcome.records}
    assert audits["none"] is None and audits["clip_only"] is None, "they claim nothing"
    found = audits["dp_sgd"]
    assert found is not None and found.canaries > 20 and found.right <= found.guesses
    assert 0 <= found.epsilon_lower <= found.epsilon <= 8
    assert audits["dp_rounded"] is not None
