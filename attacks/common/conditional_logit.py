"""A conditional logit: which of several values a record has, from features of each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST = 0.1
"""Smallest weight of the first feature, by which the others are divided."""


@dataclass(frozen=True)
class Choice:
    """What was learned.

    Attributes:
        weights: of every feature, non-negative, relative to the first one, whose weight is 1; all
            others are 0 where the first one alone is not reliably improved upon.
        gain: held-out log likelihood a record beyond that of the first feature alone.
        scores: held-out scores ``[n, n_values]``, by weights that were learned on other groups; the
            first feature where it stands alone.
    """

    weights: Floats
    gain: float
    scores: Floats


def choose(
    features: Floats, truth: Ints, groups: Ints, models: Sequence[tuple[int, ...]], ridge: float
) -> Choice:
    """Fit and select by cross-validation.

    The best of ``models`` by held-out likelihood is taken if it beats the first feature alone by
    more than two standard errors over groups: what no held-out record confirms gets no weight.

    Args:
        features: ``[n, n_values, k]``; the first one is always used.
        truth: the value of each row, ``[n]``.
        groups: rows of a group are held out together, ``[n]``.
        models: which features beside the first one each model uses.
        ridge: penalty a row on squared weights of standardised features.
    """
    centred = features - features.mean(1, keepdims=True)
    scale = np.sqrt(np.square(centred).mean((0, 1)))
    scale[0], k = 1.0, features.shape[2]
    usable = [m for m in models if all(scale[j] > 1e-9 for j in m)]
    z = centred / np.where(scale > 1e-9, scale, 1.0)
    names, place = np.unique(groups, return_inverse=True)
    folds = (np.random.default_rng(0).permutation(len(names)) % 5)[place]

    def held_out(model: tuple[int, ...]) -> tuple[Floats, Floats]:
        columns, scores = [0, *model], np.zeros(z.shape[:2])
        for fold in range(5):
            out = folds == fold
            scores[out] = z[out][:, :, columns] @ _fit(z[~out][:, :, columns], truth[~out], ridge)
        likely: Floats = np.bincount(place, _likely(scores, truth)) / np.bincount(place)
        return scores, likely

    _, base = held_out(())
    best: tuple[int, ...] = ()
    gain, weights, scores = 0.0, np.eye(k)[0], features[:, :, 0]
    for model in usable:
        found, likely = held_out(model)
        more = likely - base
        error = more.std() / np.sqrt(max(1, len(more) - 1))
        if more.mean() > max(gain, 2.0 * error):
            best, gain, scores = model, float(more.mean()), found
    if best:
        columns = [0, *best]
        w = _fit(z[:, :, columns], truth, ridge)
        weights[list(best)] = w[1:] / scale[list(best)] / w[0]
    return Choice(weights, gain, scores)


def _likely(score: Floats, truth: Ints) -> Floats:
    from scipy.special import logsumexp

    found: Floats = score[np.arange(len(truth)), truth] - logsumexp(score, axis=1)
    return found


def _fit(z: Floats, truth: Ints, ridge: float) -> Floats:
    """Non-negative weights ``[k]`` of the largest penalised likelihood, which is concave."""
    from scipy.optimize import minimize

    penalty = np.full(z.shape[2], ridge)
    penalty[0] = 0.0
    # What every value has more than the true one, values first: sums over them are of whole rows.
    n, values, k = z.shape
    more = z.transpose(1, 2, 0) - z[np.arange(n), truth].T
    flat = np.ascontiguousarray(more.transpose(1, 0, 2)).reshape(k, values * n)

    def loss(w: Floats) -> tuple[float, Floats]:
        score = (w @ flat).reshape(values, n)
        most = score.max(0)
        share = np.exp(score - most)
        total = share.sum(0)
        value = (np.log(total) + most).mean() + float(penalty @ np.square(w))
        share /= n * total
        return float(value), flat @ share.ravel() + 2 * penalty * w

    start = np.eye(z.shape[2])[0]
    bounds = [(LEAST, 10.0)] + [(0.0, None)] * (z.shape[2] - 1)
    result: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return result
