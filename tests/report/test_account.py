from __future__ import annotations

import fnmatch
from typing import Any, get_args

import pytest

from bench.engine.config import compose_grid
from bench.engine.settings import Reported
from bench.report import account, frame
from tests.report import fake_records as fake


def _entry(**changes: Any) -> dict[str, Any]:
    return {
        "what": "error",
        "value": "4 %",
        "source": "section 5",
        "measured": "error",
        "model": "mlp",
        "defense": "none",
        "attack": "*",
    } | changes


def _ours(**changes: Any) -> str:
    table = frame.build(fake.build(datasets=("faces",)), "fake")
    (row,) = account.reported(table, {"reported": [_entry(**changes)]})
    return row["ours"]


def test_a_papers_figure_stands_beside_ours() -> None:
    table = frame.build(fake.build(datasets=("faces",)), "fake")
    utility = table.query("model == 'mlp' and defense == 'none'").groupby("seed")["utility"].first()
    assert _ours().startswith(f"{1 - utility.mean():.3f} [")
    assert _ours(measured="queries", attack="mirror").startswith("1000.0")
    assert _ours(measured="score", attack="latent*=logit*") != _ours(
        measured="score", attack="latent*=ce*"
    )


def test_a_papers_figure_may_be_of_any_metric_and_one_data_set() -> None:
    def record(dataset: str, seed: int, extra: dict[str, float], **useful: float | None) -> Any:
        name = {"faces": "mirror", "diabetes": "map[access=scores]"}[dataset]
        made = fake.trial(dataset, "mlp", "none", name, seed)
        assert made.score is not None and made.utility is not None
        score = made.score.model_copy(update={"extra": extra})
        utility = made.utility.model_copy(update={"all": useful})
        return made.model_copy(update={"score": score, "utility": utility})

    records = [
        record("diabetes", 0, {"mcc": 0.25}, mae=8.0),
        record("diabetes", 1, {"mcc": 0.75}, mae=None),
        record("faces", 0, {"accuracy": 0.5}, mae=2.0),
    ]
    table = frame.build(records, "fake")

    def ours(**changes: Any) -> str:
        (row,) = account.reported(table, {"reported": [_entry(**changes)]})
        return row["ours"]

    assert ours(measured="mcc").startswith("0.500 [")
    assert ours(measured="mcc", dataset="diab*").startswith("0.500 [")
    assert ours(measured="mcc", dataset="faces") == "not run"
    assert ours(measured="utility_mae", dataset="diabetes") == "8.000"
    assert ours(measured="utility_mae") == "5.000"
    assert ours(measured="ppv_top_100") == "not run"


def test_what_may_be_measured_is_in_the_table() -> None:
    names = {*get_args(Reported.model_fields["measured"].annotation)} - {"error"}
    assert names <= {*frame.build(fake.build(), "fake").columns}


PAPERS = ["fredrikson14_warfarin", "fredrikson15_faces", "jayaraman22", "mehnaz22"]


@pytest.mark.parametrize("paper", PAPERS)
def test_a_papers_figures_are_of_options_in_its_suite(paper: str) -> None:
    grid = compose_grid([f"suite=paper/{paper}"])
    assert grid.settings.reported
    for entry in grid.settings.reported:
        for axis in ("dataset", "model", "defense", "attack"):
            names = [o.name for o in grid.options[axis]]
            names += [o.name for o in grid.options["baseline"]] if axis == "attack" else []
            assert fnmatch.filter(names, getattr(entry, axis)), (entry.what, axis)


def test_a_figure_without_trials_says_so() -> None:
    assert _ours(model="forest") == "not run"
    assert account.reported(frame.build(fake.build(), "fake"), {}) == []
