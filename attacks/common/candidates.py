"""Asking a deployment about every value a sensitive attribute could have, in one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.contract import Exposure, Knowledge, Sensitive, Split, generator, require

CELLS = 2**28
"""Numbers that one batch of completed records may hold: 1 GiB."""


def attacked(knowledge: Knowledge) -> tuple[Sensitive, Split]:
    """The sensitive attribute and the victims' partial records.

    Raises:
        UserError: the data set has no sensitive attribute.
    """
    sensitive, partial = knowledge.card.sensitive, knowledge.partial
    require(
        sensitive is not None and partial is not None,
        f"Data set '{knowledge.card.name}' declares no sensitive attribute to infer. "
        "Choose a data set whose goals name 'attribute'.",
    )
    assert sensitive is not None and partial is not None
    return sensitive, partial


def ask_scores(exposure: Exposure, knowledge: Knowledge) -> Tensor:
    """Released scores ``[n, n_values, width]``; one query per victim and value.

    What whoever knows the defense can undo is undone (K4).
    """
    return undone(ask_each(exposure.scores, knowledge), knowledge.defense)


def undone(scores: Tensor, defense: Sequence[Mapping[str, Any]]) -> Tensor:
    """Scores before the last layers of a defense that have an inverse: a temperature.

    Args:
        scores: of classes, ``[..., width]``, as released.
        defense: the layers in order, each with ``_target_`` and its options.
    """
    for layer in reversed(defense):
        if layer["_target_"] != "defenses.temperature.Temperature":
            break
        scores = torch.softmax(layer["temperature"] * scores.double().log(), -1).to(scores.dtype)
    return scores


def ask_labels(exposure: Exposure, knowledge: Knowledge) -> Tensor:
    """Released labels int64 ``[n, n_values]``; one query per victim and value."""
    return ask_each(exposure.labels, knowledge)


def ask_each(ask: Callable[[Tensor], Tensor], knowledge: Knowledge) -> Tensor:
    """What ``ask`` says of every victim completed with every value, ``[n, n_values, ...]``.

    One call, unless the completed records would not fit in memory.

    Args:
        ask: maps records ``[m, d]`` to ``[m, ...]``.
        knowledge: with the victims' partial records.
    """
    sensitive, partial = attacked(knowledge)
    m, width = len(sensitive.values), partial.x.shape[1]
    said = [
        ask(sensitive.candidates(part).flatten(0, 1))
        for part in partial.x.split(max(1, CELLS // (m * width)))
    ]
    out = torch.cat(said)
    return out.view(len(partial), m, *out.shape[1:])


def value_prior(knowledge: Knowledge) -> Tensor:
    """Share of every value among the public records, plus one each: float64 ``[n_values]``."""
    sensitive, partial = attacked(knowledge)
    s = knowledge.public.s
    require(
        s is not None,
        f"The public records of '{knowledge.card.name}' lack the sensitive attribute, so its "
        "prior is unknown; keep 's' in the public split.",
    )
    assert s is not None
    count = torch.bincount(s, minlength=len(sensitive.values)).double().to(partial.x.device) + 1
    return count / count.sum()


def imputed(knowledge: Knowledge) -> Tensor:
    """The imputer's probabilities, float64 ``[n, n_values]``.

    Raises:
        UserError: the attack's options name no imputer.
    """
    _, partial = attacked(knowledge)
    require(
        "probabilities" in knowledge.prior,
        "The attack needs an imputer; add 'prior: {_target_: attacks.common.imputers.Imputer}'.",
    )
    return knowledge.prior["probabilities"].to(partial.x.device, torch.float64)


def break_ties(values: Tensor, seed: int) -> Tensor:
    """``values`` ``[n, n_values]`` in which no row has two best ones.

    Which of equal values wins follows from ``seed`` alone; rows without a tie are left as they
    are. What is added, at most 1e-9, is below the resolution of a float32 answer.
    """
    best = values == values.amax(1, keepdim=True)
    tied = best & (best.sum(1, keepdim=True) > 1)
    draw = torch.rand(values.shape, generator=generator(seed), dtype=torch.float64)
    return values + 1e-9 * draw.to(values.device) * tied


def likelihood(scores: Tensor, y: Tensor) -> Tensor:
    """``p(y | x_v)`` as far as the released scores tell, in [0, 1].

    Scores that a deployment withheld (zeros of a top-k answer) share what the answer leaves of 1,
    so that the top score of two classes still gives the other one exactly.

    Args:
        scores: ``[n, n_values, n_classes]``, non-negative, possibly truncated, rounded or noisy.
        y: int64 ``[n]``, the victims' true labels.

    Returns:
        float64 ``[n, n_values]``.
    """
    p = torch.nan_to_num(scores.double(), nan=0.0).clamp(0.0, 1.0)
    withheld = p == 0
    left = (1.0 - p.sum(2, keepdim=True)).clamp_min(0.0) / withheld.sum(2, keepdim=True).clamp_min(
        1
    )
    p = torch.where(withheld, left, p)
    return p.gather(2, y.view(-1, 1, 1).expand(-1, p.shape[1], 1)).squeeze(2)


def cases(right: Tensor) -> dict[str, float]:
    """Share of victims in each case of Mehnaz et al.

    Args:
        right: bool ``[n, n_values]``, whether the value makes the target predict the true label.
    """
    n = right.sum(1)
    shares = (n == 1, n > 1, n == 0)
    return {f"case_{i}": float(share.double().mean()) for i, share in enumerate(shares, 1)}
