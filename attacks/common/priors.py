"""Priors over images, fitted on what the attacker holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.common.gan import Critic, Generator, eigenfaces, tensors
from attacks.common.gan_wasserstein import train_wgan
from bench.contract import Knowledge, Prior, generator, require, seeded
from bench.contract.options import Count, Positive, Share


@dataclass(frozen=True)
class PcaPrior(Prior):
    """Principal components of public images (eigenfaces; Turk and Pentland, 1991).

    ``x = mean + z @ basis`` with ``z ~ N(0, I)``: the components are scaled by their standard
    deviation, so that a latent is whitened.

    Attributes:
        components: size of the latent; at most the public records less one are kept.
    """

    knowledge = frozenset({"K1"})

    components: Count = 80

    def fit(self, knowledge: Knowledge, seed: int, device: str) -> dict[str, Tensor]:
        """``mean`` ``[*shape]`` and ``basis`` ``[k, *shape]``, on the CPU.

        Raises:
            UserError: fewer than three public records.
        """
        public = knowledge.public.x
        require(
            len(public) >= 3,
            f"PcaPrior needs at least 3 public records, data set '{knowledge.card.name}' "
            f"has {len(public)}.",
        )
        # Double precision and a fixed sign: the same prior on every machine.
        mean, spread, axes = eigenfaces(public.flatten(1).to(device, torch.float64))
        keep = min(self.components, int((spread > 1e-6 * spread[0]).sum()))
        basis = axes[:keep] * spread[:keep].unsqueeze(1)
        shape = public.shape[1:]
        return {
            "mean": mean.view(shape).float().cpu(),
            "basis": basis.view(-1, *shape).float().cpu(),
        }


@dataclass(frozen=True)
class GanPrior(Prior):
    """A Wasserstein GAN with gradient penalty on public images (GMI's prior).

    Zhang et al., CVPR 2020, section 3.2, train one for 300 epochs with a latent of 100, batches
    of 64, 5 steps of the critic, Adam at 2e-4 (0.5, 0.999) and 512 to 64 channels (``width`` 64).
    The defaults are far smaller, for one CPU core; and, as public sets may hold only hundreds of
    images, both players see augmented images (DiffAugment, Zhao et al., NeurIPS 2020) and the
    average of the generator's weights is kept; and the generator starts as eigenfaces.

    Attributes:
        latent: size of the latent.
        width: channels of the outermost hidden maps.
        steps: updates of the generator.
        batch_size: images per update.
        critic_steps: updates of the critic per update of the generator.
        lr: of Adam, falling to 0 over the second half.
        betas: of Adam.
        penalty_every: updates of the critic per (as much heavier) gradient penalty.
        average: decay of the average of the generator's weights, in [0, 1).
        flip: mirror half of the images.
        shift: largest random shift, a share of each side.
        colour: largest random change of brightness and contrast.
        skip: start as principal components (:meth:`attacks.common.gan.Generator.begin`); false: as
            DCGAN does.
    """

    knowledge = frozenset({"K1"})

    latent: Count = 64
    width: Count = 16
    steps: Count = 1500
    batch_size: Count = 32
    critic_steps: Count = 1
    lr: Positive = 1e-3
    betas: tuple[Share, Share] = (0.0, 0.9)
    penalty_every: Count = 2
    average: Share = 0.99
    flip: bool = True
    shift: Share = 0.0625
    colour: Share = 0.0
    skip: bool = True

    def fit(self, knowledge: Knowledge, seed: int, device: str) -> dict[str, Tensor]:
        """``generator.*`` (averaged weights) and ``critic.*``, on the CPU.

        Raises:
            UserError: fewer than two public records, or no images.
            DivergedError: the training became NaN or Inf.
        """
        card, public = knowledge.card, knowledge.public.x
        require(
            len(card.shape) == 3 and min(card.shape[1:]) >= 8,
            f"GanPrior needs images of at least 8 x 8 pixels, the records of data set "
            f"'{card.name}' have shape {list(card.shape)}.",
        )
        require(
            len(public) >= 2,
            f"GanPrior needs at least 2 public records, data set '{card.name}' has {len(public)}.",
        )
        with seeded(seed):
            maker = Generator(card.shape, self.latent, self.width, skip=self.skip).to(device)
            critic = Critic(card.shape, self.width).to(device)
        maker.begin(public)
        averaged = train_wgan(
            maker,
            critic,
            public.to(device),
            generator(seed, device),
            steps=self.steps,
            batch_size=self.batch_size,
            critic_steps=self.critic_steps,
            lr=self.lr,
            betas=self.betas,
            penalty_every=self.penalty_every,
            decay=self.average,
            flip=self.flip,
            shift=self.shift,
            colour=self.colour,
        )
        return tensors(averaged, "generator.") | tensors(critic, "critic.")
