"""Evidence of one model that was given: the records of :mod:`tests.decide.made`, as a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.contract.record import TrialRecord
from bench.decide import evidence
from bench.decide.evidence import Source
from tests.decide import made
from tests.decide.made import Row

FILE, OTHER = "f11e" * 16, "07e4" * 16
"""Digests of the deployed model's file, and of another's."""
URL = "https://models.example.org/score"
LEAKY = Row(L={"guess": 0.05, "map": 0.10}, M=0.01, fields={"stages": []})
SAFE = Row(L={"guess": 0.0, "map": 0.0}, M=0.0, fields={"stages": []})
SHIELD = Row(L={"guess": 0.0, "map": 0.05}, M=0.0, fields={"stages": ["release"]})
_NOISE = (-0.004, -0.002, 0.0, 0.002, 0.004)


def records(
    rows: Mapping[str, Row],
    seeds: int = 3,
    victims: int = 1000,
    members: bool = True,
    given: Mapping[str, Any] | None = None,
    **changes: Any,
) -> list[TrialRecord]:
    """Trials on the model ``scorer``, whose errors over people are .01 in L and .002 in M."""
    out = []
    for r in made.records(rows, seeds, **changes):
        assert r.score is not None and r.utility is not None
        score = {"L_error": 0.01, "M_error": 0.002 if members else None, "victims": victims}
        if not members:
            score["M"] = None
        draws = {"auroc": [r.utility.value + noise for noise in _NOISE]}
        control = "shuffled" if r.control == "untrained" else r.control
        out.append(
            r.model_copy(
                update={
                    "trial_id": f"scorer-{r.trial_id}",
                    "cell": r.cell.model_copy(update={"model": "scorer"}),
                    "control": control,
                    "flags": ["single_target"],
                    "score": r.score.model_copy(update=score),
                    "utility": r.utility.model_copy(update={"draws": draws}),
                    "target": r.target.model_copy(
                        update={
                            "sha256": "5ead" * 16,
                            "given": dict(given or {"file_sha256": FILE}),
                        }
                    ),
                }
            )
        )
    return out


def source(rows: Mapping[str, Row] | None = None, **changes: Any) -> tuple[Source, ...]:
    """The evidence of a campaign, which somebody else signed to have run again."""
    found = evidence.read([made.of_records(records(rows or {"none": LEAKY}, **changes))])
    return made.signed(found, Other_lab="2026-03-02")
