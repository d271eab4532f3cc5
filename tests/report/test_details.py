"""The finer print of a board as text that a page shows, and what a suite calls its parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.contract.names import Heading
from bench.contract.record import TrialRecord
from bench.report import boards, frame
from bench.report.closure import BoardKey
from bench.report.names import Names
from bench.report.site import details
from bench.report.site.suite import Suite
from bench.report.text import ABSENT
from tests.report import fake_records as fake

NAMES = Names(
    {
        ("dataset", "faces"): Heading("Famous faces", "Photographs"),
        ("model", "mlp"): Heading("Neural network", "A perceptron"),
        ("defense", "none"): Heading("No defense", "As it was trained"),
        ("attack", "latent"): Heading("Search among latents", "A generator"),
    }
)
FACES = "Famous faces, neural network: the picture of a person"
PATIENTS = "Diabetes, neural network: a hidden attribute"


def untrained(dataset: str, attack: str, leaks: list[float | None]) -> list[TrialRecord]:
    """Trials of a control; those without leakage did not finish."""
    records = []
    for seed, leak in enumerate(leaks):
        record = fake.trial(dataset, "mlp", "none", attack, seed)
        assert record.score is not None
        changes: dict[str, Any] = {
            "control": "untrained",
            "trial_id": f"untrained/{record.trial_id}",
            "cell": record.cell.model_copy(update={"defense": "untrained"}),
            "score": record.score.model_copy(update={"L": leak}),
        }
        if leak is None:
            changes |= fake.broken("failed", "ValueError", "No.")
        records.append(record.model_copy(update=changes))
    return records


@pytest.fixture(scope="module")
def suite() -> Suite:
    """A suite as far as its checks are told by it."""
    table, facts = frame.read(
        fake.build(datasets=("faces", "diabetes"))
        + untrained("faces", "latent[loss=logit]", [0.3, 0.35, 0.28])
        + untrained("diabetes", "neuron", [0.0, None]),
        "fake",
    )
    return Suite(
        name="fake",
        frame=table,
        facts=facts,
        boards=boards.build(table),
        tuning={},
        families={},
        pictures={},
        given={},
        ids={},
        defenses={},
        attacks={},
        family=dict(zip(table["defense"], table["family"], strict=True)),
        attack_family=dict(zip(table["attack"], table["attack_family"], strict=True)),
        figures=(),
        names=NAMES,
        chosen={},
    )


def test_checks_are_lines_of_text(suite: Suite) -> None:
    lines = details.checks(suite, suite.boards.controls)
    assert len(lines) == len(suite.boards.controls) > 0
    assert all(isinstance(value, str) for line in lines for value in line.values())


def test_checks_name_scenarios_attacks_and_defenses_as_pages_do(suite: Suite) -> None:
    lines = details.checks(suite, suite.boards.controls)
    told = {(line["scenario"], line["code"]): line for line in lines}
    failed = told[FACES, "C1"]
    assert failed["of"] == "Search among latents, loss logit"
    assert (failed["value"], failed["state"]) == ("0.310", "fail")
    assert failed["interval"].startswith("[0.")
    assert told[FACES, "C10"]["of"] == "No defense"


def test_a_check_without_a_figure_says_why_and_shows_a_dash(suite: Suite) -> None:
    lines = details.checks(suite, suite.boards.controls)
    (line,) = (line for line in lines if line["scenario"] == PATIENTS and line["code"] == "C1")
    assert (line["of"], line["value"], line["interval"]) == ("not finished", ABSENT, "")
    assert line["state"] == "unknown"


def test_a_board_is_called_by_its_goal_where_its_model_is_attacked_for_several(
    suite: Suite,
) -> None:
    pictures = BoardKey("face", "faces", "mlp", "class_representative", "scores")
    hidden = pictures._replace(goal="attribute")
    patients = BoardKey("medical", "diabetes", "mlp", "attribute", "scores")
    several = replace(suite, ids={pictures: "a", hidden: "b", patients: "c"})
    assert several.place(pictures) == f"{FACES}, attacker sees scores"
    assert several.place(hidden) != several.place(pictures)
    assert several.place(patients) == "Diabetes, neural network: attacker sees scores"


def test_sentences_call_defenses_and_attacks_as_pages_do(suite: Suite) -> None:
    sentence = "latent[loss=logit] beats none, dropout and dp_sgd[epsilon=1]."
    known = "Search among latents, loss logit beats none, dropout and Dp sgd, epsilon 1."
    assert suite.spelled(sentence) == known
    assert suite.known("none") == "No defense"
    assert suite.known("3 compared") == "3 compared"
