"""G2: an input, or a basket, is rebuilt from what the deployment answered."""

from bench.contract.goals import Goal, Words

GOAL = Goal(
    name="output_reconstruction",
    judge="bench.metrics.output_reconstruction",
    victims="records",
    rows="shared",
    baselines=("class_mean", "popularity"),
    tells_labels=True,
    asks=False,
    words=Words(
        code="G2",
        question="Can a customer's input be rebuilt from what the model answers?",
        event="a user's input is rebuilt from what the model answers",
        pictures="the victims' own pictures, and what was rebuilt",
    ),
)
