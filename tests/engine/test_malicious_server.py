"""A server that chooses the weights, through the whole engine: a threat with boards of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contract.record import TrialRecord
from bench.engine.config import compose_grid
from bench.engine.execution import execute
from bench.engine.plan import make_plan
from bench.report.closure import close
from bench.report.frame import build

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    root = tmp_path_factory.mktemp("server")
    words = [
        "dataset=[diabetes]",
        "model=[mlp]",
        "model.mlp.epochs=1",
        "defense=[none,secure_aggregation]",
        "attack=[imprint,analytic_gradient]",
        "attack.imprint.records=32",
        "attack.imprint.sweep=[{batch_size: 4, inconsistent: true}]",
        "attack.analytic_gradient.records=32",
        "attack.analytic_gradient.sweep=[{batch_size: 4}]",
        "controls=[]",
        "seeds=1",
        "backend=local",
        "tracking=none",
        "progress=none",
        f"store={root / 'runs'}",
        f"report_dir={root}",
    ]
    grid = compose_grid(words, CONF)
    return list(execute(grid, make_plan(grid), CONF).outcome.records)


def test_the_weights_reach_the_clients_and_the_server_singles_them_out(
    records: list[TrialRecord],
) -> None:
    found = {(r.cell.defense, r.cell.attack.split("[")[0]): r for r in records}
    for defense in ("none", "secure_aggregation"):
        malicious, honest = found[defense, "imprint"], found[defense, "analytic_gradient"]
        assert (malicious.access, honest.access) == ("malicious_server", "gradients")
        assert malicious.goal == honest.goal == "gradient_reconstruction"
        assert malicious.score is not None and honest.score is not None
        assert malicious.score.value > 0.9 > honest.score.value
    # An honest round and one without secrecy; with sums of four, two groups in one and four rounds.
    assert found["none", "imprint"].budget.updates == 2 * 8
    assert found["secure_aggregation", "imprint"].budget.updates == 5 * 2


def test_it_stands_on_no_board_of_an_honest_server(records: list[TrialRecord]) -> None:
    closed = close(build(records, "toy"))
    attacks = {
        access: {name.split("[")[0] for name in part["attack"]}
        for access, part in closed.groupby("access")
    }
    assert attacks["gradients"] == {"analytic_gradient"}
    assert attacks["malicious_server"] == {"analytic_gradient", "imprint"}
