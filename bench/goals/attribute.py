"""G3: the secret attribute of a known person is inferred."""

from bench.contract.goals import Goal, Words

GOAL = Goal(
    name="attribute",
    judge="bench.metrics.attribute",
    victims="records",
    baselines=("imputation", "majority"),
    hides_attribute=True,
    gains=True,
    controls=frozenset({"untrained", "overfit", "early_stopped"}),
    observed_as="attribute_observed",
    members=True,
    words=Words(
        code="G3",
        question="Can a person's {secret} be inferred?",
        event="a secret attribute of a known person is inferred",
    ),
)
