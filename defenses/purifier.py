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
from defenses.common import perceptron
from defenses.common.answers import keep_label

_ALIKE = 1e-6
"""An answer within this L2 distance of a stored one counts as the answer for that member."""


@dataclass(frozen=True)
class Purifier(ReleaseDefense):
    """Answer what an autoencoder of answers for non-members makes of the model's answer.

    The autoencoder is fitted once per target on the answers for public records, which the target
    has not seen. The encoder maps an answer and its label to mean and variance of a normal code;
    the decoder maps a code and the label to an answer. The loss is ``||s' - s||^2 + label_weight
    CE(s', label) + kl KL(code || N(0, 1))``. The mean of the code is decoded, so the same answer is
    always given back alike. What the autoencoder cannot represent is lost: how the answers for
    members differ from those for others, and with a large ``kl`` everything but the label.

    ``swap`` changes labels, too. Of that share of the training records, drawn once, the answers are
    kept. Who gets one of these answers is given the runner-up as label, with the two scores
    exchanged. Members are then right no more often than others; the paper sets the share to
    ``(acc_train - acc_test) / acc_train``. A non-member with the same answer gets a wrong label as
    well, often so where answers are saturated. A swapped label also points at its member: of all
    values of an attribute, the record's own is the one that is answered differently.

    There is no option at which nothing changes.

    Attributes:
        kl: weight of the divergence; larger values give back less. Values worth a sweep are 0.001,
            0.01, 0.1 and 1.
        label_weight: weight of the cross-entropy with the label, lambda in the paper.
        latent: width of the code.
        swap: share of the members whose label is swapped; 0 keeps every label.
        width: hidden units of encoder and decoder.
        fit_steps: number of steps of Adam.
    """

    kl: NonNegative = 0.01
    label_weight: NonNegative = 0.2
    latent: Count = 4
    swap: Probability = 0.0
    width: Count = 64
    fit_steps: Count = 1000

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
            answers = rows[index.to(rows.device)]
            mean, log_var = self._encode(answers, weights)
            noise = torch.randn(mean.shape, generator=rng, dtype=mean.dtype).to(mean.device)
            logits = self._decode(mean + noise * (0.5 * log_var).exp(), answers, weights)
            distance = (logits.softmax(1) - answers).square().sum(1)
            label = F.cross_entropy(logits, answers.argmax(1), reduction="none")
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
        # By a matrix product the distance would lose the digits that matter here.
        exact = "donot_use_mm_for_euclid_dist"
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
