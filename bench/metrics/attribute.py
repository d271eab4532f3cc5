"""Is the sensitive attribute inferred, of members and of matched non-members (PROTOCOL 2.3)?

A category is judged by AUC, a number by the error of its estimate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
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
from bench.metrics import certainty, roc
from bench.metrics.roc import Bools, Floats, Ints

METRIC, NUMERIC = "auc", "mse_skill"
"""Headline metric of a category, and of a number."""
MIN_GROUP = 50
"""Fewest members of a subgroup that is looked at."""
MIN_NEGATIVES = 300
"""Below this many negatives a rate at 1 % false positives is a handful of records."""


def contrast(values: Tensor) -> Tensor:
    """Each candidate's score minus the mean of the others', ``[n, n_values]``.

    For two values that is the difference of their scores. For any number it ranks victims as the
    posterior itself does and, unlike a column of raw scores, it cannot be changed by adding a
    constant to all scores of one victim.
    """
    m = values.shape[1]
    return (m * values - values.sum(1, keepdim=True)) / (m - 1)


def _curves(scores: Floats, truth: Ints, inside: Bools) -> list[tuple[Ints, Ints]]:
    """Of every value against the rest, :func:`bench.metrics.roc.counts` of every group.

    Two values give one problem, the last value against the first: the other is its mirror.
    """
    values = range(scores.shape[1]) if scores.shape[1] > 2 else (1,)
    return [roc.counts(scores[:, v], truth == v, inside) for v in values]


def _macro_auc(curves: Sequence[tuple[Ints, Ints]]) -> Floats:
    """Mean area of the values that some but not all of a group have; NaN where none is so."""
    areas = np.stack([roc.area(*curve) for curve in curves])
    judged = ~np.isnan(areas)
    total = np.where(judged, areas, 0.0).sum(0)
    return np.where(judged.any(0), total / np.maximum(judged.sum(0), 1), np.nan)


def _ppv(curves: Sequence[tuple[Ints, Ints]], k: int) -> float:
    """Share of positives among the ``k`` highest-scored, ties at the cut by expectation."""
    shares = [np.interp(k, true + false, true) / k for true, false in curves]
    return float(np.mean(shares))


def _tpr(curves: Sequence[tuple[Ints, Ints]], fpr: float) -> float | None:
    """Highest true positive rate at a false positive rate of at most ``fpr``."""
    rates = [
        true[false / false[-1] <= fpr].max() / true[-1]
        for true, false in curves
        if false[-1] >= MIN_NEGATIVES
    ]
    return float(np.mean(rates)) if rates else None


def _groups(splits: Splits, victims: Victims, of: Tensor) -> tuple[list[str], Bools]:
    """Subgroups of the victims ``of`` (bool ``[n]``): the values of every category, the classes.

    Returns:
        Their names, ``column=value``, and who is in each (``[n_groups, n]``); those of at least 50
        victims.
    """
    x, y, card = victims.records.x, victims.records.y, splits.card
    assert card.sensitive is not None
    names = [f"class={name}" for name in card.class_names]
    inside = [y.unsqueeze(1) == torch.arange(len(names))]
    for field in card.fields:
        if field.kind == "category" and field.columns != card.sensitive.columns:
            start = field.columns[0]
            names += [f"{field.name}={name}" for name in field.values]
            inside.append(x[:, start : start + len(field.values)] > 0.5)
    who = (torch.cat(inside, 1).T & of).numpy()
    enough = np.flatnonzero(who.sum(1) >= MIN_GROUP)
    return [names[i] for i in enough], who[enough]


def _rarity(splits: Splits, victims: Victims) -> Tensor:
    """:func:`bench.metrics.certainty.rarity` ``[n]`` by all columns but those of the secret."""
    assert splits.card.sensitive is not None
    records, public = victims.records.x.float().cpu(), splits.public.x.float().cpu()
    return certainty.rarity(records, public, splits.card.sensitive.columns)


def _fifths(rarity: Tensor, ours: Bools) -> tuple[list[str], Bools]:
    """Figures of the fifths of the members by rarity, and who is in each; those of 50 or more."""
    fifth = np.zeros(len(ours), dtype=np.int64)
    fifth[ours] = certainty.fifth_of(rarity.numpy()[ours])
    many = [of for of in certainty.FIFTHS if (fifth == of).sum() >= MIN_GROUP]
    inside = fifth == np.array(many, dtype=np.int64).reshape(-1, 1)
    return [f"rarity_auc_{of}" for of in many], inside


def _guesses(true: Ints, said: Ints, n_values: int) -> dict[str, float]:
    """What the guess of the best-scored value gives, from one table of truth by guess."""
    table = np.bincount(true * n_values + said, minlength=n_values**2).astype(np.float64)
    table = table.reshape(n_values, n_values)
    right, held, named, n = table.diagonal(), table.sum(1), table.sum(0), table.sum()
    recall = right[held > 0] / held[held > 0]
    spread = (n**2 - held @ held) * (n**2 - named @ named)
    out = {
        "mcc": (right.sum() * n - held @ named) / np.sqrt(spread) if spread else 0.0,
        "g_mean": np.prod(recall) ** (1 / len(recall)),
        "accuracy": right.sum() / n,
        "majority_rate": held.max() / n,
    }
    if n_values == 2:
        out["precision"] = right[1] / max(named[1], 1)
        out["recall"] = right[1] / max(held[1], 1)
        out["f1"] = 2 * right[1] / max(held[1] + named[1], 1)
    return {name: float(value) for name, value in out.items()}


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
        ``tpr_at_fpr_1e-2`` where there are at least 300 negatives, ``auc[column=value]`` of
        every subgroup of 50 members or more, ``rarity_auc_1`` to ``rarity_auc_5`` of the fifths by
        rarity, likewise, and :func:`bench.metrics.certainty.figures`.
        Of a number: see :func:`_judge_number`.
        ``outcomes``: per victim ``member``, ``person``, ``truth``, ``guess``, ``rarity`` and of a
        category the contrasts ``score`` ``[n, n_values]``, of a number ``score``, ``base_error``
        (the squared error of the guess, negated, and of the public mean).

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
    ours = member.numpy()
    rarity = _rarity(truth.splits, victims)
    names, groups = _groups(truth.splits, victims, member)
    fifths, by_rarity = _fifths(rarity, ours)
    curves = _curves(scores.numpy(), s.numpy(), np.vstack([ours, ~ours, groups, by_rarity]))
    areas = _macro_auc(curves)
    require(
        not np.isnan(areas[:2]).any(),
        "All victims have the same sensitive value, so its inference cannot be scored; "
        "use more records or another sensitive attribute.",
    )
    held = [(true[0], false[0]) for true, false in curves if true[0, -1] and false[0, -1]]
    n = int(ours.sum())
    extra = {
        "ppv_top_10pct": _ppv(held, max(1, round(n / 10))),
        **{f"ppv_top_{k}": _ppv(held, k) for k in (10, 50, 100) if k <= n},
        **_guesses(s[member].numpy(), guess[member].numpy(), values.shape[1]),
    }
    tpr = _tpr(held, 0.01)
    if tpr is not None:
        extra["tpr_at_fpr_1e-2"] = tpr
    named = [*(f"auc[{name}]" for name in names), *fifths]
    found = zip(named, areas[2:].tolist(), strict=True)
    extra |= {name: auc for name, auc in found if not np.isnan(auc)}
    outcomes = {"member": member, "truth": s, "guess": guess, "score": scores, "rarity": rarity}
    outcomes["person"] = victims.records.person.cpu()
    return Score(
        metric=METRIC,
        value=float(areas[0]),
        members=float(areas[0]),
        nonmembers=float(areas[1]),
        ceiling=1.0,
        victims=int(member.sum()),
        extra=extra | certainty.figures(outcomes),
        outcomes=outcomes,
    )


def estimate(values: Tensor, sensitive: Sensitive) -> Tensor:
    """What scores per candidate say of a number, in encoded units ``[n]``.

    A row that is a distribution is read by its mean, which has the least squared error; any other
    by its best candidate.
    """
    codes = torch.tensor(sensitive.codes, dtype=values.dtype).squeeze(1)
    return torch.where(_distributions(values), values @ codes, codes[values.argmax(1)])


def _distributions(values: Tensor) -> Tensor:
    """Which rows of scores ``[n, m]`` are a distribution over the candidates: bool ``[n]``."""
    return (values >= 0).all(1) & torch.isclose(values.sum(1), values.new_ones(()), atol=1e-6)


def _judge_number(values: Tensor, sensitive: Sensitive, victims: Victims, truth: Truth) -> Score:
    """Judge estimates of a number: ``s = 1 - MSE / MSE(public mean)``, clipped to [0, 1].

    With the imputer as baseline ``L = 1 - MSE / MSE(imputer)`` follows. ``extra``: both sides
    unclipped and, of members, ``mae`` in standard deviations of the public records,
    ``within_0.319``, the share of estimates within .319 of them (TabLeak's tolerance), and where
    all rows are distributions :func:`bench.metrics.certainty.figures`; then ``outcomes`` hold the
    ``confidence`` of every estimate, the probability within .319 of it.
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
    outcomes = {"member": member, "truth": true, "guess": found, "score": -error}
    outcomes["base_error"] = base
    outcomes["person"] = victims.records.person.cpu()
    outcomes["rarity"] = _rarity(truth.splits, victims)
    if bool(_distributions(values).all()):
        codes = torch.tensor(sensitive.codes, dtype=values.dtype).squeeze(1)
        near = (codes - found.unsqueeze(1)).abs() <= certainty.TOLERANCE
        outcomes["confidence"] = (values * near).sum(1)
    return Score(
        metric=NUMERIC,
        value=min(1.0, max(0.0, ours)),
        members=min(1.0, max(0.0, ours)),
        nonmembers=min(1.0, max(0.0, others)),
        ceiling=1.0,
        victims=int(member.sum()),
        extra={
            "skill_members": ours,
            "skill_nonmembers": others,
            "mae": float(off.mean()),
            "within_0.319": float((off <= certainty.TOLERANCE).double().mean()),
            **certainty.figures(outcomes),
        },
        outcomes=outcomes,
    )
