"""Purifier: answers as an autoencoder of non-members' answers gives them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contract import (
    Count,
    NonNegative,
    Owner,
    Probability,
    Query,
    ReleaseDefense,
    generator,
)
from bench.contract import seed as derive
from defenses.common import adaptive, perceptron
from defenses.common.answers import keep_label

_ALIKE = 1e-6
"""L2 distance within which an answer is one of a stored member's."""


@dataclass(frozen=True)
class Purifier(ReleaseDefense):
    """Answer what a conditional autoencoder of answers for non-members makes of an answer.

    Fitted once per target on the answers for public records, which the target has not seen. The
    encoder maps an answer and its label to the mean and variance of a normal code, the decoder a
    code and the label to an answer; the loss is ``||s' - s||^2 + label_weight CE(s', label) +
    kl KL(code || N(0, 1))``. The code's mean is decoded, so an answer is always given back alike.
    What it cannot tell of an answer it does not give back: how members' answers differ from those
    of others, and with a heavy ``kl`` everything but the label.

    ``swap`` takes labels, too: of that share of the training records, drawn once, the answers are
    kept, and whoever's answer is one of them is told the runner-up as label, with the two scores
    exchanged. Members are then right no more often than others; the paper sets the share to
    ``(acc_train - acc_test) / acc_train``. A non-member with the same answer is told wrong as
    well, often where answers are saturated. A swapped label also points at its member: of all
    values of an attribute, the record's own is the one that is answered otherwise.

    There is no option at which nothing changes.

    Attributes:
        kl: weight of the divergence; larger values give back less.
        label_weight: lambda, of the cross-entropy to the label.
        latent: width of the code.
        swap: share of the members whose label is swapped, in [0, 1]; 0 keeps every label.
        width: hidden units of encoder and decoder.
        fit_steps: steps of Adam.
    """

    kl: NonNegative = 0.01
    label_weight: NonNegative = 0.2
    latent: Count = 4
    swap: Probability = 0.0
    width: Count = 64
    fit_steps: Count = 1000

    adaptive_attacks = (*adaptive.SCORES, "membership")
    paper = (
        "Yang, Wang, Yang, Wan, Zhao, Chang, Zhang, Ren, 'Purifier', AAAI 2023 (arXiv 2212.00612); "
        "an autoencoder of answers first in Yang, Shao, Xuan, Chang, Zhang 2020, arXiv 2005.03915"
    )
    cost = "public records; a pass through an autoencoder per answer"

    @property
    def relabels(self) -> bool:
        """Whether labels are swapped."""
        return self.swap > 0.0

    def prepare(self, owner: Owner, seed: int) -> Mapping[str, Tensor]:
        """The autoencoder, and the answers for the members whose label is swapped."""
        rows = owner.scores(owner.public.x).double()
        n_classes, rng = rows.shape[1], generator(derive(seed, part="weights"))
        sizes = (2 * n_classes, self.width, 2 * self.latent)
        weights = perceptron.fresh("encoder", sizes, rng, owner.device)
        sizes = (self.latent + n_classes, self.width, n_classes)
        weights |= perceptron.fresh("decoder", sizes, rng, owner.device)

        def loss(index: Tensor, rng: torch.Generator) -> Tensor:
            at = rows[index.to(rows.device)]
            mean, log_var = self._encode(at, weights)
            noise = torch.randn(mean.shape, generator=rng, dtype=mean.dtype).to(mean.device)
            logits = self._decode(mean + noise * (0.5 * log_var).exp(), at, weights)
            distance = (logits.softmax(1) - at).square().sum(1)
            label = F.cross_entropy(logits, at.argmax(1), reduction="none")
            divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
            return (distance + self.label_weight * label + self.kl * divergence).mean()

        steps = self.fit_steps
        fitted = perceptron.fit(weights, loss, len(rows), steps, derive(seed, part="batches"))
        if self.relabels:
            n = len(owner.train)
            drawn = torch.randperm(n, generator=generator(derive(seed, part="swapped")))
            members = owner.train.x[drawn[: round(self.swap * n)].to(owner.train.x.device)]
            fitted["swapped"] = owner.scores(members)
        return fitted

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Purify scores ``[n, n_classes]``; the label is the model's, or the swapped one."""
        rows, weights = scores.double(), query.fitted
        code, _ = self._encode(rows, weights)
        answer = self._decode(code, rows, weights).softmax(1).to(scores.dtype)
        answer = keep_label(answer, scores)
        if not self.relabels or len(weights["swapped"]) == 0:
            return answer
        known = weights["swapped"].double()
        exact = "donot_use_mm_for_euclid_dist"  # the other way loses the digits that tell
        nearest = [
            torch.cdist(part, known, compute_mode=exact).amin(1) for part in torch.split(rows, 4096)
        ]
        hit = (torch.cat(nearest) <= _ALIKE).unsqueeze(1)
        runner_up = scores.scatter(1, scores.argmax(1, keepdim=True), -1.0)
        return torch.where(hit, keep_label(answer, runner_up), answer)

    def _encode(self, rows: Tensor, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of each answer's code, ``[n, latent]`` each."""
        mean, log_var = perceptron.run("encoder", weights, _labelled(rows, rows)).chunk(2, 1)
        return mean, log_var.clamp(-12.0, 12.0)

    def _decode(self, code: Tensor, rows: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Logits of the answers behind codes, given the labels of ``rows``."""
        return perceptron.run("decoder", weights, _labelled(code, rows))


def _labelled(x: Tensor, rows: Tensor) -> Tensor:
    """``x`` with the one-hot label of each row of scores."""
    return torch.cat([x, F.one_hot(rows.argmax(1), rows.shape[1]).to(x.dtype)], 1)
