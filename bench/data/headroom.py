"""Whether a sensitive attribute leaves an attack something to find (PROTOCOL 2.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score

from bench.contract import Split, Splits

IMPUTER_ROWS = 5000
"""Public records that the imputer learns from; so many keep every loader below seconds."""
MOST_KNOWN, RAREST, FEWEST_MEMBERS = 0.85, 0.05, 100
"""PROTOCOL 2.3: beyond these an attack has no room to show."""


def headroom(splits: Splits) -> dict[str, Any]:
    """Whether the sensitive attribute leaves an attack something to find (PROTOCOL 2.3).

    Returns:
        ``sensitive_prevalence`` (share of the members with each value) and
        ``sensitive_imputer_auc``, of a number ``sensitive_imputer_r2``; ``no_headroom``, one
        sentence, where the imputer's AUC is above .85, a value is held by less than 5 % or more
        than 95 % of the members, or there are fewer than 100 members.
    """
    sensitive, members = splits.card.sensitive, len(splits.train)
    assert sensitive is not None and splits.train.s is not None
    facts: dict[str, Any] = {}
    why = []
    if sensitive.numeric:
        facts["sensitive_imputer_r2"] = imputer_r2(splits)
    else:
        facts["sensitive_imputer_auc"] = auc = imputer_auc(splits)
        counts = torch.bincount(splits.train.s, minlength=len(sensitive.values)).double()
        shares = dict(zip(sensitive.values, (counts / members).tolist(), strict=True))
        facts["sensitive_prevalence"] = shares
        if auc > MOST_KNOWN:
            why.append(f"its AUC without the model is {auc:.3f}, above {MOST_KNOWN}")
        why += [
            f"{share:.1%} of the members have '{value}', outside 5 % to 95 %"
            for value, share in shares.items()
            if not RAREST <= share <= 1.0 - RAREST
        ]
    if members < FEWEST_MEMBERS:
        why.append(f"there are {members} members, fewer than {FEWEST_MEMBERS}")
    if why:
        facts["no_headroom"] = f"'{sensitive.name}' leaves no headroom: {'; '.join(why)}."
    return facts


def _known(splits: Splits, split: Split) -> npt.NDArray[np.float32]:
    """What an attacker without a model knows of each record: other columns and the label."""
    sensitive = splits.card.sensitive
    assert sensitive is not None
    known = torch.cat([sensitive.hide(split.x), splits.card.known_label(split.y)], 1)
    return known.numpy()


def _learn(splits: Splits) -> Split:
    """Public records to learn the imputer from, at most :data:`IMPUTER_ROWS`."""
    public = splits.public
    if len(public) <= IMPUTER_ROWS:
        return public
    order = np.random.default_rng(0).permutation(len(public))
    return public.take(torch.from_numpy(order[:IMPUTER_ROWS]))


def imputer_auc(splits: Splits) -> float:
    """How well a sensitive category is guessed without the model (PROTOCOL 2.3, headroom).

    A logistic regression fitted on the public split predicts the members' sensitive value from
    the other columns and the true label. More than two values: one-vs-rest, macro average.

    Returns:
        AUC on ``train``, in [0, 1]; .5 where the public records or the members hold one value.
    """
    public, train = _learn(splits), splits.train
    assert public.s is not None and train.s is not None
    learnt, truth = public.s.numpy(), train.s.numpy()
    if len(np.unique(learnt)) < 2:
        return 0.5
    model = LogisticRegression(max_iter=2000).fit(_known(splits, public), learnt)
    scores = np.zeros((len(truth), int(max(learnt.max(), truth.max())) + 1))
    scores[:, model.classes_] = model.predict_proba(_known(splits, train))
    held = [value for value in np.unique(truth) if (truth != value).any()]
    areas = [roc_auc_score(truth == value, scores[:, value]) for value in held]
    return float(np.mean(areas)) if areas else 0.5


def imputer_r2(splits: Splits) -> float:
    """How well a sensitive number is guessed without the model: R^2 of a ridge on ``train``."""
    sensitive, public, train = splits.card.sensitive, _learn(splits), splits.train
    assert sensitive is not None
    at = sensitive.columns[0]
    model = Ridge().fit(_known(splits, public), public.x[:, at].numpy())
    return float(r2_score(train.x[:, at].numpy(), model.predict(_known(splits, train))))
