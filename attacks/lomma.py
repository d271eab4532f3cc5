"""LOMMA: a logit loss held by public features, and students that keep it from overfitting."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from attacks.common.descent import Features, descend, identity_loss
from attacks.common.gan import load_critic
from attacks.common.latent import CHUNK, Latent, best_restart, last_fifth, require_classes, within
from attacks.common.selection import Crop, Views, check_crop, confidences
from attacks.common.students import WIDTHS, distill
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.options import Count, CountOrZero, NonNegative, Positive


@dataclass(frozen=True)
class Lomma(Attack):
    """Logit maximisation with model augmentation, over a point or a distribution of the latent.

    The identity loss is minus the class's logit, averaged over the target and its students, plus
    ``feature_weight * ||f(x) - f_reg||^2 / d``: the target's penultimate features are held near
    those of public images, ``f_reg`` being one draw from a Gaussian with their mean and deviation
    (section 4.1). The students are distilled from the target on what the attacker holds (section
    4.2): the paper's are EfficientNet-B0 to B2 on tens of thousands of public faces, these are
    small convolutional networks of different width and depth, for a CPU and a few hundred faces.
    Such students may mislead more than they help: give both ``students: 0`` and ``students: 3``.

    The paper adds this to GMI (a point z, momentum of 0.9 at rate 0.02, 1500 steps, 5 restarts)
    and to KED-MI (a Gaussian over z, Adam at 0.02, 2400 steps), with the identity weighing 100
    times the critic. Here either is optimised by Adam, and every part is in units of its spread
    over public images (each network's logit, the features, the critic), so that a defense that
    only shrinks logits or features does not change their balance; latents stay in the ball of
    radius ``sqrt(k)``, where a standard normal has its mass.

    Attributes:
        access: ``weights``.
        loss: ``logit``, the paper's, or ``cross_entropy``, which it replaced (without the penalty
            on features).
        base: ``gmi``: search a latent; ``ked``: search its mean and log-variance, and return the
            mean's image.
        restarts: runs per class; the one the target is surest of, over random views, is returned.
        steps: of Adam.
        learning_rate: of Adam, decayed to 0 by a half cosine.
        feature_weight: the paper's lambda.
        prior_weight: of ``|z|^2 / 2``, against an identity loss of unit spread.
        critic_weight: of minus the critic's score, of unit spread too; priors without a critic
            ignore it.
        crop: shares of the area kept by random crops at each step; ``[1, 1]``: none, as the paper.
        students: networks distilled; 0: the logit loss alone.
        epochs: of the distillation.
        samples: prior samples the students are distilled on, beside the public images; the paper
            has none.
        temperature: of the distillation, in standard deviations of the target's logits.
    """

    access: Literal["weights"] = "weights"
    loss: Literal["logit", "cross_entropy"] = "logit"
    base: Literal["gmi", "ked"] = "gmi"
    restarts: Count = 1
    steps: Count = 150
    learning_rate: Positive = 0.1
    feature_weight: NonNegative = 1.0
    prior_weight: NonNegative = 0.003
    critic_weight: NonNegative = 0.01
    crop: Crop = (0.9, 1.0)
    students: Annotated[int, Ge(0), Le(len(WIDTHS))] = 3
    epochs: Count = 15
    samples: CountOrZero = 600
    temperature: Positive = 1.0

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1"})
    paper = "Nguyen et al., Re-thinking Model Inversion Attacks, CVPR 2023, section 4"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop("crop", self.crop)

    def doubled(self) -> Lomma:
        """The same attack with twice the steps."""
        return replace(self, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per class ``[t, *shape]`` in [0, 1].

        ``info``: per class ``stop_reasons``, ``signal`` (mean confidence over random views of the
        chosen restart) and ``norm`` of its latent; for all ``agreement`` (share of the distilled
        images on which each student names the target's class), ``steps`` and
        ``improvement_last_fifth`` (PROTOCOL 3.6, C7).

        Raises:
            UserError: the knowledge lacks the prior or the classes, or the target has no linear
                head.
            DivergedError: the distillation or the search produced NaN or Inf.
        """
        classes = require_classes(knowledge, device)
        latent = Latent.of(knowledge, device)
        network = exposure.network()
        features = Features(network)
        public = knowledge.public.x.to(device)
        rng = generator(seed, device)
        views = Views(self.crop)

        held = public
        if self.samples > 0 and self.students > 0:
            held = torch.cat([public, _decoded(latent, latent.draw(self.samples, rng))])
        students, agreement = distill(
            network,
            held,
            knowledge.card.n_classes,
            self.students,
            self.epochs,
            rng,
            temperature=self.temperature,
            views=Views((0.8, 1.0), flip=0.5),
        )

        own = classes.repeat(self.restarts)
        models = [network, *students]
        with torch.no_grad():
            spreads = [self._spread(model, public, classes) for model in models]
            seen = torch.cat(
                [
                    (network(part), features.value.flatten(1))[1]
                    for part in torch.split(public, CHUNK)
                ]
            )
            noise = torch.randn(len(own), seen.shape[1], generator=rng, device=rng.device)
            usual = seen.mean(0) + seen.std(0) * noise
            width = seen.var(0).mean().clamp_min(1e-12)
        critic, scale = self._critic(knowledge, public, device)

        def total(rows: Tensor, place: slice) -> Tensor:
            z = rows[:, 0]
            if self.base == "ked":
                noise = torch.randn(z.shape, generator=rng, device=rng.device)
                z = z + (rows[:, 1] / 2).exp() * noise
            made = latent.decode(z)
            x = views(made, rng)
            losses = [
                identity_loss(model(x), own[place], self.loss) / spread
                for model, spread in zip(models, spreads, strict=True)
            ]
            loss = torch.stack(losses).mean(0)
            if self.loss == "logit":
                drift = (features.value.flatten(1) - usual[place]).square().mean(1)
                loss = loss + self.feature_weight * drift / width
            loss = loss + self.prior_weight * z.square().sum(1) / 2
            return loss if critic is None else loss - self.critic_weight * critic(made) / scale

        start = latent.draw(len(own), rng)
        # The first run starts near the centre, the others at random images of the prior.
        start[: len(classes)] *= 0.1
        rows = start.unsqueeze(1)
        if self.base == "ked":
            rows = torch.cat([rows, torch.full_like(rows, -2.0)], 1)
        radius = math.sqrt(latent.size)

        def hold(rows: Tensor) -> Tensor:
            return torch.cat([within(rows[:, 0], radius).unsqueeze(1), rows[:, 1:]], 1)

        rows, trace = descend(total, rows, self.steps, self.learning_rate, (0.9, 0.999), hold)
        z = rows[:, 0]
        sure = confidences(network, latent, z, Views((0.8, 1.0), (0.8, 1.2)), 50, rng)
        quality = sure.gather(1, own.unsqueeze(1)).squeeze(1)
        chosen = best_restart(quality, self.restarts)
        return Reconstruction(
            _decoded(latent, z[chosen]),
            {
                "stop_reasons": ["steps"] * len(classes),
                "steps": self.steps,
                "signal": quality[chosen].tolist(),
                "norm": z[chosen].norm(dim=1).tolist(),
                "agreement": agreement,
                "improvement_last_fifth": last_fifth(trace),
            },
        )

    def _spread(self, network: nn.Module, public: Tensor, classes: Tensor) -> Tensor:
        """Standard deviation of the identity loss over public images, averaged over classes."""
        logits = torch.cat([network(part) for part in torch.split(public, CHUNK)])
        rows, own = logits.repeat(len(classes), 1), classes.repeat_interleave(len(public))
        losses = identity_loss(rows, own, self.loss).view(len(classes), -1)
        return losses.std(1).mean().clamp_min(1e-6)

    def _critic(
        self, knowledge: Knowledge, public: Tensor, device: str
    ) -> tuple[nn.Module | None, Tensor]:
        """The prior's critic, and the spread of its scores over public images."""
        stored = any(name.startswith("critic.") for name in knowledge.prior)
        if not stored or self.critic_weight == 0:
            return None, public.new_ones(())
        critic = load_critic(knowledge.prior).to(device)
        with torch.no_grad():
            return critic, critic(public[:512]).std().clamp_min(1e-6)


@torch.no_grad()
def _decoded(latent: Latent, z: Tensor) -> Tensor:
    """Images ``[n, *shape]`` of latents ``[n, k]``."""
    return torch.cat([latent.decode(part) for part in torch.split(z, CHUNK)])
