"""Plain baselines: what an undefended target must come within 2 points of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import normalize
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from bench.contract import Splits, Task, sparse
from bench.contract.task import top_list
from bench.metrics.utility import asked, measure

_CLASSIFIERS: Mapping[str, Callable[[int], Any]] = {
    "logistic": lambda seed: LogisticRegression(max_iter=1000),
    "mlp": lambda seed: MLPClassifier(random_state=seed),
    "tree": lambda seed: DecisionTreeClassifier(random_state=seed),
    "forest": lambda seed: RandomForestClassifier(random_state=seed),
    "boosting": lambda seed: HistGradientBoostingClassifier(random_state=seed),
}
_REGRESSORS: Mapping[str, Callable[[int], Any]] = {
    "least_squares": lambda seed: LinearRegression(),
    "mlp": lambda seed: MLPRegressor(random_state=seed),
}


def fit(splits: Splits, task: Task, name: str, seed: int) -> dict[str, float]:
    """Fit a baseline on ``train`` and score it on ``test``.

    Args:
        splits: the data of this repeat.
        task: what is predicted.
        name: a model of scikit-learn at its defaults: ``logistic``, ``mlp``, ``tree``,
            ``forest``, ``boosting`` or, where a number is predicted, ``least_squares``, ``mlp``;
            where items are recommended ``item_knn``: cosine similarity of items, summed over what
            was bought.
        seed: of the baseline's own randomness.

    Returns:
        :func:`bench.metrics.utility.measure`; a metric that is not defined on the test split is
        left out. Empty for a name that is no baseline of this task.
    """
    if task == "recommendation":
        found = _neighbours(splits) if name == "item_knn" else {}
    else:
        make = (_CLASSIFIERS if task == "classification" else _REGRESSORS).get(name)
        found = _scored(splits, task, make(seed)) if make else {}
    return {key: value for key, value in found.items() if value is not None}


def _scored(splits: Splits, task: Task, model: Any) -> dict[str, float | None]:
    """Fit a model of scikit-learn and score what it says of the test split."""
    x, y = splits.train.x.flatten(1).cpu().numpy(), splits.train.y.cpu().numpy()
    with warnings.catch_warnings():
        # The default 200 epochs are the baseline; a loss still falling then is no fault.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
    held = splits.test.x.flatten(1).cpu().numpy()
    if task == "regression":
        scores = torch.from_numpy(model.predict(held)).unsqueeze(1)
    else:
        known = np.zeros((len(held), splits.card.n_classes))
        known[:, model.classes_] = model.predict_proba(held)  # a class may be absent from train
        scores = torch.from_numpy(known)
    return measure(task, splits.test, splits.card, scores.argmax(1), scores)


def _neighbours(splits: Splits) -> dict[str, float | None]:
    if sparse.is_sparse(splits.train.x):
        return _sparse_neighbours(splits)
    unit = torch.from_numpy(normalize(splits.train.x.flatten(1).cpu().double().numpy(), axis=0))
    near = (unit.T @ unit).fill_diagonal_(0.0)

    def recommend(x: Tensor) -> Tensor:
        return top_list(x.double() @ near, x)

    lists = asked("recommendation", recommend, splits.test.x)
    return measure("recommendation", splits.test, splits.card, lists, None)


def _sparse_neighbours(splits: Splits) -> dict[str, float | None]:
    """:func:`_neighbours` where most items were never bought together."""
    unit = normalize(sparse.scipy_matrix(splits.train.x).astype(np.float64), axis=0)
    near = (unit.T @ unit).tocsr()
    near.setdiag(0.0)  # all of it is there but for items that nobody bought

    def recommend(x: Tensor) -> Tensor:
        scores = (sparse.scipy_matrix(x) @ near).toarray()
        return top_list(torch.from_numpy(scores), sparse.dense(x))

    lists = asked("recommendation", recommend, splits.test.x)
    return measure("recommendation", splits.test, splits.card, lists, None)
