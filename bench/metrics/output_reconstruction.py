"""Does an answer give away the record it was about (PROTOCOL 2.2, 2.4)?

A basket is judged by the F1 of a fixed-size guess, an image by how much nearer it is than the mean
public image.
"""

from __future__ import annotations

import torch
from scipy.stats import rankdata
from torch import Tensor

from bench.contract import DivergedError, Reconstruction, Score, Truth, Victims, require, sparse
from bench.metrics import evaluators, images

BASKETS, IMAGES = "f1_at_k", "mse_skill"
"""Headline metric of each modality."""


def score(reconstruction: Reconstruction, truth: Truth) -> Score:
    """Judge one reconstruction per victim, by the data's modality.

    Args:
        reconstruction: ``values`` ``[n, *shape]``, one row per victim, or one row that is said of
            every victim.
        truth: with ``victims``.

    Raises:
        DivergedError: the reconstruction holds NaN or Inf.
        UserError: it has another shape than the victims' records, or there are no victims.
    """
    image = truth.splits.card.modality == "image"
    metric = IMAGES if image else BASKETS
    require(truth.victims is not None, f"The metric '{metric}' needs victims.")
    assert truth.victims is not None
    values = reconstruction.values.detach().cpu()
    if len(values) == 1:
        values = values.expand(len(truth.victims.records), *values.shape[1:]).contiguous()
    found, wanted = tuple(values.shape), tuple(truth.victims.records.x.shape)
    require(
        found == wanted,
        f"The attack returned values of shape {found}; the metric '{metric}' needs one "
        f"{'image' if image else 'score per item'} per victim, {wanted}.",
    )
    if not bool(torch.isfinite(values).all()):
        raise DivergedError("The attack's reconstruction holds NaN or Inf.")
    judge = _judge_images if image else _judge_baskets
    return judge(values, truth, truth.victims)


# ---------------------------------------------------------------- baskets


def guess_size(public: Tensor) -> int:
    """k: the rounded mean size of the public baskets ``[n, n_items]``, never from a victim."""
    return min(public.shape[1], max(1, round(float(sparse.sums(public, 1).mean()))))


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


def sensitive_auc(scores: Tensor, x: Tensor) -> float | None:
    """How well the score of an item tells its buyers from the other victims.

    Unlike the AUC of a basket's items it compares people, not items: what makes an item popular
    with everyone counts for nothing.

    Args:
        scores: ``[n, items]`` of the sensitive items.
        x: which of them were bought, 0/1, the same shape.

    Returns:
        The mean AUC over items with buyers and others; None where there is no such item.
    """
    auc = item_auc(scores.T, x.T)
    judged = auc[torch.isfinite(auc)]
    return float(judged.mean()) if len(judged) else None


def _judge_baskets(values: Tensor, truth: Truth, victims: Victims) -> Score:
    """Judge a score per item for every victim.

    Every victim's guess has the same size k, the rounded mean of the public baskets, so nothing
    about a victim's basket enters. The ceiling is what the same guess of k items scores when it is
    made from the private truth itself: ``2 min(|T|, k) / (|T| + k)``, averaged over members. It
    is below 1 because a fixed k cannot fit every basket, and no attack can exceed it.
    Per-item (Hamming) accuracy is not reported: guessing nothing has more than 90 % of it.

    Args:
        values: ``[n, n_items]``, larger is likelier.
        truth: the splits.
        victims: whose baskets were guessed.

    Returns:
        ``members`` and ``nonmembers``: mean F1 of each side; ``value`` is ``members``.
        ``extra``: of members: ``precision_at_k``, ``recall_at_k``, ``jaccard``, ``item_auc``,
        if the card lists sensitive items ``f1_sensitive`` (those only, pooled over members) and
        ``auc_sensitive`` (:func:`sensitive_auc`), with ``auc_sensitive_nonmembers``; and ``k``.
        ``outcomes``: per victim ``member``, ``size``, ``f1``, ``item_auc``.
    """
    member, k = victims.member.cpu(), guess_size(truth.splits.public.x)
    items = list(truth.splits.card.sensitive_items)
    judged = [
        _judged(part, x, k, items)
        for part, x in zip(
            *(torch.split(t, _rows(values.shape[1])) for t in (values, victims.records.x.cpu())),
            strict=True,
        )
    ]
    size, hits, auc, guess = (torch.cat(column) for column in zip(*judged, strict=True))
    f1 = 2 * hits / (size + k)
    ceiling = 2 * size.clamp_max(k) / (size + k)
    counted = member & torch.isfinite(auc)

    extra = {
        "k": float(k),
        "precision_at_k": float((hits / k)[member].mean()),
        "recall_at_k": float((hits / size.clamp_min(1))[member].mean()),
        "jaccard": float((hits / (size + k - hits))[member].mean()),
    }
    if bool(counted.any()):
        extra["item_auc"] = float(auc[counted].mean())
    if items:
        values, x = (t[:, items].double() for t in (values, victims.records.x.cpu()))
        found, bought = guess[member], x[member]
        pooled = float(found.sum() + bought.sum())
        extra["f1_sensitive"] = 2 * float((found * bought).sum()) / pooled if pooled else 0.0
        for name, side in (("auc_sensitive", member), ("auc_sensitive_nonmembers", ~member)):
            told = sensitive_auc(values[side], x[side])
            if told is not None:
                extra[name] = told
    return Score(
        metric=BASKETS,
        value=float(f1[member].mean()),
        members=float(f1[member].mean()),
        nonmembers=float(f1[~member].mean()),
        ceiling=float(ceiling[member].mean()),
        victims=int(member.sum()),
        extra=extra,
        outcomes={
            "member": member,
            "size": size.long(),
            "f1": f1,
            "item_auc": torch.nan_to_num(auc, nan=0.5),
        },
    )


def _rows(n_items: int) -> int:
    """Victims that are judged at a time: all of them in catalogues of ordinary size."""
    return max(1, 2**24 // n_items)


def _judged(
    values: Tensor, x: Tensor, k: int, items: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Basket size, hits and AUC ``[n]`` of victims, and the guess of some items, in float64."""
    values, x = values.double(), x.double()
    guess = guessed(values, k)
    return x.sum(1), (guess * x).sum(1), item_auc(values, x), guess[:, items]


# ---------------------------------------------------------------- images
@torch.no_grad()
def _judge_images(values: Tensor, truth: Truth, victims: Victims) -> Score:
    """Judge one image per victim by its squared error against the mean public image's.

    ``s = 1 - MSE / MSE(mean public image)``, a ratio of means over each side's own victims, so
    that a side that is harder to guess for everyone counts no worse. With the label-only class
    mean as baseline, ``L = 1 - MSE / MSE(label-only)`` follows.

    Scores lie in [0, 1]: an attack worse than the mean public image gets 0, for its attacker
    would have kept that image and lost nothing. The floor is the baselines' too, so L compares
    like with like, but the mean over repeats of an attack that hovers around 0 comes out slightly
    high. ``extra`` keeps both sides unclamped.

    Args:
        values: ``[n, c, h, w]``; clipped to [0, 1] before it is judged.
        truth: the splits and, where labels are people, the fitted committee.
        victims: whose images were guessed.

    Returns:
        ``members`` and ``nonmembers``: s of each side; ``value`` is ``members``. The ceiling is 1.
        ``extra``: ``skill_members`` and ``skill_nonmembers`` (unclamped); of members ``mse``,
        ``psnr`` (dB), ``ssim``, ``mse_public_mean``; ``mse_nonmembers``; where a person is the
        privacy unit, the committee's identity accuracy rank 1 (``identity``,
        ``identity_nonmembers``) and each evaluator's for members (``identity_cnn``, ...).
        A victim is judged by the committee that has seen the other side's pictures of the same
        person, so that no judge knows the record. ``outcomes``: per victim ``member``,
        ``target``, ``mse``, ``mse_public_mean``, ``psnr``, ``ssim`` and ``success`` (identity).
    """
    x, y = victims.records.x.float().cpu(), victims.records.y.cpu()
    member, splits = victims.member.cpu(), truth.splits
    values = values.float().clamp(0.0, 1.0)
    blank = splits.public.x.float().cpu().mean(0).expand_as(x)
    error, base = images.mse(values, x).double(), images.mse(blank, x).double()
    psnr, ssim = images.psnr(values, x), images.ssim(values, x)

    def skill(side: Tensor) -> float:
        return 1 - float(error[side].mean() / base[side].mean().clamp_min(1e-12))

    extra = {
        "skill_members": skill(member),
        "skill_nonmembers": skill(~member),
        "mse": float(error[member].mean()),
        "mse_nonmembers": float(error[~member].mean()),
        "mse_public_mean": float(base[member].mean()),
        "psnr": float(psnr[member].mean()),
        "ssim": float(ssim[member].mean()),
    }
    outcomes = {
        "member": member,
        "target": y,
        "mse": error,
        "mse_public_mean": base,
        "psnr": psnr,
        "ssim": ssim,
    }
    if splits.card.privacy_unit == "person" and truth.evaluator:
        outcomes["success"], named = _identified(values, y, member, truth)
        extra["identity"] = float(outcomes["success"][member].float().mean())
        extra["identity_nonmembers"] = float(outcomes["success"][~member].float().mean())
        extra |= {f"identity_{k}": float(hit[member].float().mean()) for k, hit in named.items()}
    return Score(
        metric=IMAGES,
        value=min(1.0, max(0.0, extra["skill_members"])),
        members=min(1.0, max(0.0, extra["skill_members"])),
        nonmembers=min(1.0, max(0.0, extra["skill_nonmembers"])),
        ceiling=1.0,
        victims=int(victims.member.sum()),
        extra=extra,
        outcomes=outcomes,
    )


def _identified(
    x: Tensor, y: Tensor, member: Tensor, truth: Truth
) -> tuple[Tensor, dict[str, Tensor]]:
    """Whether the committee recognises the person ``y``, and which evaluators do: bool ``[n]``.

    Pictures of members are judged by the committee that has seen the held-out pictures of the same
    people, and held-out pictures by the one that has seen members: no judge knows the record.
    """
    sides = [
        evaluators.judge(evaluators.refitted(truth.evaluator, side), x)
        for side in (evaluators.OTHERS, evaluators.MEMBERS)
    ]
    both = [evaluators.committee(scores, y) for scores in sides]
    right = [{k: evaluators.named(v) == y for k, v in scores.items()} for scores in sides]
    each = {k: torch.where(member, right[0][k], right[1][k]) for k in right[0]}
    return torch.where(member, both[0], both[1]), each
