"""G2: an input, or a basket, is rebuilt from what the deployment answered."""

from bench.contract.goals import Goal, StandardSet, Words

GOAL = Goal(
    name="output_reconstruction",
    judge="bench.metrics.output_reconstruction",
    victims="records",
    rows="shared",
    baselines=("class_mean", "popularity"),
    tells_labels=True,
    asks=False,
    standard=(
        StandardSet(
            "standard-baskets-weights-1", "basket", "weights", (("linear_recommender", {}),)
        ),
        StandardSet(
            "standard-baskets-scores-1",
            "basket",
            "scores",
            (("basket_decoder", {"access": "scores"}),),
        ),
        StandardSet(
            "standard-baskets-labels-1",
            "basket",
            "labels",
            (("basket_decoder", {"access": "labels"}),),
        ),
        StandardSet(
            "standard-images-scores-1",
            "image",
            "scores",
            (("inverse_decoder", {"access": "scores"}),),
        ),
        StandardSet(
            "standard-images-labels-1",
            "image",
            "labels",
            (("inverse_decoder", {"access": "labels"}),),
        ),
    ),
    words=Words(
        code="G2",
        title="The input behind an answer",
        question="Can someone rebuild what the model was asked from its answer?",
        event="a user's input is rebuilt from what the model answers",
        pictures="the victims' own pictures, and what was rebuilt",
    ),
)
