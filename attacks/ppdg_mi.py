"""PPDG-MI: invert, tune the generator towards what was found, and invert again."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from attacks.common.descent import IdentityLoss, descend, identity_loss
from attacks.common.gan import Critic, Generator, load_critic
from attacks.common.gan_wasserstein import train_wgan
from attacks.common.latent import GanLatent, best_restart, last_fifth, require_classes, within
from attacks.common.selection import Crop, Views, check_crop, confidences
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.options import Count, NonNegative, Positive, Share


@dataclass(frozen=True)
class PpdgMi(Attack):
    """Pseudo-private data guided model inversion, over a Wasserstein GAN of public images.

    In each round, latents are searched for the class and ranked by the target's mean confidence
    over random views. The images of the best are pseudo-private data: generator and critic are
    trained further on them and the public images together, so that the generator makes such images
    more often; and the next round searches the tuned generator. The best image of the last round
    is returned.

    This follows the authors' code for low resolutions (Peng et al., NeurIPS 2024) and the
    abstract; the paper's text was not read. The code inverts by GMI, KED-MI, PLG-MI or black-box
    searches, with 1000 latents a class, all of which it tunes on, for 10 passes over the images; it
    tunes a generator for each class, from the same start. Here the search is Adam through random
    crops, with a critic's term in units of its spread over public images, and the numbers are for
    a CPU and few public images.

    Tuning makes what the search found likelier, mistakes too. With 200 public images of 20 people
    (ORL, 32 pixels, a perceptron, two seeds), tuning a generator for each class did not raise the
    leakage beyond noise over the same search without it, and tuning one for all classes lowered it;
    give ``rounds: 1`` beside ``rounds: 2``.

    Attributes:
        access: ``weights``.
        loss: ``cross_entropy``; ``poincare``; ``logit`` or ``margin``, which see past a training
            that changes the loss surface.
        rounds: searches; 1: no tuning.
        candidates: latents searched per class and round.
        selected: of them, tuned on.
        steps: of Adam in a search.
        learning_rate: of Adam, decayed to 0 by a half cosine.
        critic_weight: of minus the critic's score.
        crop: shares of the area kept by random crops during a search.
        draws: random views by which candidates are ranked.
        shared: tune one generator for all classes together; false: one for each class.
        epochs: passes over public and pseudo-private images per tuning.
        batch_size: images per update.
        critic_steps: updates of the critic per update of the generator.
        tune_rate: of Adam in the tuning.
        betas: of Adam in the tuning.
        average: decay of the average of the tuned generator's weights, in [0, 1).
    """

    access: Literal["weights"] = "weights"
    loss: IdentityLoss = "cross_entropy"
    rounds: Count = 2
    candidates: Count = 10
    selected: Count = 5
    steps: Count = 100
    learning_rate: Positive = 0.1
    critic_weight: NonNegative = 0.01
    crop: Crop = (0.9, 1.0)
    draws: Count = 50
    shared: bool = False
    epochs: Count = 10
    batch_size: Count = 32
    critic_steps: Count = 1
    tune_rate: Positive = 1e-3
    betas: tuple[Share, Share] = (0.0, 0.9)
    average: Share = 0.9

    goal = "class_representative"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1"})
    paper = "Peng et al., Pseudo-Private Data Guided Model Inversion, NeurIPS 2024 (code, abstract)"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop("crop", self.crop)

    def doubled(self) -> PpdgMi:
        """The same attack with twice the steps of each search."""
        return replace(self, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per class ``[t, *shape]`` in [0, 1].

        ``info``: per class ``stop_reasons`` and ``signal`` (mean confidence over random views of
        the returned image); for all ``surest`` (mean over classes of the best candidate's signal,
        round by round), ``steps`` and ``improvement_last_fifth`` (PROTOCOL 3.6, C7) of the last
        search.

        Raises:
            UserError: the knowledge lacks a GAN prior or the classes.
            DivergedError: a search or a tuning produced NaN or Inf.
        """
        classes = require_classes(knowledge, device)
        GanLatent.of(knowledge, device)
        network = exposure.network()
        public = knowledge.public.x.to(device)
        rng = generator(seed, device)
        groups = [classes] if self.shared else torch.split(classes, 1)
        images, signals, surest, traces = [], [], [], []
        for group in groups:
            latent = GanLatent.of(knowledge, device)
            critic = load_critic(knowledge.prior).to(device)
            history = []
            for turn in range(self.rounds):
                z, quality, trace = self._invert(network, latent, critic, public, group, rng)
                best = best_restart(quality, self.candidates)
                history.append(quality[best])
                if turn + 1 < self.rounds:
                    rank = quality.view(self.candidates, -1).argsort(0, descending=True)
                    rows = rank[: self.selected] * len(group) + torch.arange(
                        len(group), device=rank.device
                    )
                    with torch.no_grad():
                        found = latent.decode(z[rows.flatten()])
                    latent = GanLatent(self._tune(latent.generator, critic, public, found, rng))
            with torch.no_grad():
                images.append(latent.decode(z[best]))
            signals.append(quality[best])
            surest.append(torch.stack(history))
            traces.append(trace)
        return Reconstruction(
            torch.cat(images),
            {
                "stop_reasons": ["steps"] * len(classes),
                "steps": self.rounds * self.steps,
                "signal": torch.cat(signals).tolist(),
                "surest": torch.cat(surest, 1).mean(1).tolist(),
                "improvement_last_fifth": last_fifth(torch.stack(traces).mean(0)),
            },
        )

    def _invert(
        self,
        network: nn.Module,
        latent: GanLatent,
        critic: Critic,
        public: Tensor,
        classes: Tensor,
        rng: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latents ``[candidates * t, k]``, candidate by candidate, their confidences, the trace."""
        own = classes.repeat(self.candidates)
        views = Views(self.crop)
        with torch.no_grad():
            spread = critic(public).std().clamp_min(1e-6)

        def total(z: Tensor, place: slice) -> Tensor:
            x = latent.decode(z)
            loss = identity_loss(network(views(x, rng)), own[place], self.loss)
            out: Tensor = loss - self.critic_weight * critic(x) / spread
            return out

        def hold(z: Tensor) -> Tensor:
            return within(z, math.sqrt(latent.size))

        start = latent.draw(len(own), rng)
        z, trace = descend(total, start, self.steps, self.learning_rate, (0.9, 0.999), hold)
        final = Views((0.8, 1.0), (0.8, 1.2))
        sure = confidences(network, latent, z, final, self.draws, rng)
        return z, sure.gather(1, own.unsqueeze(1)).squeeze(1), trace

    def _tune(
        self,
        maker: Generator,
        critic: Critic,
        public: Tensor,
        found: Tensor,
        rng: torch.Generator,
    ) -> Generator:
        """The generator after further training on public and pseudo-private images; in place."""
        images = torch.cat([public, found])
        return train_wgan(
            maker,
            critic,
            images,
            rng,
            steps=max(1, self.epochs * len(images) // (self.batch_size * self.critic_steps)),
            batch_size=min(self.batch_size, len(images)),
            critic_steps=self.critic_steps,
            lr=self.tune_rate,
            betas=self.betas,
            decay=self.average,
            flip=False,
            shift=0.0,
        )
