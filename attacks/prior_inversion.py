"""Class inversion in the latent of a public prior, by weights, by scores or by labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, MultipleOf

from attacks.common.kept_labels import KEPT_LABELS
from attacks.common.latent import Latent, Loss, require_classes
from attacks.common.latent_descent import LatentDescent, averaged
from attacks.common.latent_search import chosen, climb_scores, repel_boundary
from bench.contract import (
    Attack,
    DivergedError,
    Exposure,
    Knowledge,
    Reconstruction,
    generator,
)
from bench.contract.options import Count, CountOrZero, Fraction, NonNegative, Positive

STEPS = {"weights": 150, "scores": 80, "labels": 120}
RATES = {"weights": 0.1, "scores": 0.3, "labels": 0.0}
RADII = {"weights": 0.0, "scores": 4.0, "labels": 2.0}
TRAINED = (
    "adversarial_training",
    "clip_only",
    "distillation",
    "dp_sgd",
    "dropout",
    "freezing",
    "random_erasing",
    "trap_mid",
)
"""Trainings whose weights leave pixels without a face, and the mean of runs among faces not."""


@dataclass(frozen=True)
class PriorInversion(Attack):
    """Search the latent of a prior for the image that the target takes for a class.

    By ``weights``, Adam on a loss and the Gaussian prior's penalty; by ``scores``, two-sided
    differences of large steps through whatever is released; by ``labels``, boundary repulsion
    (BREP-MI). All classes, restarts and probes run as one batch. Latents of the first two stay in
    the ball of radius ``sqrt(k)``, where a standard normal has its mass.

    Losses are divided by their standard deviation over public images before the prior's penalty
    is added: a defense that only shrinks or stretches logits does not change the attack.

    Attributes:
        access: ``weights``, ``scores`` or ``labels``.
        loss: ``cross_entropy``, ``logit`` (with LOMMA's penalty on features) or ``margin``; by
            weights only, the others use what they see: the margin of log scores, or the label.
        restarts: runs per class; the one with the best attacker-visible signal is returned.
        steps: null: 150 by weights, 80 by scores, 120 by labels.
        learning_rate: of Adam, decayed to 0 by a half cosine; null: 0.1 by weights, 0.3 by
            scores. Boundary repulsion has its own step.
        prior_weight: weight of ``|z|^2 / 2``, against a loss of unit spread.
        feature_weight: LOMMA's lambda, for ``logit``.
        jitter: weights: pixels by which the image is randomly shifted at each step (PLG-MI
            augments too): what only one pixel grid sees is noise, not the person.
        noise: weights: standard deviation of the Gaussian noise added to the image at each step:
            averages the gradient over a neighbourhood, where a defense hides or bends it at points.
        avoid: weights: weight of the likeness to public people
            (:class:`attacks.common.strangers.Strangers`), against a loss of unit spread. A prior of
            public faces makes mixtures of public people, none of whom is the victim.
        average: weights: return the image of the mean latent of all restarts instead of the best
            restart's: what restarts share is the person, what differs is chance.
        samples: prior samples tried as starts, beside as many public images (queries count).
        probes: queries per step, even: antithetic pairs by scores, points on the sphere by labels
            (N).
        radius: of the probes, in standard deviations; null: 4 by scores, 2 by labels (R0).
        expansion: factor by which the radius grows.
        expand_at: share of probes in the class (labels) or at the ceiling (scores) above which it
            grows.
        patience: labels: most moves at one radius.
        clamp: labels: bound of a latent's coordinates.
        normalise: labels: move by a unit vector; false: by the mean direction itself, as the
            authors' code does.
        rounds: labels: further rounds of samples for classes without a start.
        repeats: scores and labels: answers asked for every point, averaged or put to the vote;
            raise it where the release is randomised (EOT, PROTOCOL 3.5).
    """

    access: Literal["weights", "scores", "labels"] = "weights"
    loss: Loss = "margin"
    restarts: Count = 1
    steps: Count | None = None
    learning_rate: Positive | None = None
    prior_weight: NonNegative = 0.003
    feature_weight: NonNegative = 1.0
    jitter: CountOrZero = 1
    noise: NonNegative = 0.0
    avoid: NonNegative = 0.0
    average: bool = False
    samples: CountOrZero = 500
    probes: Annotated[int, Ge(2), MultipleOf(2)] = 32
    radius: Positive | None = None
    expansion: Annotated[float, Gt(1)] = 1.3
    expand_at: Fraction = 0.875
    patience: Count = 1000
    clamp: Positive = 1.5
    normalise: bool = True
    rounds: CountOrZero = 4
    repeats: Count = 1

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1"})
    paper = (
        "PCA-prior stand-in for Zhang et al., CVPR 2020; losses: Nguyen et al., CVPR 2023 "
        "and Yuan et al., AAAI 2023; labels: Kahla et al., CVPR 2022"
    )

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """Labels that a release keeps; scores whose steps are larger than what it hides.

        Fresh noise is averaged over, where ``repeats`` asks for it. By weights, the mean of runs in
        the latent: weights that a training bends or blurs leave pixels without a face.
        """
        if self.access == "weights":
            return TRAINED if self.average and self.loss == "margin" else ()
        if self.access == "labels":
            return KEPT_LABELS
        changed = tuple(name for name in KEPT_LABELS if name != "label_only")
        return (*changed, "score_noise") if self.repeats > 1 else changed

    def doubled(self) -> PriorInversion:
        """The same attack with twice the steps."""
        return replace(self, steps=2 * (self.steps or STEPS[self.access]))

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per class ``[t, *shape]`` in [0, 1].

        ``info``, for the chosen restart of each class: ``stop_reasons``, ``signal`` (what the
        restart was chosen by), ``norm`` of the latent, ``radius`` of the last probes; and
        ``steps`` and ``improvement_last_fifth`` (PROTOCOL 3.6, C7) for all.

        Raises:
            UserError: the knowledge lacks the prior or the classes.
            DivergedError: the search produced NaN or Inf.
        """
        classes = require_classes(knowledge, device)
        latent = Latent.of(knowledge, device)
        rng = generator(seed, device)
        public = knowledge.public.to(device)
        bank = latent.bank(public.x, self.samples, rng)
        steps = self.steps or STEPS[self.access]
        rate = self.learning_rate or RATES[self.access]
        radius = self.radius or RADII[self.access]
        if self.access == "weights":
            search = LatentDescent(
                loss=self.loss,
                restarts=self.restarts,
                steps=steps,
                rate=rate,
                prior_weight=self.prior_weight,
                feature_weight=self.feature_weight,
                jitter=self.jitter,
                noise=self.noise,
                avoid=self.avoid,
            )
            ended = search.run(exposure.network(), latent, bank, classes, public, rng)
        elif self.access == "scores":
            ended = climb_scores(
                exposure,
                latent,
                bank,
                classes,
                restarts=self.restarts,
                steps=steps,
                pairs=self.probes // 2,
                radius=radius,
                learning_rate=rate,
                prior_weight=self.prior_weight,
                expansion=self.expansion,
                expand_at=self.expand_at,
                repeats=self.repeats,
                rng=rng,
            )
        else:
            ended = repel_boundary(
                exposure,
                latent,
                bank,
                classes,
                restarts=self.restarts,
                steps=steps,
                points=self.probes,
                radius=radius,
                expansion=self.expansion,
                expand_at=self.expand_at,
                patience=self.patience,
                clamp=self.clamp,
                normalise=self.normalise,
                rounds=self.rounds,
                repeats=self.repeats,
                rng=rng,
            )
        if not bool(torch.isfinite(ended.z).all()):
            raise DivergedError(
                f"The search by {self.access} produced NaN or Inf; lower learning_rate ({rate})."
            )
        if self.average and self.access == "weights":
            return chosen(latent, averaged(ended, self.restarts), 1, "radius")
        return chosen(latent, ended, self.restarts, "radius")
