"""MemGuard: answers at which the owner's own membership classifier is undecided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional as F

from bench.contract import Count, Owner, Query, ReleaseDefense, generator
from bench.contract import seed as derive
from defenses.common import perceptron
from defenses.common.answers import keep_label, secret, uniform

_STEP = 0.1
"""Length of a step in the log scores."""
_LABEL_WEIGHT = 10.0
"""c2, on the lead of another class over the label; c1, on the classifier's logit, is 1."""
_DISTANCE_WEIGHTS = tuple(10.0**k for k in range(-1, 6))
"""c3, on the L1 distance: it is raised as long as a perturbation succeeds."""


@dataclass(frozen=True)
class Memguard(ReleaseDefense):
    """Perturb an answer until a classifier of members is undecided, as often as a budget allows.

    The classifier is fitted once per target: a perceptron that tells answers for training records
    from those for public records, each answer sorted. Phase I descends for each answer from the log
    scores on ``|h| + 10 relu(max other - label) + c3 ||s' - s||_1``, where h is the classifier's
    logit, by normalised steps of 0.1. It stops when the classifier changes its mind and the label
    is the model's. Then it starts again with c3 ten times as large, as long as that succeeds; the
    last success is the noise. Phase II adds the noise with probability ``min(1, epsilon / ||s' -
    s||_1)``, the largest that keeps the expected distortion within the budget, and never where it
    would not bring the classifier nearer to 1/2. The draw is fixed per record (one-time
    randomness), so asking again does not average it away.

    The owner never sees the attacker's classifier. Answers that mislead one classifier of sorted
    scores need not mislead another one, or an attack that does not use membership. Where public
    records are those of other people, the classifier also learns to tell people apart.

    Attributes:
        epsilon: budget of the expected L1 distance between answer and scores; 0 adds nothing and is
            no defense, 2 is no limit. Values worth a sweep are 0.1, 0.3, 0.5 and 1.
        steps: largest number of steps of each descent; the authors' code takes 300.
        width: units of the classifier's first hidden layer; the second has half as many.
        fit_steps: number of steps of Adam that fit the classifier.
    """

    epsilon: Annotated[float, Ge(0), Le(2)] = 0.5
    steps: Count = 100
    width: Annotated[int, Ge(2)] = 32
    fit_steps: Count = 1000

    paper = (
        "Jia, Salem, Backes, Zhang, Gong, CCS 2019 (arXiv 1909.10594); objective, weights and "
        "probability as in the authors' code"
    )
    cost = "public records; hundreds of passes through a small classifier per answer"
    zero: ClassVar[Mapping[str, Any]] = {"epsilon": 0.0}

    def prepare(self, owner: Owner, seed: int) -> Mapping[str, Tensor]:
        """The classifier: members are the training records, non-members the public ones."""
        if self.epsilon == 0.0:
            return {}
        answers = [owner.scores(split.x).double() for split in (owner.train, owner.public)]
        x = _sorted(torch.cat(answers))
        member = torch.arange(len(x), device=x.device) < len(answers[0])
        # Both kinds weigh the same, however many records there are of each.
        share = member.double().mean()
        weight = torch.where(member, 0.5 / share, 0.5 / (1 - share))
        sizes = (x.shape[1], self.width, self.width // 2, 1)
        g = perceptron.fresh("g", sizes, generator(derive(seed, part="weights")), owner.device)

        def loss(index: Tensor, rng: torch.Generator) -> Tensor:
            place = index.to(x.device)
            logit = perceptron.run("g", g, x[place]).squeeze(1)
            truth = member[place].double()
            return F.binary_cross_entropy_with_logits(logit, truth, weight[place])

        return perceptron.fit(g, loss, len(x), self.fit_steps, derive(seed, part="batches"))

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Scores ``[n, n_classes]``, or what misleads the classifier; the argmax is kept."""
        if self.epsilon == 0.0:
            return scores
        rows = scores.double()
        noisy = self._noisy(rows, query.fitted)
        distance = (noisy - rows).abs().sum(1, keepdim=True)
        before, after = (member(r, query.fitted).sigmoid() for r in (rows, noisy))
        chance = (self.epsilon / distance.clamp_min(1e-12)).clamp_max(1.0)
        chance = chance * ((after - 0.5).abs() < (before - 0.5).abs()).unsqueeze(1)
        added = uniform(secret(query, salt=2), 1) <= chance
        return torch.where(added, keep_label(noisy.to(scores.dtype), scores), scores)

    def _noisy(self, rows: Tensor, g: Mapping[str, Tensor]) -> Tensor:
        """Phase I for every row; a row without a success stays what it is."""
        perturbed = rows.clone()
        left = torch.nonzero((member(rows, g).sigmoid() - 0.5).abs() > 1e-5).squeeze(1)
        for weight in _DISTANCE_WEIGHTS:
            succeeded, noisy = self._descend(rows[left], g, weight)
            left = left[succeeded]
            perturbed[left] = noisy
        return perturbed

    def _descend(
        self, rows: Tensor, g: Mapping[str, Tensor], weight: float
    ) -> tuple[Tensor, Tensor]:
        """Which rows succeed, ascending, and their perturbed scores."""
        label = rows.argmax(1, keepdim=True)
        side = member(rows, g) > 0
        noisy, done = rows.clone(), torch.zeros_like(side)
        active, z = torch.arange(len(rows), device=rows.device), rows.clamp_min(1e-12).log()
        for _ in range(self.steps + 1):
            if len(active) == 0:
                break
            scores, logit, slope = self._look(z, rows[active], label[active], g, weight)
            over = ((logit > 0) != side[active]) & (z.argmax(1) == label[active].squeeze(1))
            noisy[active[over]], done[active[over]] = scores[over], True
            z = (z - _STEP * F.normalize(slope, dim=1))[~over]
            active = active[~over]
        return torch.nonzero(done).squeeze(1), noisy[done]

    @staticmethod
    def _look(
        z: Tensor, rows: Tensor, label: Tensor, g: Mapping[str, Tensor], weight: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of log scores: the scores, the classifier's logit, the objective's gradient."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            scores = z.softmax(1)
            logit = member(scores, g)
            own = z.gather(1, label).squeeze(1)
            lead = z.scatter(1, label, -torch.inf).amax(1) - own
            objective = logit.abs() + _LABEL_WEIGHT * lead.relu()
            objective = objective + weight * (scores - rows).abs().sum(1)
            slope = torch.autograd.grad(objective.sum(), z)[0]
        return scores.detach(), logit.detach(), slope


def member(rows: Tensor, g: Mapping[str, Tensor]) -> Tensor:
    """h: the classifier's logit that each answer is one for a member, ``[n]``."""
    return perceptron.run("g", g, _sorted(rows)).squeeze(1)


def _sorted(rows: Tensor) -> Tensor:
    return rows.sort(1, descending=True).values
