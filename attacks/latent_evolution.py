"""Class inversion by evolution in the latent of a public prior: released scores, no gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from attacks.common.latent import (
    Latent,
    ask,
    require_classes,
    within,
)
from attacks.common.latent_search import (
    SearchResult,
    afforded,
    chosen,
    first_look,
    nothing,
    repeated,
)
from bench.contract import (
    Attack,
    DivergedError,
    Exposure,
    Knowledge,
    Reconstruction,
    generator,
)
from bench.contract.options import Count, CountOrZero, NonNegative, Positive


@dataclass(frozen=True)
class LatentEvolution(Attack):
    """Separable CMA-ES on the released scores, one population per class, all classes in a batch.

    The evolution strategy is that of Ros and Hansen (PPSN 2008): weighted recombination,
    cumulative step-size adaptation and a diagonal covariance, with their default constants. What
    it climbs is the margin of the log scores, less a small penalty for leaving the prior; it uses
    only the order of that signal within a population, so no monotone change of the scores
    touches it. Where a score is cut or rounded away, individuals tie and the penalty orders them.

    It stands where the black-box variant of MIRROR (An et al., NDSS 2022) searches a StyleGAN's
    latent genetically; it is not that algorithm.

    Attributes:
        access: ``scores``.
        restarts: runs per class from different starts; the one with the best signal is returned.
        steps: generations.
        population: individuals of a run; each costs a query a generation.
        sigma: first step size, in standard deviations of the prior.
        prior_weight: weight of ``|z|^2 / 2`` relative to the signal's spread over the starts.
        samples: prior samples tried as starts, beside as many public images (queries count).
        repeats: answers averaged for every individual (EOT, PROTOCOL 3.5).
    """

    access: Literal["scores"] = "scores"
    restarts: Count = 1
    steps: Count = 60
    population: Annotated[int, Ge(4)] = 32
    sigma: Positive = 0.5
    prior_weight: NonNegative = 0.003
    samples: CountOrZero = 500
    repeats: Count = 1

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1"})
    paper = "Ros and Hansen, PPSN 2008 (sep-CMA-ES); threat model of An et al., NDSS 2022"
    adaptive_to = ("reverse_sigmoid", "temperature", "top_k")

    def doubled(self) -> LatentEvolution:
        """The same attack with twice the generations."""
        return replace(self, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per class ``[t, *shape]`` in [0, 1]: the mean of the last population.

        ``info``, for the chosen restart of each class: ``stop_reasons`` (``steps``, ``budget``, or
        ``flat`` where all individuals always tied), ``signal`` (the last population's mean
        margin), ``norm`` of the latent, ``sigma`` at the end; and ``steps`` and
        ``improvement_last_fifth`` (PROTOCOL 3.6, C7) for all.

        Raises:
            UserError: the knowledge lacks the prior or the classes.
            DivergedError: the search produced NaN or Inf.
        """
        classes = require_classes(knowledge, device)
        latent = Latent.of(knowledge, device)
        rng = generator(seed, device)
        bank = latent.bank(knowledge.public.x.to(device), self.samples, rng)
        ended = self._evolve(exposure, latent, bank, classes, rng)
        if not bool(torch.isfinite(ended.z).all() & torch.isfinite(ended.quality).all()):
            raise DivergedError("The search produced NaN or Inf: the target answers NaN.")
        return chosen(latent, ended, self.restarts, "sigma")

    def _evolve(
        self,
        exposure: Exposure,
        latent: Latent,
        bank: Tensor,
        classes: Tensor,
        rng: torch.Generator,
    ) -> SearchResult:
        """Rows restart by restart; individuals outside the ball of radius ``sqrt(k)`` are pulled
        back to it.
        """
        interface = repeated(exposure.scores, self.repeats)
        own = classes.repeat(self.restarts).view(-1, 1, 1)
        bank = afforded(exposure, bank, self.repeats)
        if len(bank) == 0:
            return nothing(bank, len(own))
        signal, _, spread, mean, quality = first_look(
            interface, latent, bank, classes, self.restarts
        )
        n, k, size = len(mean), latent.size, self.population
        law = _Constants.of(k, size)
        weights = torch.tensor(law.weights, device=mean.device).unsqueeze(1)
        sigma = mean.new_full((n, 1), self.sigma)
        spreads, drift, path = torch.ones_like(mean), torch.zeros_like(mean), torch.zeros_like(mean)
        flat = torch.ones(n, dtype=torch.bool, device=mean.device)
        trace, reason = [quality.mean()], "steps"
        for step in range(1, self.steps + 1):
            if not exposure.affords(n * size * self.repeats):
                reason = "budget"
                break
            noise = torch.randn(n, size, k, generator=rng, device=mean.device)
            z = mean.unsqueeze(1) + (sigma * spreads.sqrt()).unsqueeze(1) * noise
            z = within(z.flatten(0, 1), math.sqrt(k)).view(n, size, k)
            margins = signal(ask(interface, latent, z.flatten(0, 1))).view(n, size, -1)
            margin = margins.gather(2, own.expand(-1, size, 1)).squeeze(2)
            flat &= margin.amax(1) == margin.amin(1)
            quality = margin.mean(1)
            trace.append(quality.mean())
            fitness = margin / spread - self.prior_weight * z.square().sum(2) / 2
            best = fitness.topk(len(law.weights), dim=1).indices
            parents = z.gather(1, best.unsqueeze(2).expand(-1, -1, k))
            moves = (parents - mean.unsqueeze(1)) / sigma.unsqueeze(1)
            move = (weights * moves).sum(1)
            mean = mean + sigma * move
            path = (1 - law.c_sigma) * path + law.path_gain * move / spreads.sqrt()
            length = path.norm(dim=1, keepdim=True)
            unbiased = length / math.sqrt(1 - (1 - law.c_sigma) ** (2 * step))
            steady = (unbiased < (1.4 + 2 / (k + 1)) * law.expected).to(mean)
            drift = (1 - law.c_c) * drift + steady * law.drift_gain * move
            rank_one = drift.square() + (1 - steady) * law.c_c * (2 - law.c_c) * spreads
            rank_mu = (weights * moves.square()).sum(1)
            kept = 1 - law.c_1 - law.c_mu
            spreads = kept * spreads + law.c_1 * rank_one + law.c_mu * rank_mu
            growth = (law.c_sigma / law.damping * (length / law.expected - 1)).exp()
            # At the edge of the ball a larger step is pulled back, which reads as progress.
            sigma = (sigma * growth).clamp(max=max(1.0, self.sigma))
        dead = flat.tolist() if len(trace) > 1 else [False] * n
        reasons = ["flat" if row else reason for row in dead]
        return SearchResult(mean, quality, reasons, torch.stack(trace), sigma.squeeze(1))


@dataclass(frozen=True)
class _Constants:
    """Default constants of sep-CMA-ES for dimension k and population size.

    Those of CMA-ES with weighted rank-mu updates, the learning rates of the covariance multiplied
    by (k + 2) / 3 (Ros and Hansen, 2008).
    """

    weights: tuple[float, ...]
    c_sigma: float
    damping: float
    c_c: float
    c_1: float
    c_mu: float
    path_gain: float
    drift_gain: float
    expected: float

    @classmethod
    def of(cls, k: int, size: int) -> _Constants:
        raw = [math.log((size + 1) / 2) - math.log(i) for i in range(1, size // 2 + 1)]
        weights = tuple(w / sum(raw) for w in raw)
        mass = 1 / sum(w * w for w in weights)
        c_sigma = (mass + 2) / (k + mass + 5)
        c_c = (4 + mass / k) / (k + 4 + 2 * mass / k)
        faster = (k + 2) / 3
        c_1 = min(1.0, faster * 2 / ((k + 1.3) ** 2 + mass))
        c_mu = faster * 2 * (mass - 2 + 1 / mass) / ((k + 2) ** 2 + mass)
        return cls(
            weights,
            c_sigma,
            1 + 2 * max(0.0, math.sqrt((mass - 1) / (k + 1)) - 1) + c_sigma,
            c_c,
            c_1,
            min(1 - c_1, c_mu),
            math.sqrt(c_sigma * (2 - c_sigma) * mass),
            math.sqrt(c_c * (2 - c_c) * mass),
            math.sqrt(k) * (1 - 1 / (4 * k) + 1 / (21 * k * k)),
        )
