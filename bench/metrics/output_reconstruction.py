"""Does an answer give away the basket it was about? F1 of a fixed-size guess (PROTOCOL 2.4)."""

from __future__ import annotations

import torch
from scipy.stats import rankdata
from torch import Tensor

from bench.contract import DivergedError, Reconstruction, Score, Truth, require

METRIC = "f1_at_k"


def guess_size(public: Tensor) -> int:
    """k: the rounded mean size of the public baskets ``[n, n_items]``, never from a victim."""
    return min(public.shape[1], max(1, round(float(public.sum(1).mean()))))


def guessed(scores: Tensor, k: int) -> Tensor:
    """How much of each item is in a guess of ``k`` items: 1 or 0, items tied at the cut share.

    A fixed order among equal scores would reward an attack for the order of the catalogue; the
    shares give every later count its expectation over random tie-breaks.

    Args:
        scores: ``[n, n_items]``, larger is likelier.
        k: items guessed per basket, 1 to n_items.

    Returns:
        ``[n, n_items]`` in [0, 1], every row sums to ``k``.
    """
    cut = scores.topk(k, 1).values[:, -1:]
    above, tied = scores > cut, scores == cut
    left = k - above.sum(1, keepdim=True)
    return above.double() + tied.double() * left / tied.sum(1, keepdim=True)


def item_auc(scores: Tensor, x: Tensor) -> Tensor:
    """AUC of a basket's items against the others ``[n]``; NaN for an empty or full basket."""
    ranks = torch.from_numpy(rankdata(scores.numpy(), axis=1))
    bought = x.sum(1)
    above = (ranks * x).sum(1) - bought * (bought + 1) / 2
    return above / (bought * (x.shape[1] - bought))


def score(reconstruction: Reconstruction, truth: Truth) -> Score:
    """Judge a score per item for every victim.

    Every victim's guess has the same size k, the rounded mean of the public baskets, so nothing
    about a victim's basket enters. The ceiling is what the same guess of k items scores when it is
    made from the private truth itself: ``2 min(|T|, k) / (|T| + k)``, averaged over members. It
    is below 1 because a fixed k cannot fit every basket, and no attack can exceed it.
    Per-item (Hamming) accuracy is not reported: guessing nothing has more than 90 % of it.

    Args:
        reconstruction: ``values`` ``[n, n_items]``, larger is likelier.
        truth: with ``victims``.

    Returns:
        ``members`` and ``nonmembers``: mean F1 of each side; ``value`` is ``members``.
        ``extra``: of members: ``precision_at_k``, ``recall_at_k``, ``jaccard``, ``item_auc``,
        ``f1_sensitive`` (pooled over members, sensitive items only, if the card lists any), and
        ``k``. ``outcomes``: per victim ``member``, ``size``, ``f1``, ``item_auc``.

    Raises:
        DivergedError: the reconstruction holds NaN or Inf.
        UserError: it has another shape than one score per victim and item.
    """
    require(truth.victims is not None, f"The metric '{METRIC}' needs victims.")
    assert truth.victims is not None
    x, member = truth.victims.records.x.double().cpu(), truth.victims.member.cpu()
    values = reconstruction.values.detach().double().cpu()
    require(
        values.shape == x.shape,
        f"The attack returned values of shape {tuple(values.shape)}; the metric '{METRIC}' needs "
        f"one score per victim and item, {tuple(x.shape)}.",
    )
    if not bool(torch.isfinite(values).all()):
        raise DivergedError("The attack's reconstruction holds NaN or Inf.")

    k = guess_size(truth.splits.public.x)
    guess = guessed(values, k)
    size = x.sum(1)
    hits = (guess * x).sum(1)
    f1 = 2 * hits / (size + k)
    ceiling = 2 * size.clamp_max(k) / (size + k)
    auc = item_auc(values, x)
    counted = member & torch.isfinite(auc)

    extra = {
        "k": float(k),
        "precision_at_k": float((hits / k)[member].mean()),
        "recall_at_k": float((hits / size.clamp_min(1))[member].mean()),
        "jaccard": float((hits / (size + k - hits))[member].mean()),
    }
    if bool(counted.any()):
        extra["item_auc"] = float(auc[counted].mean())
    items = list(truth.splits.card.sensitive_items)
    if items:
        found, bought = guess[member][:, items], x[member][:, items]
        pooled = float(found.sum() + bought.sum())
        extra["f1_sensitive"] = 2 * float((found * bought).sum()) / pooled if pooled else 0.0
    return Score(
        metric=METRIC,
        value=float(f1[member].mean()),
        members=float(f1[member].mean()),
        nonmembers=float(f1[~member].mean()),
        ceiling=float(ceiling[member].mean()),
        extra=extra,
        outcomes={
            "member": member,
            "size": size.long(),
            "f1": f1,
            "item_auc": torch.nan_to_num(auc, nan=0.5),
        },
    )
