"""Learning a sensitive attribute from public records.

scikit-learn is imported where something is learned: planning a grid needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from attacks.common.ranges import AtLeastTwo
from bench.contract import Card, Sensitive, Split
from bench.contract.options import Count, check_options

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

WINNERS = ("random_forest", "logistic", "gradient_boosting", "marginal")
"""What :attr:`Learned.winner` counts into; of a number, ``logistic`` is ridge regression."""

Floats = npt.NDArray[np.float64]


def known_features(card: Card, split: Split) -> Tensor:
    """What is known of a record: all but the sensitive columns, and the true label (K3).

    Args:
        card: of a table.
        split: ``n`` records; what their sensitive columns hold is not read.

    Returns:
        float32 ``[n, d - width of the sensitive columns + width of the label]``.
    """
    assert card.sensitive is not None
    start, stop = card.sensitive.columns
    label = card.known_label(split.y).to(split.x)
    return torch.cat([split.x[:, :start], split.x[:, stop:], label], 1)


def macro_auc(truth: npt.NDArray[np.int64], scores: Floats) -> float:
    """AUC of a column per value, one-vs-rest, averaged; for two values that is the AUC."""
    return auc_of_places(truth, places_of(scores))


def places_of(scores: Floats) -> npt.NDArray[np.int64]:
    """The place of every score among the distinct ones of its column, from 0."""
    return np.stack([np.unique(column, return_inverse=True)[1] for column in scores.T], 1)


def auc_of_places(truth: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> float:
    """:func:`macro_auc` of scores that are sorted already, so that parts of them cost little.

    Args:
        truth: ``[n]``, with at least two values.
        places: of :func:`places_of`, or some of its rows, ``[n, n_values]``.
    """
    areas = []
    for value in np.unique(truth):
        place, inside = places[:, value], truth == value
        count = int(place.max()) + 1
        has, lacks = (np.bincount(place[who], minlength=count) for who in (inside, ~inside))
        areas.append(has @ (np.cumsum(lacks) - lacks / 2) / (has.sum() * lacks.sum()))
    return float(np.mean(areas))


@dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        probabilities: float64 ``[n, n_values]``, positive, rows sum to 1.
        winner: index into :data:`WINNERS`.
        cv: float64 ``[3]``, cross-validated AUC of each learner, of a number the share of its
            variance explained; NaN where the records cannot be folded.
    """

    probabilities: Tensor
    winner: int
    cv: Floats


@dataclass(frozen=True)
class Learner:
    """The best of three: a forest of trees, a linear model, boosted trees.

    Attributes:
        folds: of the cross-validation that chooses.
        trees: in the forest, and boosting rounds.
    """

    folds: AtLeastTwo = 3
    trees: Count = 100

    def __post_init__(self) -> None:
        check_options(self)

    def learn(
        self, sensitive: Sensitive, x: Tensor, public: Split, apply: Tensor, seed: int
    ) -> Learned:
        """Learn the attribute of ``public`` from ``x`` and say what ``apply`` has.

        Args:
            sensitive: the attribute.
            x: features ``[n, d]``.
            public: the ``n`` records, with ``s``; of a number, the sensitive column is read too.
            apply: features ``[m, d]``.
            seed: decides the folds and the trees.
        """
        assert public.s is not None
        s, n_values = public.s.cpu().numpy(), len(sensitive.values)
        count = np.bincount(s, minlength=n_values).astype(np.float64)
        prior = (count + 1) / (count + 1).sum()
        features, wanted = x.cpu().numpy(), apply.cpu().numpy()
        if len(np.unique(s)) < 2:
            winner, cv, guess = 3, np.full(3, np.nan), np.tile(prior, (len(wanted), 1))
        elif sensitive.numeric:
            truth = public.x[:, sensitive.columns[0]].double().cpu().numpy()
            winner, cv, guess = self._number(sensitive, features, truth, wanted, seed)
        else:
            winner, cv, guess = self._category(n_values, features, s, wanted, seed)
        if winner < 3:
            # A value that this sample never pairs with such a record is unlikely, not impossible.
            guess = (len(s) * guess + prior) / (len(s) + 1)
        return Learned(torch.from_numpy(guess), winner, cv)

    def _choose(
        self,
        models: Sequence[BaseEstimator],
        fold: Callable[[BaseEstimator], Floats],
        score: Callable[[Floats], float],
    ) -> tuple[int, Floats, Floats]:
        """The best model, everyone's score, and the best one's held-out predictions."""
        held_out = [fold(model) for model in models]
        cv = np.array([score(predictions) for predictions in held_out])
        best = int(cv.argmax())
        return best, cv, held_out[best]

    def _category(
        self, n_values: int, x: Floats, s: npt.NDArray[np.int64], apply: Floats, seed: int
    ) -> tuple[int, Floats, Floats]:
        from sklearn.base import clone
        from sklearn.model_selection import StratifiedKFold, cross_val_predict

        present, codes = np.unique(s, return_inverse=True)
        models = _classifiers(self.trees, seed)
        winner, cv = WINNERS.index("logistic"), np.full(3, np.nan)
        if np.bincount(codes).min() >= self.folds:
            split = StratifiedKFold(self.folds, shuffle=True, random_state=seed % 2**32)
            winner, cv, _ = self._choose(
                models,
                lambda m: cross_val_predict(m, x, codes, cv=split, method="predict_proba"),
                lambda out: macro_auc(codes, out),
            )
        guess = np.zeros((len(apply), n_values))
        guess[:, present] = clone(models[winner]).fit(x, s).predict_proba(apply)
        return winner, cv, guess

    def _number(
        self, sensitive: Sensitive, x: Floats, truth: Floats, apply: Floats, seed: int
    ) -> tuple[int, Floats, Floats]:
        """A normal distribution around a regression, over the cells around the grid's values."""
        from scipy.stats import norm
        from sklearn.base import clone
        from sklearn.metrics import r2_score
        from sklearn.model_selection import KFold, cross_val_predict

        models = _regressors(self.trees, seed)
        winner, cv, spread = WINNERS.index("logistic"), np.full(3, np.nan), truth.std()
        if len(truth) >= 2 * self.folds:
            split = KFold(self.folds, shuffle=True, random_state=seed % 2**32)
            winner, cv, held_out = self._choose(
                models,
                lambda m: cross_val_predict(m, x, truth, cv=split),
                lambda out: r2_score(truth, out),
            )
            spread = np.sqrt(np.mean((truth - held_out) ** 2))
        mean = clone(models[winner]).fit(x, truth).predict(apply)
        grid = np.array([code[0] for code in sensitive.codes])
        order = grid.argsort()
        middle = (grid[order][1:] + grid[order][:-1]) / 2
        below = norm.cdf(middle[None], mean[:, None], max(spread, 1e-6))
        edges = np.pad(below, ((0, 0), (1, 1)), constant_values=(0.0, 1.0))
        guess = np.empty((len(apply), len(grid)))
        guess[:, order] = np.diff(edges, axis=1)
        return winner, cv, guess


def _classifiers(trees: int, seed: int) -> tuple[Any, ...]:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    state = seed % 2**32
    return (
        RandomForestClassifier(trees, min_samples_leaf=3, n_jobs=1, random_state=state),
        LogisticRegression(C=0.1, max_iter=2000),
        HistGradientBoostingClassifier(**_boosting(trees, state)),
    )


def _regressors(trees: int, seed: int) -> tuple[Any, ...]:
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import Ridge

    state = seed % 2**32
    return (
        RandomForestRegressor(
            trees, min_samples_leaf=3, max_features="sqrt", n_jobs=1, random_state=state
        ),
        Ridge(alpha=10.0),
        HistGradientBoostingRegressor(**_boosting(trees, state)),
    )


def _boosting(trees: int, state: int) -> dict[str, Any]:
    return {
        "max_iter": trees,
        "learning_rate": 0.05,
        "max_depth": 3,
        "min_samples_leaf": 10,
        "l2_regularization": 1.0,
        "max_features": 0.2,
        "early_stopping": False,
        "random_state": state,
    }
