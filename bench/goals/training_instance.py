"""G4: whole training records are rebuilt."""

from bench.contract.goals import Goal, Words

GOAL = Goal(
    name="training_instance",
    judge="bench.metrics.training_instance",
    victims="classes",
    rows="any",
    baselines=("public_records",),
    members=True,
    words=Words(
        code="G4",
        question="Can whole records of the training set be rebuilt?",
        event="records the model was trained on are rebuilt",
    ),
)
