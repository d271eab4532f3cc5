"""Is the sensitive attribute inferred? AUC over members and matched non-members (PROTOCOL 2.3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import matthews_corrcoef, recall_score, roc_auc_score, roc_curve
from torch import Tensor

from bench.contract import DivergedError, Reconstruction, Score, Truth, require

METRIC = "auc"
MIN_NEGATIVES = 300
"""Below this many negatives a rate at 1 % false positives is a handful of records."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def contrast(values: Tensor) -> Tensor:
    """Each candidate's score minus the mean of the others', ``[n, n_values]``.

    For two values that is the difference of their scores. For any number it ranks victims as the
    posterior itself does and, unlike a column of raw scores, it cannot be changed by adding a
    constant to all scores of one victim.
    """
    m = values.shape[1]
    return (m * values - values.sum(1, keepdim=True)) / (m - 1)


def _one_vs_rest(scores: Floats, truth: Ints) -> Iterator[tuple[Floats, npt.NDArray[np.bool_]]]:
    """Score and truth of every value that some but not all victims have.

    Two values give one problem, the last value against the first: the other is its mirror.
    """
    columns = range(scores.shape[1]) if scores.shape[1] > 2 else (1,)
    for v in columns:
        positive = truth == v
        if positive.any() and not positive.all():
            yield scores[:, v], positive


def macro_auc(scores: Floats, truth: Ints) -> float:
    """AUC, one-vs-rest and averaged over the values where there are more than two.

    Args:
        scores: ``[n, n_values]``.
        truth: ``[n]``.

    Raises:
        UserError: all victims have the same value.
    """
    auc = [float(roc_auc_score(p, s)) for s, p in _one_vs_rest(scores, truth)]
    require(
        len(auc) > 0,
        "All victims have the same sensitive value, so its inference cannot be scored; "
        "use more records or another sensitive attribute.",
    )
    return float(np.mean(auc))


def _ppv(scores: Floats, truth: Ints, k: int) -> float:
    """Share of positives among the ``k`` highest-scored, ties at the cut by expectation."""
    shares = []
    for s, positive in _one_vs_rest(scores, truth):
        cut = np.partition(s, len(s) - k)[len(s) - k]
        above, tied = s > cut, s == cut
        hits = positive[above].sum() + positive[tied].mean() * (k - above.sum())
        shares.append(hits / k)
    return float(np.mean(shares))


def _tpr(scores: Floats, truth: Ints, fpr: float) -> float | None:
    """Highest true positive rate at a false positive rate of at most ``fpr``."""
    rates = []
    for s, positive in _one_vs_rest(scores, truth):
        if (~positive).sum() >= MIN_NEGATIVES:
            false, true, _ = roc_curve(positive, s, drop_intermediate=False)
            rates.append(true[false <= fpr].max())
    return float(np.mean(rates)) if rates else None


def score(reconstruction: Reconstruction, truth: Truth) -> Score:
    """Judge a score per candidate value for every victim.

    Args:
        reconstruction: ``values`` ``[n, n_values]``, larger is likelier.
        truth: with ``victims`` whose ``s`` is known.

    Returns:
        ``members`` and ``nonmembers``: AUC of :func:`contrast` on each side, macro one-vs-rest for
        more than two values; ``value`` is ``members``, ``ceiling`` 1. ``extra``: of members:
        ``ppv_top_10pct`` and ``ppv_top_10`` (share of right guesses among the highest-scored;
        for two values of the last value, for more the macro average), of the guess of the
        best-scored value ``mcc``, ``g_mean`` (geometric mean of the recalls of all values) and
        ``accuracy``, beside ``majority_rate``, and ``tpr_at_fpr_1e-2`` where there are at least
        300 negatives. ``outcomes``: per victim ``member``, ``truth``, ``guess`` and the contrasts
        ``score`` ``[n, n_values]``.

    Raises:
        DivergedError: the reconstruction holds NaN or Inf.
        UserError: it has another shape than one score per victim and value, or all members have
            the same value.
    """
    sensitive, victims = truth.splits.card.sensitive, truth.victims
    require(
        sensitive is not None and victims is not None and victims.records.s is not None,
        f"The metric '{METRIC}' needs victims with a sensitive attribute.",
    )
    assert sensitive is not None and victims is not None and victims.records.s is not None
    values = reconstruction.values.detach().double().cpu()
    s, member = victims.records.s.cpu(), victims.member.cpu()
    wanted = (len(s), len(sensitive.values))
    require(
        tuple(values.shape) == wanted,
        f"The attack returned values of shape {tuple(values.shape)}; the metric '{METRIC}' needs "
        f"one score per victim and candidate value, {wanted}.",
    )
    if not bool(torch.isfinite(values).all()):
        raise DivergedError("The attack's reconstruction holds NaN or Inf.")

    scores, guess = contrast(values), values.argmax(1)
    ours, true, said = scores[member].numpy(), s[member].numpy(), guess[member].numpy()
    value = macro_auc(ours, true)
    recall = recall_score(true, said, labels=np.unique(true), average=None, zero_division=0.0)
    extra = {
        "ppv_top_10pct": _ppv(ours, true, max(1, round(len(ours) / 10))),
        "ppv_top_10": _ppv(ours, true, min(10, len(ours))),
        "mcc": float(matthews_corrcoef(true, said)),
        "g_mean": float(np.prod(recall) ** (1 / len(recall))),
        "accuracy": float((said == true).mean()),
        "majority_rate": float(np.bincount(true).max() / len(true)),
    }
    tpr = _tpr(ours, true, 0.01)
    if tpr is not None:
        extra["tpr_at_fpr_1e-2"] = tpr
    return Score(
        metric=METRIC,
        value=value,
        members=value,
        nonmembers=macro_auc(scores[~member].numpy(), s[~member].numpy()),
        ceiling=1.0,
        extra=extra,
        outcomes={"member": member, "truth": s, "guess": guess, "score": scores},
    )
