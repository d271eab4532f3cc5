"""Training a generator against a Wasserstein critic with gradient penalty."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.common.gan import Average, Critic, Generator, augment, batches
from bench.contract import DivergedError

PENALTY = 10.0
"""Weight of the gradient penalty (Gulrajani et al., NeurIPS 2017, section 4)."""


def penalty(critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """Mean squared distance of the critic's slope from 1 between real and generated images."""
    share = torch.rand(len(real), 1, 1, 1, generator=rng, device=rng.device)
    between = (real + share * (fake - real)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    distance: Tensor = slope.flatten(1).norm(dim=1) - 1
    return distance.square().mean()


def train_wgan(
    generator: Generator,
    critic: Critic,
    images: Tensor,
    rng: torch.Generator,
    *,
    steps: int,
    batch_size: int = 64,
    critic_steps: int = 5,
    lr: float = 2e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    penalty_every: int = 1,
    decay: float = 0.99,
    flip: bool = True,
    shift: float = 0.125,
    colour: float = 0.0,
) -> Generator:
    """Train both in place with the WGAN-GP objective; return the averaged generator.

    Gulrajani et al., NeurIPS 2017, Algorithm 1, as GMI's authors train their prior (Zhang et al.,
    CVPR 2020, section 3.2). Learning rates fall linearly to 0 over the second half.

    Args:
        generator: unconditional, on the device of ``images``; it ends with its last weights.
        critic: ends with its last weights, frozen.
        images: public images ``[n, *shape]`` in [0, 1].
        rng: of everything random, on the same device.
        steps: updates of the generator.
        batch_size: images per update.
        critic_steps: updates of the critic per update of the generator.
        lr: of Adam.
        betas: of Adam.
        penalty_every: updates of the critic per gradient penalty, whose weight grows by as much
            (lazy regularisation, Karras et al., CVPR 2020).
        decay: of the average of the generator's weights.
        flip: see :func:`augment`.
        shift: see :func:`augment`.
        colour: see :func:`augment`.

    Raises:
        DivergedError: a loss became NaN or Inf.
    """
    average, device = Average(generator, decay), images.device
    generator.train().requires_grad_(True)
    critic.train().requires_grad_(True)
    makers = torch.optim.Adam(generator.parameters(), lr, betas)
    judges = torch.optim.Adam(critic.parameters(), lr, betas)
    for group in (*makers.param_groups, *judges.param_groups):
        group["foreach"] = True
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda t: min(1.0, 2 * (1 - t / steps)))
        for o in (makers, judges)
    ]
    rows = batches(len(images), batch_size, rng)

    def drawn() -> Tensor:
        z = torch.randn(batch_size, generator.latent, generator=rng, device=device)
        made: Tensor = generator(z)
        return augment(made, rng, flip, shift, colour)

    for step in range(steps):
        for turn in range(critic_steps):
            with torch.no_grad():
                fake = drawn()
                real = augment(images[next(rows)], rng, flip, shift, colour)
            loss = (critic(fake) - critic(real)).mean()
            if (step * critic_steps + turn) % penalty_every == 0:
                loss = loss + PENALTY * penalty_every * penalty(critic, real, fake, rng)
            judges.zero_grad()
            torch.autograd.backward(loss)
            judges.step()
        if not bool(torch.isfinite(loss)):
            raise DivergedError(f"The GAN's critic diverged at step {step}; lower lr ({lr}).")
        critic.requires_grad_(False)
        makers.zero_grad()
        (-critic(drawn()).mean()).backward()
        makers.step()
        critic.requires_grad_(True)
        average.update(generator)
        for schedule in schedules:
            schedule.step()
    critic.requires_grad_(False).eval()
    generator.requires_grad_(False).eval()
    return average.finish(rng)
