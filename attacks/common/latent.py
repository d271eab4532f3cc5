"""What attacks over a latent share: the latent itself, its starting points and its bookkeeping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.common.gan import Generator, load_generator
from bench.contract import Knowledge, require

Loss = Literal["cross_entropy", "logit", "margin"]
"""What a search for a class minimises; see :func:`objective`."""

CHUNK = 128
"""Records per call to an exposure: a small batch stays in the processor's cache."""


class Latent(ABC):
    """A generator of images with a standard normal latent: what a fitted prior gives an attack."""

    @staticmethod
    def of(knowledge: Knowledge, device: str) -> Latent:
        """The latent of whichever prior was fitted.

        Raises:
            UserError: the knowledge holds no ``mean`` and ``basis``, and no ``generator.*``.
        """
        prior = knowledge.prior
        if "mean" in prior and "basis" in prior:
            return LinearLatent(prior["mean"].to(device), prior["basis"].to(device))
        require(
            any(name.startswith("generator.") for name in prior),
            "The attack searches a prior's latent and got none; give its option file "
            "prior: {_target_: attacks.common.priors.PcaPrior}.",
        )
        return GanLatent.of(knowledge, device)

    @property
    @abstractmethod
    def size(self) -> int:
        """Dimensions k of the latent."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Images ``[n, *shape]`` in [0, 1] of latents ``[n, k]``."""

    @abstractmethod
    def bank(self, public: Tensor, samples: int, rng: torch.Generator) -> Tensor:
        """Candidate starts, the centre of the latent first.

        Args:
            public: images ``[n, *shape]``; at most ``samples`` of them are taken.
            samples: number of prior samples.
            rng: of the samples, the choice and the order.

        Returns:
            ``[m, k]``, m at most ``2 * samples + 1``.
        """

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """Latents ``[n, k]`` of the prior."""
        return torch.randn(n, self.size, generator=rng, device=rng.device)


@dataclass(frozen=True)
class LinearLatent(Latent):
    """Principal components.

    Attributes:
        mean: ``[*shape]``.
        basis: ``[k, *shape]``: directions scaled by their standard deviation.
    """

    mean: Tensor
    basis: Tensor

    @property
    def size(self) -> int:
        """Dimensions k of the latent."""
        return len(self.basis)

    def decode(self, z: Tensor) -> Tensor:
        """Images ``[n, *shape]`` in [0, 1] of latents ``[n, k]``."""
        flat = self.mean.flatten() + z @ self.basis.flatten(1)
        return flat.clamp(0.0, 1.0).view(-1, *self.mean.shape)

    def encode(self, x: Tensor) -> Tensor:
        """Latents ``[n, k]`` nearest to images ``[n, *shape]``."""
        basis = self.basis.flatten(1)
        return (x - self.mean).flatten(1) @ (basis / basis.square().sum(1, keepdim=True)).T

    def bank(self, public: Tensor, samples: int, rng: torch.Generator) -> Tensor:
        """The mean, then prior samples and public images, shuffled; see the base class."""
        drawn = self.draw(samples, rng)
        order = torch.randperm(len(public), generator=rng, device=rng.device)[:samples]
        z = torch.cat([drawn, self.encode(public[order])])
        z = z[torch.randperm(len(z), generator=rng, device=rng.device)]
        return torch.cat([torch.zeros_like(self.basis.flatten(1)[:, :1]).T, z])


@dataclass(frozen=True)
class GanLatent(Latent):
    """A generative adversarial network.

    Attributes:
        generator: unconditional, frozen, in evaluation mode: each image depends on its own latent
            only.
    """

    generator: Generator

    @classmethod
    def of(cls, knowledge: Knowledge, device: str) -> GanLatent:
        """The generator of a fitted :class:`attacks.common.priors.GanPrior`.

        Raises:
            UserError: the knowledge holds no ``generator.*``, or its images are of another shape.
        """
        generator = load_generator(knowledge.prior).to(device)
        require(
            generator.shape == tuple(knowledge.card.shape),
            f"The prior's images have shape {list(generator.shape)}, data set "
            f"'{knowledge.card.name}' has {list(knowledge.card.shape)}: fit the prior on its "
            "public split.",
        )
        return cls(generator)

    @property
    def size(self) -> int:
        """Dimensions k of the latent."""
        return self.generator.latent

    def decode(self, z: Tensor) -> Tensor:
        """Images ``[n, *shape]`` in [0, 1] of latents ``[n, k]``."""
        out: Tensor = self.generator(z)
        return out

    def bank(self, public: Tensor, samples: int, rng: torch.Generator) -> Tensor:
        """The centre and prior samples; a GAN has no encoder for public images."""
        extra = min(samples, len(public))
        z = self.draw(samples + extra, rng)
        return torch.cat([z.new_zeros(1, self.size), z])


def within(z: Tensor, radius: float) -> Tensor:
    """Latents ``[n, k]`` pulled back to a norm of at most ``radius``."""
    share: Tensor = (radius / z.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp(max=1.0)
    return z * share


def ask(interface: Callable[[Tensor], Tensor], latent: Latent, z: Tensor) -> Tensor:
    """Answers of ``exposure.scores`` or ``exposure.labels`` for latents ``[n, k]``."""
    return torch.cat([interface(latent.decode(part)) for part in torch.split(z, CHUNK)])


def require_classes(knowledge: Knowledge, device: str) -> Tensor:
    """The target classes int64 ``[t]`` on ``device``."""
    require(
        knowledge.classes is not None and len(knowledge.classes) > 0,
        "The attack reconstructs classes and was given none in its knowledge.",
    )
    assert knowledge.classes is not None
    return knowledge.classes.to(device)


def mean_images(knowledge: Knowledge, count: int, device: str) -> Tensor:
    """The mean public image, ``count`` times: what is said where nothing was learned."""
    mean = knowledge.public.x.to(device).mean(0)
    return mean.expand(count, *mean.shape).clone()


def last_fifth(trace: Tensor) -> float:
    """Share of the whole improvement that the last 20% of steps brought (PROTOCOL 3.6, C7).

    Both ends of the last fifth are means over a tenth of the steps: a step's objective is noisy.

    Args:
        trace: ``[steps]``, the objective as it went.

    Returns:
        Near 0: converged. 0 where nothing changed at all.
    """
    n, width = len(trace), max(1, len(trace) // 10)
    mark = int(0.8 * (n - 1)) + 1
    late = float(trace[n - width :].mean() - trace[max(0, mark - width) : mark].mean())
    whole = float(trace[n - width :].mean() - trace[0])
    return late / whole if abs(whole) > 1e-12 else 0.0


def best_restart(quality: Tensor, restarts: int) -> Tensor:
    """Rows of the best restart of each class.

    Args:
        quality: ``[restarts * t]``, restart by restart; larger is better. An attacker-visible
            signal, never the judge's.
        restarts: runs per class.

    Returns:
        int64 ``[t]``, indices into ``quality``.
    """
    table = quality.view(restarts, -1)
    return table.argmax(0) * table.shape[1] + torch.arange(table.shape[1], device=table.device)


def objective(logits: Tensor, loss: Loss) -> Tensor:
    """What an attacker minimises, for every class at once.

    Args:
        logits: ``[n, n_classes]``; logarithms of scores do as well, up to a constant per row.
        loss: ``cross_entropy``; ``logit``, minus the class's logit (Nguyen et al.,
            CVPR 2023); ``margin``, the largest other logit minus the class's (Yuan et al.,
            AAAI 2023).

    Returns:
        ``[n, n_classes]``.
    """
    if loss == "cross_entropy":
        return logits.logsumexp(1, keepdim=True) - logits
    if loss == "logit":
        return -logits
    first, second = torch.split(logits.topk(2, dim=1).values, 1, dim=1)
    return torch.where(logits == first, second, first) - logits
