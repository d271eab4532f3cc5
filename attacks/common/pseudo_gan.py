"""The conditional GAN of PLG-MI: trained on public images with the target's pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.gan import (
    Average,
    Critic,
    Generator,
    Norm,
    augment,
    batches,
    load_critic,
    load_generator,
)
from bench.contract import DivergedError, seeded


def top_images(scores: Tensor, classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The images a target takes most for each class (Yuan et al., AAAI 2023, section 3.2).

    Args:
        scores: the target's scores of public images ``[m, n_classes]``.
        classes: int64 ``[t]``.
        count: the paper's n; every image at most.

    Returns:
        Indices of images and the class each stands for, int64 ``[min(count, m) * t]``. An image
        may stand for several classes.
    """
    best = scores[:, classes].topk(min(count, len(scores)), dim=0).indices
    return best.flatten(), classes.repeat(len(best))


def players(
    prior: Mapping[str, Tensor],
    public: Tensor,
    n_classes: int,
    latent: int,
    width: int,
    seed: int,
) -> tuple[Generator, Critic, bool]:
    """A conditional generator and a projection discriminator, from the shared prior on.

    Where the prior is a GAN of these sizes, every layer that knows no class takes its weights and
    every class the gains and offsets of its normalisation: the game starts where the prior's
    ended. Otherwise the generator starts as principal components.

    Args:
        prior: a fitted prior's tensors.
        public: public images ``[n, *shape]``.
        n_classes: of the target.
        latent: size of the latent.
        width: channels of the outermost hidden maps.
        seed: of what the prior does not give.

    Returns:
        Both, on the CPU, and whether the prior was taken over.
    """
    shape = tuple(public.shape[1:])
    trained = None
    if any(name.startswith("generator.") for name in prior):
        trained = load_generator(prior).cpu()
        if (trained.latent, trained.last.in_channels) != (latent, width):
            trained = None
    skip = trained is None or trained.skip is not None
    with seeded(seed):
        generator = Generator(shape, latent, width, conditional=n_classes, skip=skip)
        critic = Critic(shape, width, conditional=n_classes)
    if trained is None:
        generator.begin(public.cpu())
        return generator, critic, False
    _take(generator, trained)
    for norm, source in zip(generator.norms, trained.norms, strict=True):
        assert isinstance(norm, Norm) and isinstance(source, Norm) and norm.scale is not None
        with torch.no_grad():
            norm.scale.weight.copy_(torch.cat([source.norm.weight, source.norm.bias]))
    if any(name.startswith("critic.") for name in prior):
        _take(critic, load_critic(prior).cpu())
    return generator, critic, True


def _take(module: nn.Module, source: nn.Module) -> None:
    """Weights of ``source`` wherever ``module`` has the same name and shape, ``layout`` apart."""
    own = module.state_dict()
    given = {
        name: value
        for name, value in source.state_dict().items()
        if name != "layout" and name in own and own[name].shape == value.shape
    }
    module.load_state_dict(own | given, strict=True)


def train_pseudo_gan(
    generator: Generator,
    critic: Critic,
    images: Tensor,
    labels: Tensor,
    identity: Callable[[Tensor, Tensor], Tensor],
    rng: torch.Generator,
    *,
    steps: int,
    batch_size: int = 64,
    critic_steps: int = 5,
    lr: float = 2e-4,
    betas: tuple[float, float] = (0.0, 0.9),
    alpha: float = 0.2,
    decay: float = 0.99,
    shift: float = 0.0625,
) -> Generator:
    """Train both in place with the hinge loss; return the averaged generator.

    Yuan et al., AAAI 2023, section 3.2: the discriminator tells images from generated ones under
    their pseudo-label; the generator also lowers ``alpha`` times the target's loss of what it
    makes for a class.

    Args:
        generator: conditional, on the device of ``images``.
        critic: with a projection, on the same device.
        images: ``[m, *shape]`` in [0, 1].
        labels: pseudo-labels int64 ``[m]``.
        identity: images and classes to the target's losses ``[n]``, augmentation included.
        rng: of everything random, on the same device.
        steps: updates of the generator.
        batch_size: images per update.
        critic_steps: updates of the discriminator per update of the generator.
        lr: of Adam.
        betas: of Adam.
        alpha: weight of the target's loss.
        decay: of the average of the generator's weights.
        shift: largest random shift both players' images get, a share of each side (DiffAugment).

    Raises:
        DivergedError: a loss became NaN or Inf.
    """
    average, device = Average(generator, decay), images.device
    generator.train().requires_grad_(True)
    critic.train().requires_grad_(True)
    makers = torch.optim.Adam(generator.parameters(), lr, betas, foreach=True)
    judges = torch.optim.Adam(critic.parameters(), lr, betas, foreach=True)
    rows = batches(len(images), batch_size, rng)

    def drawn() -> tuple[Tensor, Tensor]:
        named = labels[next(rows)]
        z = torch.randn(batch_size, generator.latent, generator=rng, device=device)
        return generator(z, named), named

    def changed(x: Tensor) -> Tensor:
        return augment(x, rng, True, shift)

    for step in range(steps):
        for _ in range(critic_steps):
            with torch.no_grad():
                fake, named = drawn()
            index = next(rows)
            real = critic(changed(images[index]), labels[index])
            loss = F.relu(1 - real).mean() + F.relu(1 + critic(changed(fake), named)).mean()
            judges.zero_grad()
            torch.autograd.backward(loss)
            judges.step()
        critic.requires_grad_(False)
        fake, named = drawn()
        loss = -critic(changed(fake), named).mean()
        if alpha > 0:
            loss = loss + alpha * identity(fake, named).mean()
        if not bool(torch.isfinite(loss)):
            raise DivergedError(f"PLG-MI's GAN diverged at step {step}; lower gan_lr ({lr}).")
        makers.zero_grad()
        torch.autograd.backward(loss)
        makers.step()
        critic.requires_grad_(True)
        average.update(generator)
    critic.requires_grad_(False).eval()
    generator.requires_grad_(False).eval()
    return average.finish(rng)
