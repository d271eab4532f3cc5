"""G1: what the target knows of a class is turned into a record of it."""

from bench.contract.goals import Goal, StandardSet, Words

_AVOIDING = {"restarts": 8, "average": True, "avoid": 1.0}

GOAL = Goal(
    name="class_representative",
    judge="bench.metrics.class_representative",
    victims="classes",
    baselines=("public_mean", "random_public"),
    recognised=True,
    controls=frozenset({"untrained", "random_labels", "temperature"}),
    standard=(
        StandardSet(
            "standard-faces-weights-1",
            "image",
            "weights",
            (
                ("prior_inversion", {"access": "weights", "loss": "cross_entropy"}),
                ("prior_inversion", {"access": "weights", "loss": "logit"}),
                ("prior_inversion", {"access": "weights", "loss": "margin", **_AVOIDING}),
                ("prior_inversion", {"access": "weights", "loss": "margin", "noise": 0.1}),
                ("ppa", {"loss": "margin"}),
            ),
        ),
        StandardSet(
            "standard-faces-scores-1",
            "image",
            "scores",
            (
                ("student_inversion", {"access": "scores"}),
                ("prior_inversion", {"access": "scores", "probes": 128}),
                ("latent_evolution", {}),
                ("class_decoder", {"access": "scores"}),
            ),
        ),
        StandardSet(
            "standard-faces-labels-1",
            "image",
            "labels",
            (
                ("student_inversion", {"access": "labels"}),
                ("prior_inversion", {"access": "labels"}),
                ("class_decoder", {"access": "labels"}),
            ),
        ),
    ),
    words=Words(
        code="G1",
        title="The picture of a person",
        question="Can someone make a picture of a person from the model?",
        event="the picture of a person is made from their class",
        pictures="a picture of each class, and what was made of it",
    ),
)
