"""Asking a deployment about every value a sensitive attribute could have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from attacks.common.draws import some
from bench.contract import Card, Exposure, Knowledge, Sensitive, Split, generator, require
from bench.contract.seeding import seed as derive

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


@dataclass(frozen=True)
class Asked:
    """Whom the budget allows to ask about: victims, each with every candidate value.

    Attributes:
        sensitive: the attribute.
        everyone: the partial records of all victims.
        order: places of all victims, int64 ``[n]``; those who are asked about come first. Without
            a budget, or with one that suffices, the order is that of the records.
        count: how many are asked about.
        public: public records that are asked about as well; none unless the attack wants them.
    """

    sensitive: Sensitive
    everyone: Split
    order: Tensor
    count: int
    public: Split | None = None

    @property
    def rows(self) -> Tensor:
        """Places of those who are asked about, int64 ``[count]``."""
        return self.order[: self.count]

    @cached_property
    def partial(self) -> Split:
        """Partial records of those who are asked about."""
        return self.everyone.take(self.rows)

    def next(self, exposure: Exposure) -> Asked:
        """Those after them in the order, as many as the rest of the budget allows."""
        order, left = self.order[self.count :], exposure.left
        paid = len(order) if left is None else left // len(self.sensitive.values)
        return Asked(self.sensitive, self.everyone, order, min(len(order), paid))

    def whole(self, values: Tensor, others: Tensor) -> Tensor:
        """One row for every victim.

        Args:
            values: of those who are asked about, ``[count, n_values]``.
            others: what is said of the others: ``[n, n_values]``, ``[n_values]`` or a number.
        """
        table = others.to(values).expand(len(self.everyone), values.shape[1]).clone()
        table[self.rows] = values
        return table


def all_victims(knowledge: Knowledge) -> Asked:
    """Every victim, in the order of the records: for an attack whose questions cost nothing."""
    sensitive, everyone = attacked(knowledge)
    order = torch.arange(len(everyone), device=everyone.x.device)
    return Asked(sensitive, everyone, order, len(everyone))


def plan(exposure: Exposure, knowledge: Knowledge, seed: int, *, public: bool = False) -> Asked:
    """Choose whom to ask about with what is left of the budget.

    A budget that is too small for all is spent on victims drawn by ``seed``. Where public records
    are asked about too, they get what the victims leave over, or a quarter if that is more.

    Args:
        exposure: whose budget is spent.
        knowledge: with the victims' partial records.
        seed: decides who is asked about.
        public: whether the attack asks about the public records as well, one query each.
    """
    asked, left = all_victims(knowledge), exposure.left
    values = len(asked.sensitive.values)
    records = knowledge.public if public else None
    price = asked.count * values
    if left is None or price + (0 if records is None else len(records)) <= left:
        return replace(asked, public=records)
    if records is not None:
        most = min(len(records), max(left - price, left // 4, min(left, 1)))
        drawn = some(len(records), most, derive(seed, budget="public"))
        records = records.take(drawn.to(records.x.device))
        left -= most
    count, order = min(asked.count, left // values), asked.order
    if count < asked.count:
        order = some(asked.count, None, derive(seed, budget="victims")).to(order.device)
    return replace(asked, order=order, count=count, public=records)


def ask_scores(exposure: Exposure, knowledge: Knowledge, asked: Asked) -> Tensor:
    """Released scores ``[count, n_values, width]``; one query per victim and value.

    What whoever knows the defense can undo is undone (K4).
    """
    defense = knowledge.defense
    if asked.count == 0:
        shape = 0, len(asked.sensitive.values), max(1, knowledge.card.n_classes)
        return asked.everyone.x.new_zeros(shape)
    return undone(ask_each(exposure.scores, asked), defense)


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


def ask_labels(exposure: Exposure, asked: Asked) -> Tensor:
    """Released labels int64 ``[count, n_values]``; one query per victim and value."""
    if asked.count == 0:
        return asked.order.new_zeros(0, len(asked.sensitive.values))
    return ask_each(exposure.labels, asked)


def ask_each(ask: Callable[[Tensor], Tensor], asked: Asked) -> Tensor:
    """Answers of ``ask`` for every victim completed with every value, ``[count, n_values, ...]``.

    One call, unless the completed records would not fit in memory.

    Args:
        ask: maps records ``[m, d]`` to ``[m, ...]``.
        asked: at least one victim.
    """
    x, values = asked.partial.x, len(asked.sensitive.values)
    parts = torch.split(x, max(1, CELLS // (values * x.shape[1])))
    answers = torch.cat([ask(asked.sensitive.candidates(part).flatten(0, 1)) for part in parts])
    return answers.view(len(x), values, *answers.shape[1:])


def value_shares(card: Card, public: Split) -> Tensor:
    """Share of every value among the public records, plus one each: float64 ``[n_values]``."""
    require(
        card.sensitive is not None and public.s is not None,
        f"The public records of '{card.name}' lack the sensitive attribute, so its "
        "prior is unknown; keep 's' in the public split.",
    )
    assert card.sensitive is not None and public.s is not None
    count = torch.bincount(public.s, minlength=len(card.sensitive.values)).double() + 1
    return count / count.sum()


def value_prior(knowledge: Knowledge) -> Tensor:
    """:func:`value_shares` of the attacker's public records, on the victims' device."""
    _, partial = attacked(knowledge)
    return value_shares(knowledge.card, knowledge.public).to(partial.x.device)


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
    """Share of the victims who were asked about in each case of Mehnaz et al.; 0 if nobody was.

    Args:
        right: bool ``[n, n_values]``, whether the value makes the target predict the true label.
    """
    n = right.sum(1)
    shares = (n == 1, n > 1, n == 0)
    total = max(1, len(right))
    return {f"case_{i}": float(share.double().sum() / total) for i, share in enumerate(shares, 1)}
