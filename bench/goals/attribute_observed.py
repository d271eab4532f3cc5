"""G3 by who has also seen the answer for the complete record."""

from bench.contract.goals import Goal, Words

GOAL = Goal(
    name="attribute_observed",
    judge="bench.metrics.attribute",
    victims="records",
    baselines=("imputation", "majority"),
    hides_attribute=True,
    gains=True,
    members=True,
    words=Words(
        code="G3_observed",
        question="Can a person's {secret} be inferred by who has seen the answer for them?",
        event="the same, having seen answers for complete records",
    ),
)
