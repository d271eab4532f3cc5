"""G1: what the target knows of a class is turned into a record of it."""

from bench.contract.goals import Goal, Words

GOAL = Goal(
    name="class_representative",
    judge="bench.metrics.class_representative",
    victims="classes",
    baselines=("public_mean", "random_public"),
    recognised=True,
    controls=frozenset({"untrained", "random_labels", "temperature"}),
    words=Words(
        code="G1",
        question="Can a person's picture be made from the model?",
        event="the picture of a person is made from their class",
        pictures="a picture of each class, and what was made of it",
    ),
)
