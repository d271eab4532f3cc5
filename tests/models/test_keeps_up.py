"""Undefended targets come within 2 points of plain scikit-learn (PROTOCOL 2.5): no straw men."""

from __future__ import annotations

from statistics import mean

import pytest

from bench.contract import Dataset, Model, seed
from bench.data.baskets import Baskets
from bench.data.diabetes import Diabetes
from bench.data.faces import Faces
from bench.metrics import reference
from bench.metrics.utility import utility
from bench.models.cnn import Cnn
from bench.models.fitting import predict
from bench.models.mlp import Mlp
from bench.models.softmax import Softmax
from bench.models.training import train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "models", "repeats"),
    [
        (Diabetes(), [Softmax(), Mlp()], 6),
        (Faces(), [Softmax(), Mlp(), Cnn()], 2),
        (Baskets(), [Softmax(), Mlp()], 1),
    ],
)
def test_undefended_utility(dataset: Dataset, models: list[Model], repeats: int) -> None:
    gaps: dict[str, list[float]] = {}
    for repeat in range(repeats):
        splits = dataset.load(seed(0, dataset=splits_name(dataset), repeat=repeat), None)
        for model in models:
            baseline = reference.fit(splits, "classification", model.reference, repeat)
            network, _ = train(model, [], splits, repeat, "cpu")
            scores = predict(network, splits.test.x).softmax(1)
            got = utility(scores.argmax(1), scores, splits.test.y, splits.card.n_classes)
            value = got[dataset.utility_metric]
            assert value is not None
            wanted = baseline[dataset.utility_metric]
            gaps.setdefault(type(model).__name__, []).append(value - wanted)
    for name, gap in gaps.items():
        assert mean(gap) >= -0.02, f"{name} on {splits_name(dataset)}: {mean(gap):+.3f}"


def splits_name(dataset: Dataset) -> str:
    return type(dataset).__name__.lower()
