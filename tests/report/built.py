"""Boards of a few face trials whose leakage a test names, and their rows."""

from __future__ import annotations

import math
from typing import Any

from bench.contract.record import TrialRecord
from bench.report import boards, frame
from tests.report import fake_records as fake

FACES = ("face", "faces", "mlp", "class_representative")


def row(
    found: boards.Boards,
    defense: str,
    access: str,
    scenario: tuple[str, ...] = FACES,
    budget: float = math.inf,
) -> Any:
    keys = zip(*(found.rows[name] for name in boards.ROW), strict=True)
    rows = found.rows[[key == (*scenario, access, budget, defense) for key in keys]]
    assert len(rows) == 1
    return rows.iloc[0]


def scored(
    defense: str, attack: str, leaks: list[float | None], **changes: Any
) -> list[TrialRecord]:
    """Face trials with the given leakage per seed."""
    out = []
    for seed, leak in enumerate(leaks):
        record = fake.trial("faces", "mlp", defense, attack, seed)
        assert record.score is not None
        score = record.score.model_copy(update={"L": leak})
        out.append(record.model_copy(update={"score": score, **changes}))
    return out


def built(*groups: list[TrialRecord]) -> boards.Boards:
    return boards.build(frame.build([r for group in groups for r in group], "smoke"))


def adapting(records: list[TrialRecord]) -> list[TrialRecord]:
    """The same trials by an attack that says it adapts to what it met."""
    return [
        r.model_copy(
            update={"attack": r.attack.model_copy(update={"adaptive_to": [r.cell.defense]})}
        )
        for r in records
    ]
