"""G3: the secret attribute of a known person is inferred."""

from bench.contract.goals import Goal, StandardSet, Words

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
    standard=(
        StandardSet(
            "standard-tables-weights-1",
            "table",
            "weights",
            (
                ("neuron", {"neurons": 10, "impute": True}),
                ("tree_counts", {"label": False}),
                ("tree_counts", {"label": True}),
            ),
        ),
        StandardSet(
            "standard-tables-scores-1",
            "table",
            "scores",
            (
                ("attribute_map", {"access": "scores", "weight": 1.0}),
                ("attribute_map", {"access": "scores", "weight": 4.0}),
                ("attribute_map", {"access": "scores", "weight": 16.0}),
                ("shadow_attribute", {"access": "scores"}),
                ("membership", {"signal": "calibrated", "impute": True}),
                ("csmia", {}),
            ),
        ),
        StandardSet(
            "standard-tables-labels-1",
            "table",
            "labels",
            (
                ("attribute_map", {"access": "labels", "weight": 1.0}),
                ("attribute_map", {"access": "labels", "weight": 4.0}),
                ("shadow_attribute", {"access": "labels"}),
                ("lomia", {}),
            ),
        ),
    ),
    words=Words(
        code="G3",
        title="A hidden attribute",
        question="Can someone learn {secret}?",
        event="a secret attribute of a known person is inferred",
    ),
)
