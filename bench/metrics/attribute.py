"""Is the sensitive attribute inferred, of members and of matched non-members (PROTOCOL 2.3)?

A category is judged by AUC, a number by the error of its estimate.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import (
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)
from torch import Tensor

from bench.contract import (
    DivergedError,
    Reconstruction,
    Score,
    Sensitive,
    Splits,
    Truth,
    Victims,
    require,
)

METRIC, NUMERIC = "auc", "mse_skill"
"""Headline metric of a category, and of a number."""
MIN_GROUP = 50
"""Fewest members of a subgroup that is looked at."""
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


def groups(splits: Splits, victims: Victims, of: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Subgroups of the victims ``of`` (bool ``[n]``): the values of every category, the classes.

    Yields:
        A name, ``column=value``, and who is in it (bool ``[n]``): at least 50 of them, and two
        different sensitive values.
    """
    x, y, s = victims.records.x, victims.records.y, victims.records.s
    assert s is not None and splits.card.sensitive is not None
    found = [(f"class={name}", of & (y == i)) for i, name in enumerate(splits.card.class_names)]
    for field in splits.card.fields:
        if field.kind == "category" and field.columns != splits.card.sensitive.columns:
            start = field.columns[0]
            found += [
                (f"{field.name}={name}", of & (x[:, start + i] > 0.5))
                for i, name in enumerate(field.values)
            ]
    for name, inside in found:
        if int(inside.sum()) >= MIN_GROUP and len(torch.unique(s[inside])) > 1:
            yield name, inside


def score(reconstruction: Reconstruction, truth: Truth) -> Score:
    """Judge a score per candidate value for every victim.

    Args:
        reconstruction: ``values`` ``[n, n_values]``, larger is likelier.
        truth: with ``victims`` whose ``s`` is known.

    Returns:
        Of a category: ``members`` and ``nonmembers``: AUC of :func:`contrast` on each side, macro
        one-vs-rest for more than two values; ``value`` is ``members``, ``ceiling`` 1. ``extra``, of
        members: ``ppv_top_10pct``, ``ppv_top_10``, ``ppv_top_50`` and ``ppv_top_100`` (share of
        right guesses among the highest-scored; for two values of the last value, for more the macro
        average; left out where there are fewer members), of the guess of the best-scored value
        ``mcc``, ``g_mean`` (geometric mean of the recalls of all values) and ``accuracy``, beside
        ``majority_rate``, for two values ``precision``, ``recall`` and ``f1`` of the last one,
        ``tpr_at_fpr_1e-2`` where there are at least 300 negatives, and ``auc[column=value]`` of
        every subgroup of 50 members or more.
        Of a number: see :func:`_judge_number`.
        ``outcomes``: per victim ``member``, ``truth``, ``guess`` and the contrasts ``score``
        ``[n, n_values]``.

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
    s = victims.records.s.cpu()
    wanted = (len(s), len(sensitive.values))
    require(
        tuple(values.shape) == wanted,
        f"The attack returned values of shape {tuple(values.shape)}; the metric '{METRIC}' needs "
        f"one score per victim and candidate value, {wanted}.",
    )
    if not bool(torch.isfinite(values).all()):
        raise DivergedError("The attack's reconstruction holds NaN or Inf.")
    if sensitive.numeric:
        return _judge_number(values, sensitive, victims, truth)
    return _judge_category(values, s, victims, truth)


def _judge_category(values: Tensor, s: Tensor, victims: Victims, truth: Truth) -> Score:
    member = victims.member.cpu()
    scores, guess = contrast(values), values.argmax(1)
    ours, true, said = scores[member].numpy(), s[member].numpy(), guess[member].numpy()
    value = macro_auc(ours, true)
    recall = recall_score(true, said, labels=np.unique(true), average=None, zero_division=0.0)
    extra = {
        "ppv_top_10pct": _ppv(ours, true, max(1, round(len(ours) / 10))),
        **{f"ppv_top_{k}": _ppv(ours, true, k) for k in (10, 50, 100) if k <= len(ours)},
        "mcc": float(matthews_corrcoef(true, said)),
        "g_mean": float(np.prod(recall) ** (1 / len(recall))),
        "accuracy": float((said == true).mean()),
        "majority_rate": float(np.bincount(true).max() / len(true)),
    }
    if values.shape[1] == 2:
        last = {"labels": [1], "average": "macro", "zero_division": 0.0}
        extra["precision"] = float(precision_score(true, said, **last))
        extra["recall"] = float(recall_score(true, said, **last))
        extra["f1"] = float(f1_score(true, said, **last))
    tpr = _tpr(ours, true, 0.01)
    if tpr is not None:
        extra["tpr_at_fpr_1e-2"] = tpr
    for name, inside in groups(truth.splits, victims, member):
        extra[f"auc[{name}]"] = macro_auc(scores[inside].numpy(), s[inside].numpy())
    return Score(
        metric=METRIC,
        value=value,
        members=value,
        nonmembers=macro_auc(scores[~member].numpy(), s[~member].numpy()),
        ceiling=1.0,
        extra=extra,
        outcomes={"member": member, "truth": s, "guess": guess, "score": scores},
    )


def estimate(values: Tensor, sensitive: Sensitive) -> Tensor:
    """What scores per candidate say of a number, in encoded units ``[n]``.

    A row that is a distribution is read by its mean, which has the least squared error; any other
    by its best candidate.
    """
    codes = torch.tensor(sensitive.codes, dtype=values.dtype).squeeze(1)
    shares = (values >= 0).all(1) & torch.isclose(values.sum(1), values.new_ones(()), atol=1e-6)
    return torch.where(shares, values @ codes, codes[values.argmax(1)])


def _judge_number(values: Tensor, sensitive: Sensitive, victims: Victims, truth: Truth) -> Score:
    """Judge estimates of a number: ``s = 1 - MSE / MSE(public mean)``, clipped to [0, 1].

    With the imputer as baseline ``L = 1 - MSE / MSE(imputer)`` follows. ``extra``: both sides
    unclipped and, of members, ``mae`` in standard deviations of the public records and
    ``within_0.319``, the share of estimates within .319 of them (TabLeak's tolerance).
    """
    start = sensitive.columns[0]
    true, member = victims.records.x[:, start].double().cpu(), victims.member.cpu()
    found = estimate(values, sensitive)
    blank = truth.splits.public.x[:, start].double().mean().cpu()
    error, base = (found - true).square(), (blank - true).square()

    def skill(side: Tensor) -> float:
        return 1 - float(error[side].mean() / base[side].mean().clamp_min(1e-12))

    ours, others = skill(member), skill(~member)
    off = (found - true).abs()[member]
    return Score(
        metric=NUMERIC,
        value=min(1.0, max(0.0, ours)),
        members=min(1.0, max(0.0, ours)),
        nonmembers=min(1.0, max(0.0, others)),
        ceiling=1.0,
        extra={
            "skill_members": ours,
            "skill_nonmembers": others,
            "mae": float(off.mean()),
            "within_0.319": float((off <= 0.319).double().mean()),
        },
        outcomes={"member": member, "truth": true, "guess": found, "score": -error},
    )
