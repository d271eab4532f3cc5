"""Shadow models: the attacker's own copies of a target, whose members he knows."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from itertools import starmap
from typing import Any, Literal

import torch
from torch import Tensor

from bench.contract import Answers, Query, ReleaseDefense, Split, TrainLike, generator
from bench.contract.defenses import overrides
from bench.contract.seeding import seed as derive

Kind = Literal["mlp", "logistic", "forest", "boosting"]

STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "mlp": (1e-4, 0.3, 3.0),
    "logistic": (0.1, 10.0),
    "forest": (1, 5, 20),
    "boosting": (1, 20),
}
"""Regularisation of each kind, from weak to strong: weight decay, inverse C, records of a leaf."""


def stand_in(
    kind: Kind, strength: float, n_classes: int, layers: Sequence[ReleaseDefense]
) -> TrainLike:
    """Models for an attacker who does not know how the target was made.

    Args:
        kind: of the models.
        strength: of their regularisation, of :data:`STRENGTHS`.
        n_classes: of the target.
        layers: of the defense, :func:`imitated`; they act on what the models answer.
    """

    def made(train: Split, public: Split, seed: int) -> tuple[Answers, Answers]:
        model = _model(kind, strength, len(train), derive(seed, shadow="model") % 2**32)
        answer = fitted(model, train, n_classes)

        def scores(x: Tensor) -> Tensor:
            return released(layers, answer(x), x, derive(seed, shadow="release"))

        return scores, lambda x: scores(x).argmax(1)

    return lambda wanted: starmap(made, wanted)


def fitted(model: Any, records: Split, n_classes: int) -> Answers:
    """Fit a classifier of scikit-learn; what it answers stands at every class of the target.

    A class without a record has the probability 0.
    """
    from sklearn.exceptions import ConvergenceWarning

    x, y = records.x.cpu().numpy(), records.y.cpu()
    present = torch.unique(y)
    if len(present) > 1:
        with warnings.catch_warnings():
            # A model that has not quite converged is still one.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, y.numpy())

    def answers(records: Tensor) -> Tensor:
        p = torch.zeros(len(records), n_classes, dtype=torch.float64)
        if len(present) > 1:
            p[:, present] = torch.from_numpy(model.predict_proba(records.cpu().numpy())).double()
        else:
            p[:, present] = 1.0
        return p.to(records.device)

    return answers


def _model(kind: Kind, strength: float, n: int, seed: int) -> Any:
    # Planning a grid needs none of scikit-learn.
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    if kind == "logistic":
        return LogisticRegression(C=1.0 / strength, max_iter=1000)
    leaf = max(1, int(strength))
    if kind == "forest":
        return RandomForestClassifier(100, min_samples_leaf=leaf, n_jobs=1, random_state=seed)
    if kind == "boosting":
        return HistGradientBoostingClassifier(
            min_samples_leaf=leaf, early_stopping=False, random_state=seed
        )
    return MLPClassifier(
        (128,),
        alpha=strength,
        batch_size=min(32, n),
        learning_rate_init=3e-3,
        max_iter=60,
        random_state=seed,
    )


def imitated(defense: Sequence[Mapping[str, Any]]) -> tuple[list[ReleaseDefense], list[str]]:
    """Release layers that whoever knows the options can apply himself, and names of the others.

    A layer that is fitted on what the owner holds cannot be imitated. Layers that act in training
    or on who asks are among the others too.

    Args:
        defense: the layers in order, each with ``_target_`` and its options.
    """
    known: list[ReleaseDefense] = []
    unknown: list[str] = []
    for config in defense:
        module, _, name = str(config["_target_"]).rpartition(".")
        try:
            cls = getattr(importlib.import_module(module), name)
            options = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in config.items()
                if key != "_target_"
            }
            layer = cls(**options)
        except (ImportError, AttributeError, TypeError, ValueError):
            unknown.append(name)
            continue
        if isinstance(layer, ReleaseDefense) and not overrides(layer, "prepare"):
            known.append(layer)
        else:
            unknown.append(name)
    return known, unknown


def released(layers: Sequence[ReleaseDefense], p: Tensor, x: Tensor, seed: int) -> Tensor:
    """What a deployment behind ``layers`` would answer instead of ``p`` ``[m, n_classes]``."""
    query = Query(x, generator(seed, str(x.device)), derive(seed, shadow="key"))
    for layer in layers:
        p = layer.release(p, query)
    return p
