"""Plain scikit-learn baselines: what an undefended target must come within 2 points of."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from bench.contract import Splits
from bench.metrics.utility import utility


def fit(splits: Splits, seed: int) -> dict[str, dict[str, float]]:
    """Fit the baselines on ``train`` and score them on ``test``.

    Args:
        splits: the data of this repeat.
        seed: of the baselines' own randomness.

    Returns:
        ``{"logistic": metrics, "mlp": metrics}``: :func:`bench.metrics.utility.utility` of
        LogisticRegression and MLPClassifier at scikit-learn's defaults. A metric that is not
        defined on the test split is left out.
    """
    x, y = splits.train.x.flatten(1).cpu().numpy(), splits.train.y.cpu().numpy()
    models = {
        "logistic": LogisticRegression(max_iter=1000),
        "mlp": MLPClassifier(random_state=seed),
    }
    out = {}
    for name, model in models.items():
        with warnings.catch_warnings():
            # The default 200 epochs are the baseline; a loss still falling then is no fault.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, y)
        known = model.predict_proba(splits.test.x.flatten(1).cpu().numpy())
        scores = np.zeros((len(known), splits.card.n_classes))
        scores[:, model.classes_] = known  # a class may be absent from train
        released = torch.from_numpy(scores)
        all_metrics = utility(
            released.argmax(1), released, splits.test.y.cpu(), splits.card.n_classes
        )
        out[name] = {key: value for key, value in all_metrics.items() if value is not None}
    return out
