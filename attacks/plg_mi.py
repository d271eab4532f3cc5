"""PLG-MI: a conditional GAN on pseudo-labelled public images, then a search per class."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from attacks.common.descent import IdentityLoss, descend, identity_loss
from attacks.common.gan_search import per_class
from attacks.common.latent import CHUNK, best_restart, last_fifth, require_classes, within
from attacks.common.pseudo_gan import players, top_images, train_pseudo_gan
from attacks.common.selection import Crop, Views, check_crop
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.options import Count, NonNegative, Positive, Probability, Share


@dataclass(frozen=True)
class PlgMi(Attack):
    """Pseudo label-guided model inversion (Yuan et al., AAAI 2023).

    1. The public images with the ``top_n`` largest scores of a class become its pseudo-private
       images (section 3.2).
    2. A conditional GAN learns them inside the attack: hinge loss, projection discriminator, and
       ``alpha`` times the target's loss of augmented generated images.
    3. Latents of each class descend the target's loss over two augmented views a step (section
       3.3); of the restarts the one with the best such signal is returned.

    Published: top 30 of 30000 or more faces, width 64, latent 128, 30000 steps of the generator
    with 5 of the discriminator each, Adam at 2e-4 (0, 0.9), alpha 0.2; then 600 steps of Adam at
    0.1, 5 restarts, crops of 0.8 to 1, mirroring, rotations by 5 degrees and colour changes of
    0.2. The defaults are for a CPU and a few hundred images: from the shared prior, if it is a GAN
    of this ``latent`` and ``width``, a hundred steps do; targets that were not trained on mirror
    images or changed colours are not asked about them; rotations are left out. Of 200 public
    images the top 30 of a class hardly resemble it, so that here the pseudo-labels add little to
    the warm start. Losses are divided by their spread over public images, so that shrunk logits
    change nothing; latents stay in the ball of radius ``sqrt(k)``, where a standard normal has
    its mass.

    Attributes:
        access: ``weights``.
        loss: the target's loss: ``margin``, the paper's; or ``cross_entropy``, ``logit``,
            ``poincare``.
        top_n: pseudo-private images per class.
        alpha: weight of the target's loss in the generator's.
        latent: size of the latent.
        width: channels of the GAN's outermost hidden maps.
        gan_steps: updates of the generator.
        gan_lr: of Adam, for both players.
        batch_size: images per update.
        critic_steps: updates of the discriminator per update of the generator.
        restarts: runs per class.
        steps: of the search.
        learning_rate: of the search, decayed to 0 by a half cosine.
        crop: shares of the area kept by random crops.
        flip: probability of a mirror image.
        colour: relative change of brightness and contrast, at most.
    """

    access: Literal["weights"] = "weights"
    loss: IdentityLoss = "margin"
    top_n: Count = 30
    alpha: NonNegative = 0.2
    latent: Count = 64
    width: Count = 16
    gan_steps: Count = 100
    gan_lr: Positive = 5e-4
    batch_size: Count = 32
    critic_steps: Count = 1
    restarts: Count = 1
    steps: Count = 150
    learning_rate: Positive = 0.1
    crop: Crop = (0.9, 1.0)
    flip: Probability = 0.0
    colour: Share = 0.0

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1"})
    paper = "Yuan et al., Pseudo Label-Guided Model Inversion Attack, AAAI 2023, section 3"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop("crop", self.crop)

    def doubled(self) -> PlgMi:
        """The same attack with twice the steps of the search."""
        return replace(self, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per class ``[t, *shape]`` in [0, 1].

        ``info``: per class ``stop_reasons``, ``signal`` (minus the loss of the chosen restart,
        over random views) and ``pseudo`` (mean score of its pseudo-private images); for all
        ``warm_start`` (the prior was taken over), ``steps`` and ``improvement_last_fifth``
        (PROTOCOL 3.6, C7).

        Raises:
            UserError: the knowledge lacks the classes.
            DivergedError: the GAN's training or the search produced NaN or Inf.
        """
        classes = require_classes(knowledge, device)
        n_classes = knowledge.card.n_classes
        network = exposure.network()
        public = knowledge.public.x.to(device)
        rng = generator(seed, device)
        views = Views(self.crop, flip=self.flip, jitter=self.colour)

        with torch.no_grad():
            logits = torch.cat([network(part) for part in torch.split(public, CHUNK)])
        # Double precision: scores near 1 must still be ranked.
        scores = logits.double().softmax(1)
        index, labels = top_images(scores, classes, self.top_n)
        repeated, of_class = logits.repeat(len(classes), 1), classes.repeat_interleave(len(public))
        losses = identity_loss(repeated, of_class, self.loss).view(len(classes), -1)
        spread = losses.std(1).nan_to_num().mean().clamp_min(1e-6)

        def identity(x: Tensor, own: Tensor) -> Tensor:
            return identity_loss(network(views(x, rng)), own, self.loss) / spread

        maker, critic, warm = players(
            knowledge.prior, public, n_classes, self.latent, self.width, seed
        )
        maker = train_pseudo_gan(
            maker.to(device),
            critic.to(device),
            public[index],
            labels,
            identity,
            rng,
            steps=self.gan_steps,
            batch_size=self.batch_size,
            critic_steps=self.critic_steps,
            lr=self.gan_lr,
            alpha=self.alpha,
        )

        own = classes.repeat(self.restarts)

        def total(z: Tensor, place: slice) -> Tensor:
            x, named = maker(z, own[place]), own[place]
            return identity(x, named) + identity(x, named)

        radius = math.sqrt(self.latent)
        start = per_class(classes, n_classes, self.restarts, self.latent, rng)
        # The first run starts near the centre, the others at random images of the GAN.
        start[: len(classes)] *= 0.1

        def hold(moved: Tensor) -> Tensor:
            return within(moved, radius)

        z, trace = descend(total, start, self.steps, self.learning_rate, (0.9, 0.999), hold)
        with torch.no_grad():
            x = torch.cat(
                [
                    maker(a, b)
                    for a, b in zip(torch.split(z, CHUNK), torch.split(own, CHUNK), strict=True)
                ]
            )
            quality = -torch.stack([identity(x, own) for _ in range(16)]).mean(0)
        chosen = best_restart(quality, self.restarts)
        pseudo = scores[index, labels].view(-1, len(classes)).mean(0)
        return Reconstruction(
            x[chosen],
            {
                "stop_reasons": ["steps"] * len(classes),
                "steps": self.steps,
                "signal": quality[chosen].tolist(),
                "pseudo": pseudo.tolist(),
                "warm_start": warm,
                "improvement_last_fifth": last_fifth(trace),
            },
        )
