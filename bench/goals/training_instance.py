"""G4: whole training records are rebuilt."""

from collections.abc import Mapping
from typing import Any

from bench.contract.goals import Goal, StandardSet, Words

Members = tuple[tuple[str, Mapping[str, Any]], ...]

_BY_WEIGHTS: Members = (("record_search", {"access": "weights"}), ("kkt", {}))
_BY_SCORES: Members = (("record_search", {"access": "scores"}),)

GOAL = Goal(
    name="training_instance",
    judge="bench.metrics.training_instance",
    victims="classes",
    rows="any",
    baselines=("public_records",),
    controls=frozenset({"untrained"}),
    members=True,
    standard=(
        StandardSet("standard-records-weights-1", "table", "weights", _BY_WEIGHTS),
        StandardSet("standard-records-scores-1", "table", "scores", _BY_SCORES),
        StandardSet("standard-basket-records-weights-1", "basket", "weights", _BY_WEIGHTS),
        StandardSet("standard-basket-records-scores-1", "basket", "scores", _BY_SCORES),
    ),
    words=Words(
        code="G4",
        title="Whole training records",
        question="Can someone rebuild whole records that the model was trained on?",
        event="records the model was trained on are rebuilt",
    ),
)
