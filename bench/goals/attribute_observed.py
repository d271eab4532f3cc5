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
        title="A hidden attribute, the answer seen",
        question="Can someone who has seen the answer learn {secret}?",
        event="the same, having seen answers for complete records",
    ),
)
