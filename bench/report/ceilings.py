"""The most that a private training lets any attacker gain on its members (PROTOCOL 4.6).

Let p be the chance that an attacker succeeds. If a training is (epsilon, delta)-differentially
private, one record more or less changes it to at most ``e^epsilon p + delta``, and the chance of
failure to at least ``e^-epsilon (1 - p - delta)``. The most success that all this allows is
``1 - f(p)``, where f is a lower bound of the mechanism's trade-off function (Dong, Roth and Su,
"Gaussian Differential Privacy", section 2). Hayes, Mahloujifar and Balle (arXiv 2302.07225) bound
reconstruction, and Kulynych et al. (2507.06969) and Swanberg et al. (2507.08158) attribute
inference and more, from the attacker's success without the release. Of these three the abstracts
were read; what is claimed here is derived in PROTOCOL 4.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.contract.ledger import PrivacyLedger
from bench.contract.record import TrialRecord

Floats = NDArray[np.float64]
Guarantees = tuple[tuple[float, float], ...]
"""Pairs (epsilon, delta) that a training keeps, all of the same neighbours."""

JUDGED: Mapping[tuple[str, str], int] = {
    ("attribute", "auc"): 2,
    ("attribute_observed", "auc"): 2,
    ("output_reconstruction", "f1_at_k"): 1,
}
"""By goal and metric, of how many records one success tells: an AUC is a share of pairs."""

_REPLACED: Mapping[str, int] = {"add_remove": 2, "replace_one": 1}
"""Steps from one neighbour to the next in which a member makes room for somebody else."""
BASELINE = "none"
"""Access of who sees no model."""
_ANSWERED = ("labels", "scores", "weights")
"""Accesses at which all that is seen follows from the weights of one training."""
_FIXED = "the paper's training file"
"""In the split protocol of such data, in records whose facts do not say ``fixed_split``."""
_MOST_EPSILON = 500.0  # e to this power is a finite number, and promises nothing

_UNPROVEN: Mapping[str, str] = {
    "class_representative": "No ceiling: the victim is a person with several pictures, and how "
    "well that face can be guessed from models without them is not known.",
    "training_instance": "No ceiling: a rebuilt record is compared with all members at once, and "
    "a guarantee for one record says nothing of all of them.",
    "deleted_record": "No ceiling: the attacker sees the models of several trainings, and the "
    "ledger is of one.",
    "gradient_reconstruction": "No ceiling: what clients share is seen before the noise that the "
    "ledger counts.",
}

_OTHER = (
    "No ceiling: what is proven is about shares of right guesses by labels, scores or weights, and "
    "the error of an estimate is none."
)
_SEVERAL = (
    "No ceiling: a person may have several records here; it is proven where everybody has one and "
    "the ledger protects it."
)
_CHOSEN = "No ceiling: the members are a paper's own and were not drawn at random."


def success(guarantees: Guarantees, without: ArrayLike, steps: int = 1) -> Floats:
    """The largest chance of success that is possible, ``1 - f(p)``.

    Args:
        guarantees: of the training.
        without: p, the chance of the same attacker where the data differ, in [0, 1].
        steps: from neighbour to neighbour, by which the data differ.

    Returns:
        At least p and at most 1, of the shape of ``without``.

    >>> float(success(((0.0, 0.25),), 0.5))
    0.75
    """
    p = np.asarray(without, dtype=float)
    slopes, offsets = _lines(guarantees)
    for _ in range(steps):
        p = np.clip((slopes * p[..., None] + offsets).min(axis=-1), p, 1.0)
    return p


@lru_cache(maxsize=4096)
def most_gap(guarantees: Guarantees, steps: int) -> float:
    """The largest ``1 - f(p) - p`` of all p: what ``steps`` neighbours can be told apart by.

    ``1 - f`` is piecewise linear, so the largest value is at one of its corners. f is its own
    inverse, because a guarantee holds in both directions.

    >>> most_gap(((0.0, 0.25),), 2)
    0.5
    """
    slopes, offsets = _lines(guarantees)
    crossed = [
        (offsets[b] - offsets[a]) / (slopes[a] - slopes[b])
        for a, b in combinations(range(len(slopes)), 2)
        if slopes[a] != slopes[b]
    ]
    corners = np.array([0.0, 1.0, *(p for p in crossed if 0 < p < 1)])
    found = [corners]
    for _ in range(steps - 1):
        corners = 1 - success(guarantees, 1 - corners)
        found.append(corners)
    at = np.concatenate(found)
    return float((success(guarantees, at, steps) - at).max())


def _lines(guarantees: Guarantees) -> tuple[Floats, Floats]:
    """Slopes and offsets of the lines below which ``1 - f`` lies."""
    epsilon, delta = np.array(guarantees, dtype=float).T
    epsilon = np.minimum(epsilon, _MOST_EPSILON)
    up, down = np.exp(epsilon), np.exp(-epsilon)
    slopes = np.concatenate([up, down, [0.0]])
    return slopes, np.concatenate([delta, 1 - down * (1 - delta), [1.0]])


def kept(ledger: PrivacyLedger) -> Guarantees:
    """What a ledger says that the training keeps: its budget, tuning included, and at epsilon 0."""
    epsilon = max(ledger.epsilon, ledger.epsilon_total or 0.0)
    pairs = [(epsilon, ledger.delta)]
    if ledger.advantage is not None:
        pairs.append((0.0, ledger.advantage))
    return tuple(pairs)


def of(record: TrialRecord) -> float | None:
    """The largest member gap M that any attacker can have on average in the place of a trial's.

    M compares a member with somebody who was not drawn. To exchange the two is to take one record
    out and put another in, for every record that one success tells of.

    Returns:
        In [0, 1], in the unit of M; None where the training claims no privacy or nothing is proven.
    """
    if record.privacy is None or record.score is None or record.score.M is None:
        return None
    if record.access == BASELINE or unproven(record):
        return None
    steps = _REPLACED[record.privacy.neighbour_relation]
    steps *= JUDGED[record.goal, record.score.metric]
    return most_gap(kept(record.privacy), steps)


def unproven(record: TrialRecord) -> str:
    """Why nothing is proven of the member gap of a private training; empty: it is, or no such."""
    ledger, score = record.privacy, record.score
    if ledger is None or score is None or score.M is None or record.access == BASELINE:
        return ""
    known = record.access in _ANSWERED and (record.goal, score.metric) in JUDGED
    facts = record.data.facts
    fixed = bool(facts.get("fixed_split")) or _FIXED in str(facts.get("split_protocol", ""))
    said = {
        _UNPROVEN.get(record.goal, _OTHER): not known,
        _SEVERAL: {record.data.privacy_unit, ledger.unit} != {"record"},
        _CHOSEN: fixed,
    }
    return next((sentence for sentence, holds in said.items() if holds), "")
