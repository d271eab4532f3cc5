"""The inversion-specific GAN of KED-MI: trained on public images with the target's soft labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.gan import Average, Critic, Generator, augment, batches
from bench.contract import DivergedError


def unreal(logits: Tensor) -> Tensor:
    """Minus the log-probability ``[n]`` that images are real, ``-log(Z / (Z + 1))``.

    The fake class of a K+1-class discriminator has logit 0 (Salimans et al., NeurIPS 2016,
    section 5); ``Z`` sums the exponentials of the other logits ``[n, K]``.
    """
    return F.softplus(-logits.logsumexp(1))


def entropy(logits: Tensor) -> Tensor:
    """Entropies ``[n]`` of the class probabilities of logits ``[n, K]``."""
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def train_inversion_gan(
    generator: Generator,
    critic: Critic,
    images: Tensor,
    network: nn.Module,
    rng: torch.Generator,
    *,
    steps: int,
    batch_size: int = 64,
    critic_steps: int = 5,
    lr: float = 2e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    entropy_weight: float = 0.0064,
    decay: float = 0.99,
    flip: bool = True,
    shift: float = 0.0625,
) -> Generator:
    """Train both in place to tell the target's classes apart; return the averaged generator.

    Chen et al., ICCV 2021, section 3.2. The discriminator learns the target's soft labels of
    public images (cross-entropy) beside real from generated ones; the generator matches the mean
    of the discriminator's features and lowers the entropy of its classes. The authors' minibatch
    discrimination is left out: the mean of features already judges a batch as a whole.

    Args:
        generator: unconditional, on the device of ``images``; it ends with its last weights.
        critic: with a ``logits`` head of the target's classes; ends with its last weights, frozen.
        images: public images ``[n, *shape]`` in [0, 1].
        network: the target, returning logits ``[n, n_classes]``.
        rng: of everything random, on the same device.
        steps: updates of the generator.
        batch_size: images per update.
        critic_steps: updates of the discriminator per update of the generator.
        lr: of Adam.
        betas: of Adam.
        entropy_weight: of the mean entropy; the authors weigh its sum over 64 images by 1e-4.
        decay: of the average of the generator's weights.
        flip: see :func:`attacks.common.gan.augment`.
        shift: see :func:`attacks.common.gan.augment`.

    Raises:
        DivergedError: a loss became NaN or Inf.
    """
    average = Average(generator, decay)
    generator.train().requires_grad_(True)
    critic.train().requires_grad_(True)
    makers = torch.optim.Adam(generator.parameters(), lr, betas, foreach=True)
    judges = torch.optim.Adam(critic.parameters(), lr, betas, foreach=True)
    rows = batches(len(images), batch_size, rng)

    def real() -> Tensor:
        return augment(images[next(rows)], rng, flip, shift)

    def drawn() -> Tensor:
        z = torch.randn(batch_size, generator.latent, generator=rng, device=rng.device)
        made: Tensor = generator(z)
        return augment(made, rng, flip, shift)

    for step in range(steps):
        for _ in range(critic_steps):
            with torch.no_grad():
                labelled, unlabelled, fake = real(), real(), drawn()
                soft = network(labelled).softmax(1)
            logits = critic.logits(torch.cat([labelled, unlabelled, fake]))
            known, seen, made = torch.split(logits, batch_size)
            named = -(soft * known.log_softmax(1)).sum(1).mean()
            apart = unreal(seen).mean() + F.softplus(made.logsumexp(1)).mean()
            loss = named + apart / 2
            judges.zero_grad()
            torch.autograd.backward(loss)
            judges.step()
        if not bool(torch.isfinite(loss)):
            raise DivergedError(f"KED-MI's discriminator diverged at step {step}; lower lr ({lr}).")
        critic.requires_grad_(False)
        with torch.no_grad():
            wanted = critic.features(real()).mean(0)
        features = critic.features(drawn())
        assert critic.classify is not None
        loss = (features.mean(0) - wanted).abs().mean()
        loss = loss + entropy_weight * entropy(critic.classify(features)).mean()
        makers.zero_grad()
        torch.autograd.backward(loss)
        makers.step()
        critic.requires_grad_(True)
        average.update(generator)
    critic.requires_grad_(False).eval()
    generator.requires_grad_(False).eval()
    return average.finish(rng)
