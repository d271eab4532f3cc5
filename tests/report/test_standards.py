"""Standard sets of attacks: who met them, and what a board says of it."""

from __future__ import annotations

from typing import Any

import pytest

from bench.contract.record import TrialRecord
from bench.goals import goals
from bench.report import latex, tables
from bench.report.text import resting
from tests.report.built import built, row, scored

WEIGHTS, SCORES = "standard-faces-weights-1", "standard-faces-scores-1"
SIZES = {WEIGHTS: 2, SCORES: 1}


def member(
    defense: str, attack: str, places: dict[str, int], sizes: dict[str, int] = SIZES, **more: Any
) -> list[TrialRecord]:
    """Trials of an attack that has these places in standard sets of these sizes."""
    update = {"standard": sizes, "member": places}
    return [
        r.model_copy(update={"attack": r.attack.model_copy(update=update)})
        for r in scored(defense, attack, [0.5, 0.4, 0.6], **more)
    ]


FIRST = member("none", "latent[loss=ce]", {WEIGHTS: 0})
SECOND = member("none", "latent[loss=logit]", {WEIGHTS: 1})


def test_a_board_on_which_every_member_ran_names_its_set() -> None:
    boards = built(FIRST, SECOND)
    assert "below_standard" not in row(boards, "none", "weights")["flags"]
    [(key, rows)] = [(k, r) for k, r in boards if k.access == "weights"]
    assert WEIGHTS in resting(rows)
    assert WEIGHTS in tables.leaderboard_md(boards, boards.rows.iloc[:0].assign(family=""), "s")
    assert WEIGHTS in latex.leaderboard_tex(boards, "s")
    assert all(kind != "below_standard" for kind, _ in boards.notes[key])


@pytest.mark.parametrize(
    "others",
    [
        [],
        member("none", "latent[loss=logit]", {}),
        member("none", "latent[loss=logit]", {SCORES: 0}),
        member("none", "latent[loss=logit]", {WEIGHTS: 1}, status="failed", score=None),
    ],
    ids=["left out", "no member", "of another set", "failed"],
)
def test_a_board_that_lacks_a_member_says_so(others: list[TrialRecord]) -> None:
    boards = built(FIRST, others)
    assert "below_standard" in row(boards, "none", "weights")["flags"]
    [(key, rows)] = [(k, r) for k, r in boards if k.access == "weights"]
    assert not resting(rows)
    assert any(kind == "below_standard" and WEIGHTS in text for kind, text in boards.notes[key])


def test_where_no_member_can_attack_the_next_weaker_set_counts() -> None:
    sizes = {WEIGHTS: 0, SCORES: 1}
    alone = member("none", "latent[loss=ce]", {}, sizes)
    assert row(built(alone), "none", "weights")["standard"] == SCORES
    assert "below_standard" in row(built(alone), "none", "weights")["flags"]
    met = built(alone, member("none", "latent[loss=logit]", {SCORES: 0}, sizes))
    assert "below_standard" not in row(met, "none", "weights")["flags"]


def test_a_stronger_set_is_not_asked_of_a_board_with_less_access() -> None:
    assert row(built(member("none", "latent[loss=ce]", {})), "none", "weights")["standard"] == (
        WEIGHTS
    )
    weak = [
        r.model_copy(update={"access": "scores"})
        for r in member("none", "latent[loss=ce]", {SCORES: 0})
    ]
    assert row(built(weak), "none", "scores")["standard"] == SCORES


def test_a_set_is_named_once_and_by_its_number() -> None:
    names = [s.name for goal in goals().values() for s in goal.standard]
    assert len(names) == len(set(names))
    assert all(name.rpartition("-")[2].isdigit() for name in names)
