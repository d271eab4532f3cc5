"""Plain baselines: what an undefended target must come within 2 points of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import normalize
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from bench.contract import Splits, Task
from bench.contract.task import top_list
from bench.metrics.utility import measure

_CLASSIFIERS: Mapping[str, Callable[[int], Any]] = {
    "logistic": lambda seed: LogisticRegression(max_iter=1000),
    "mlp": lambda seed: MLPClassifier(random_state=seed),
    "tree": lambda seed: DecisionTreeClassifier(random_state=seed),
    "boosting": lambda seed: HistGradientBoostingClassifier(random_state=seed),
}
_REGRESSORS: Mapping[str, Callable[[int], Any]] = {
    "least_squares": lambda seed: LinearRegression(),
    "mlp": lambda seed: MLPRegressor(random_state=seed),
}


def fit(splits: Splits, seed: int) -> dict[str, dict[str, float]]:
    """Fit the baselines on ``train`` and score them on ``test``.

    Args:
        splits: the data of this repeat.
        seed: of the baselines' own randomness.

    Returns:
        Name to :func:`bench.metrics.utility.measure` of scikit-learn's models at their defaults
        (trees on tables and baskets only) and, where items are recommended, of ``item_knn``:
        cosine similarity of items, summed over what was bought. A metric that is not defined on
        the test split is left out.
    """
    found: dict[str, dict[str, float | None]] = {}
    for task in splits.card.tasks:
        found |= {"classification": _classifiers, "regression": _regressors,
                  "recommendation": _neighbours}[task](splits, seed)  # fmt: skip
    return {
        name: {key: value for key, value in metrics.items() if value is not None}
        for name, metrics in found.items()
    }


def _fitted(model: Any, splits: Splits) -> Any:
    x, y = splits.train.x.flatten(1).cpu().numpy(), splits.train.y.cpu().numpy()
    with warnings.catch_warnings():
        # The default 200 epochs are the baseline; a loss still falling then is no fault.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def _scored(splits: Splits, task: Task, scores: Tensor) -> dict[str, float | None]:
    return measure(
        task, splits.test, splits.card, lambda _: scores.argmax(1), lambda _: scores
    )  # fmt: skip


def _classifiers(splits: Splits, seed: int) -> dict[str, dict[str, float | None]]:
    out = {}
    image = splits.card.modality == "image"
    for name, make in _CLASSIFIERS.items():
        if image and name in ("tree", "boosting"):
            continue
        model = _fitted(make(seed), splits)
        known = model.predict_proba(splits.test.x.flatten(1).cpu().numpy())
        scores = np.zeros((len(known), splits.card.n_classes))
        scores[:, model.classes_] = known  # a class may be absent from train
        out[name] = _scored(splits, "classification", torch.from_numpy(scores))
    return out


def _regressors(splits: Splits, seed: int) -> dict[str, dict[str, float | None]]:
    out = {}
    for name, make in _REGRESSORS.items():
        model = _fitted(make(seed), splits)
        found = torch.from_numpy(model.predict(splits.test.x.flatten(1).cpu().numpy()))
        out[name] = _scored(splits, "regression", found.unsqueeze(1))
    return out


def _neighbours(splits: Splits, seed: int) -> dict[str, dict[str, float | None]]:
    unit = torch.from_numpy(normalize(splits.train.x.flatten(1).cpu().double().numpy(), axis=0))
    near = (unit.T @ unit).fill_diagonal_(0.0)

    def recommend(x: Tensor) -> Tensor:
        return top_list(x.double() @ near, x)

    return {"item_knn": measure("recommendation", splits.test, splits.card, recommend, None)}
