from __future__ import annotations

from typing import Any

from bench.report import account, frame
from tests.report import fake_records as fake


def _entry(**changes: Any) -> dict[str, Any]:
    return {
        "what": "error", "value": "4 %", "source": "section 5", "measured": "error",
        "model": "mlp", "defense": "none", "attack": "*",
    } | changes  # fmt: skip


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


def test_a_figure_without_trials_says_so() -> None:
    assert _ours(model="forest") == "not run"
    assert account.reported(frame.build(fake.build(), "fake"), {}) == []


def test_controls_are_lines_of_text() -> None:
    from bench.report import controls

    lines = account.controls(controls.judge(frame.build(fake.build(), "fake")))
    assert lines
    assert all(isinstance(value, str) for line in lines for value in line.values())
