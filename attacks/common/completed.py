"""Shadow models trained on completed victims: who is in which of them, and what they then say."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contract import Sensitive, Split, generator

FLOOR = 0.01
"""Least variance of a logit: less is a matter of rounding."""


@dataclass(frozen=True)
class Draws:
    """Who is in which shadow.

    Attributes:
        values: int64 ``[shadows, n]``: the value with which a victim is in a shadow; -1 if he is
            in none.
        public: bool ``[shadows, p]``: the public records in a shadow.
    """

    values: Tensor
    public: Tensor


def draw(prior: Tensor, n_public: int, shadows: int, size: int | None, seed: int) -> Draws:
    """Put half of the victims, each with a value drawn from ``prior``, and public records together.

    Shadows come in pairs that share the victims out between them, so every victim is in half of
    them (of an odd number, nearly). Public records, at most half of them, fill a shadow up to
    ``size``, so that a defense still finds some that are not among the training records.

    Args:
        prior: probabilities of the victims' values ``[n, n_values]``.
        n_public: number of public records.
        shadows: number of shadows.
        size: records of a shadow, as far as the public ones suffice; None: half of them.
        seed: decides who, and with which value.
    """
    rng, n = generator(seed), len(prior)
    prior = prior.cpu()
    values = torch.full((shadows, n), -1)
    public = torch.zeros(shadows, n_public, dtype=torch.bool)
    inside = torch.zeros(n, dtype=torch.bool)
    for k in range(shadows):
        inside = ~inside if k % 2 else torch.randperm(n, generator=rng) < n // 2
        drawn = torch.multinomial(prior, 1, generator=rng).squeeze(1)
        values[k, inside] = drawn[inside]
        missing = n_public if size is None else max(0, size - int(inside.sum()))
        public[k, torch.randperm(n_public, generator=rng)[: min(missing, n_public // 2)]] = True
    return Draws(values, public)


def members(
    sensitive: Sensitive, partial: Split, public: Split, values: Tensor, rows: Tensor
) -> Split:
    """The training records of one shadow.

    Args:
        sensitive: the attribute.
        partial: the victims' partial records.
        public: the attacker's records, with ``s``.
        values: of :class:`Draws`, one shadow's, ``[n]``.
        rows: of :class:`Draws`, one shadow's, ``[p]``.
    """
    who = (values >= 0).nonzero().squeeze(1)
    place = who.to(partial.x.device)
    known, s = partial.take(place), values[who].to(partial.x.device)
    completed = sensitive.candidates(known.x)[torch.arange(len(who), device=place.device), s]
    others = public.take(rows.to(public.x.device))
    assert others.s is not None
    return Split(
        torch.cat([completed, others.x]),
        torch.cat([known.y, others.y]),
        torch.cat([known.person, others.person]),
        torch.cat([s, others.s]),
    )


@dataclass(frozen=True)
class Moments:
    """What shadows say of each victim's candidate values, as normal distributions.

    Attributes:
        out: mean logits where he was in none, ``[n, n_values]``.
        shift: what is added where he was in one with value ``v``, ``[n, v, n_values]``.
        covariance: around these means, ``[n, n_values, n_values]``.
    """

    out: Tensor
    shift: Tensor
    covariance: Tensor

    def take(self, rows: Tensor) -> Moments:
        """Those of the victims at ``rows``."""
        return Moments(self.out[rows], self.shift[rows], self.covariance[rows])


def moments(logits: Tensor, values: Tensor, shifts: float = 1.0, spread: float = 8.0) -> Moments:
    """Means and covariances of each victim, shrunk towards those of all.

    Args:
        logits: of the true label, ``[shadows, n, n_values]``.
        values: of :class:`Draws`.
        shifts: shadows' worth of weight that the mean shift of all victims has.
        spread: the same for the covariance.
    """
    values = values.to(logits.device)
    out = (values < 0).to(logits).unsqueeze(2)
    mean = (logits * out).sum(0) / out.sum(0).clamp_min(1)
    apart = logits - mean
    rest, moved = apart.clone(), []
    for v in range(logits.shape[2]):
        inside = (values == v).to(logits).unsqueeze(2)
        typical = (apart * inside).sum((0, 1)) / inside.sum().clamp_min(1)
        own = ((apart * inside).sum(0) + shifts * typical) / (inside.sum(0) + shifts)
        moved.append(own)
        rest -= inside * own
    square = torch.einsum("kni,knj->nij", rest, rest)
    covariance = (square + spread * square.mean(0) / len(logits)) / (len(logits) + spread)
    floor = FLOOR * torch.eye(logits.shape[2]).to(logits)
    return Moments(mean, torch.stack(moved, 1), covariance + floor)


def log_ratio(logits: Tensor, seen: Moments, member: float = 0.9) -> Tensor:
    """``log p(logits | trained with v) / p(logits | not trained on)``, ``[n, n_values]``.

    Args:
        logits: one model's, ``[n, n_values]``.
        seen: what shadows say.
        member: prior probability of having been trained on at all; below 1, so that no answer
            however odd excludes a value.
    """
    inverse = torch.linalg.inv(seen.covariance)
    apart = logits - seen.out
    beyond = apart.unsqueeze(1) - seen.shift
    inside = -0.5 * torch.einsum("nvi,nij,nvj->nv", beyond, inverse, beyond)
    outside = -0.5 * torch.einsum("ni,nij,nj->n", apart, inverse, apart).unsqueeze(1)
    share = torch.tensor([member, 1.0 - member]).to(logits).log()
    return torch.logaddexp(inside + share[0], outside + share[1]) - outside
