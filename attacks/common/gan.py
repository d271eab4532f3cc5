"""Generative adversarial networks of images: generator, critic, and what training them shares."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import require


def halvings(shape: tuple[int, ...]) -> int:
    """Times an image's sides are halved on the way to a map of at least 4 pixels, at least once."""
    return max(1, int(math.log2(min(shape[1:]) / 4)))


def eigenfaces(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``[d]``, spread ``[k]`` and axes ``[k, d]`` of ``x`` ``[n, d]``, the widest first.

    The largest entry of an axis is positive: which sign a decomposition gives depends on the
    library, and a latent decoded along the other one is another image.
    """
    mean = x.mean(0)
    _, sigma, rows = torch.linalg.svd(x - mean, full_matrices=False)
    peak = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return mean, sigma / (len(x) - 1) ** 0.5, rows * peak.sign()


class Norm(nn.Module):
    """Batch normalisation whose gain and offset may depend on a class (Dumoulin et al., 2017)."""

    def __init__(self, channels: int, conditional: int | None) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=conditional is None)
        self.scale = nn.Embedding(conditional, 2 * channels) if conditional else None
        if self.scale is not None:
            with torch.no_grad():
                self.scale.weight[:, :channels] = 1.0
                self.scale.weight[:, channels:] = 0.0

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Normalised maps ``[n, channels, h, w]``."""
        out: Tensor = self.norm(x)
        if self.scale is None:
            return out
        gain, offset = self.scale(labels)[:, :, None, None].chunk(2, 1)
        scaled: Tensor = out * gain + offset
        return scaled


class Generator(nn.Module):
    """Deep convolutional generator (Radford, Metz, Chintala, ICLR 2016) for any image size.

    A linear layer, then transposed 4x4 convolutions that double the sides, batch normalisation
    and ReLU between them, and a sigmoid; what exceeds the image is cropped.

    Args:
        shape: ``(channels, height, width)`` of an image.
        latent: size k of the standard normal latent.
        width: channels of the last hidden map; they double towards the latent, up to 8 times.
        conditional: number of classes of a conditional generator; None: unconditional.
        skip: add a linear map of the latent to the image before the sigmoid; see :meth:`begin`.
    """

    layout: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int = 64,
        width: int = 32,
        conditional: int | None = None,
        skip: bool = False,
    ) -> None:
        super().__init__()
        layout = [0, *shape, latent, width, conditional or 0, int(skip)]
        self.register_buffer("layout", torch.tensor(layout))
        self.shape, self.latent, self.conditional = tuple(shape), latent, conditional
        depth = halvings(shape)
        self.start = tuple(-(-side // 2**depth) for side in shape[1:])
        maps = [width * 2 ** min(level, 3) for level in reversed(range(depth))]
        self.stem = nn.Linear(latent, maps[0] * self.start[0] * self.start[1], bias=False)
        self.norms = nn.ModuleList(Norm(channels, conditional) for channels in maps)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, 2, 1)
            for before, after in zip(maps, [*maps[1:], shape[0]], strict=True)
        )
        for layer in (self.stem, *self.ups):
            nn.init.normal_(layer.weight, 0.0, (2 / layer.weight[0].numel()) ** 0.5)
        self.skip = nn.Linear(latent, math.prod(shape)) if skip else None

    @property
    def last(self) -> nn.ConvTranspose2d:
        """The convolution that makes the image."""
        return cast(nn.ConvTranspose2d, self.ups[-1])

    @torch.no_grad()
    def begin(self, images: Tensor) -> None:
        """Set the skip to the principal components of images, and quiet the convolutions.

        The generator starts as eigenfaces and learns what they lack, which a CPU has time for;
        from noise it would not get as far as a face.

        Args:
            images: public images ``[n, *shape]`` in [0, 1]; a thousand of them will do.
        """
        if self.skip is None:
            return
        x = images[:: -(-len(images) // 1000)].flatten(1).clamp(0.02, 0.98).logit().double()
        mean, spread, axes = eigenfaces(x)
        keep = min(self.latent, len(spread))
        scaled = axes[:keep] * spread[:keep].unsqueeze(1)
        self.skip.weight.zero_()
        self.skip.weight[:, :keep] = scaled.T.to(self.skip.weight)
        self.skip.bias.copy_(mean)
        last = self.last
        last.weight.mul_(0.01)
        if last.bias is not None:
            last.bias.zero_()

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``[n, *shape]`` in (0, 1).

        Args:
            z: latents ``[n, k]``.
            labels: int64 ``[n]``, conditional generators only.
        """
        return self.image(self.advance(self.maps(z), 0, len(self.ups), labels), z)

    def maps(self, z: Tensor) -> Tensor:
        """What enters the first block ``[n, channels, h, w]``, of latents ``[n, k]``."""
        out: Tensor = self.stem(z)
        return out.view(len(z), -1, *self.start)

    def advance(self, maps: Tensor, first: int, stop: int, labels: Tensor | None = None) -> Tensor:
        """What leaves block ``stop - 1``, of what enters block ``first``."""
        for norm, up in zip(self.norms[first:stop], self.ups[first:stop], strict=True):
            maps = up(torch.relu(norm(maps, labels)))
        return maps

    def image(self, maps: Tensor, z: Tensor) -> Tensor:
        """Images ``[n, *shape]`` in (0, 1), of what leaves the last block and of the latents."""
        top = (maps.shape[2] - self.shape[1]) // 2
        left = (maps.shape[3] - self.shape[2]) // 2
        cropped = maps[:, :, top : top + self.shape[1], left : left + self.shape[2]]
        if self.skip is not None:
            cropped = cropped + self.skip(z).view(cropped.shape)
        return torch.sigmoid(cropped)


class Critic(nn.Module):
    """Strided 4x4 convolutions and a linear score: a Wasserstein critic or a discriminator.

    It normalises nothing: the gradient penalty is each image's own (Gulrajani et al., 2017).

    Args:
        shape: ``(channels, height, width)`` of an image.
        width: channels of the first map; they double with every halving, up to 8 times.
        classes: size of a second, linear head ``logits``; 0: none.
        conditional: number of classes of a projection (Miyato and Koyama, ICLR 2018); None: none.
    """

    layout: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 32,
        classes: int = 0,
        conditional: int | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("layout", torch.tensor([1, *shape, width, classes, conditional or 0]))
        self.shape, self.width, self.conditional = tuple(shape), width, conditional
        depth = halvings(shape)
        maps = [width * 2 ** min(level, 3) for level in range(depth)]
        self.downs = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1)
            for before, after in zip([shape[0], *maps[:-1]], maps, strict=True)
        )
        size = maps[-1] * (shape[1] >> depth) * (shape[2] >> depth)
        self.score = nn.Linear(size, 1)
        self.classify = nn.Linear(size, classes) if classes else None
        self.project = nn.Embedding(conditional, size) if conditional else None
        for down in self.downs:
            assert isinstance(down, nn.Conv2d)
            nn.init.kaiming_normal_(down.weight, 0.2)
        if self.project is not None:
            nn.init.normal_(self.project.weight, 0.0, size**-0.5)

    def features(self, x: Tensor) -> Tensor:
        """What the heads see, ``[n, d]``, of images ``[n, *shape]`` in [0, 1]."""
        x = 2 * x - 1
        for down in self.downs:
            x = F.leaky_relu(down(x), 0.2)
        return x.flatten(1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Scores ``[n]`` of images, large for real ones.

        Args:
            x: ``[n, *shape]`` in [0, 1].
            labels: int64 ``[n]``, conditional critics only.
        """
        features = self.features(x)
        score: Tensor = self.score(features).squeeze(1)
        if self.project is not None:
            score = score + (features * self.project(labels)).sum(1)
        return score

    def logits(self, x: Tensor) -> Tensor:
        """Class logits ``[n, classes]`` of images."""
        require(self.classify is not None, "This critic was built without classes.")
        assert self.classify is not None
        out: Tensor = self.classify(self.features(x))
        return out


def tensors(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A module's state on the CPU, names behind ``prefix``: what a prior stores."""
    state = module.state_dict()
    return {prefix + name: value.detach().cpu().clone() for name, value in state.items()}


def load(stored: Mapping[str, Tensor], prefix: str) -> Generator | Critic:
    """The generator or critic stored under ``prefix``, frozen and in evaluation mode, on the CPU.

    Raises:
        UserError: nothing is stored under that prefix.
        RuntimeError: a tensor is missing, unexpected or of the wrong shape (the load is strict).
    """
    state = {
        name.removeprefix(prefix): value
        for name, value in stored.items()
        if name.startswith(prefix)
    }
    require(
        "layout" in state,
        f"The attack needs '{prefix}*' of a GAN prior and got none; give its option file "
        "prior: {_target_: attacks.common.priors.GanPrior}.",
    )
    kind, c, h, w, *rest = state["layout"].tolist()
    module: Generator | Critic
    if kind == 0:
        module = Generator((c, h, w), rest[0], rest[1], rest[2] or None, bool(rest[3]))
    else:
        module = Critic((c, h, w), rest[0], rest[1], rest[2] or None)
    module.load_state_dict(state, strict=True)
    return module.requires_grad_(False).eval()


def load_generator(stored: Mapping[str, Tensor], prefix: str = "generator.") -> Generator:
    """:func:`load` for a generator."""
    module = load(stored, prefix)
    assert isinstance(module, Generator)
    return module


def load_critic(stored: Mapping[str, Tensor], prefix: str = "critic.") -> Critic:
    """:func:`load` for a critic."""
    module = load(stored, prefix)
    assert isinstance(module, Critic)
    return module


def augment(
    x: Tensor, rng: torch.Generator, flip: bool = True, shift: float = 0.125, colour: float = 0.0
) -> Tensor:
    """Random flips, shifts and brightness, differentiable (DiffAugment, Zhao et al., 2020).

    Applied to real and generated images alike, a critic cannot learn a small public set by heart,
    and the generator does not learn the changes. Shifts are drawn for eight groups of a batch.

    Args:
        x: ``[n, c, h, w]``.
        rng: on the images' device.
        flip: mirror half of the images.
        shift: largest shift, a share of each side; what comes in is the replicated border.
        colour: largest change of brightness, and of contrast as a share.
    """
    n, _, h, w = x.shape
    if flip:
        mirrored = torch.rand(n, 1, 1, 1, generator=rng, device=rng.device) < 0.5
        x = torch.where(mirrored, x.flip(3), x)
    if colour > 0:
        by = 2 * torch.rand(2, n, 1, 1, 1, generator=rng, device=rng.device) - 1
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (x - mean) * (1 + colour * by[0]) + mean + colour * by[1]
    down, right = int(shift * h), int(shift * w)
    if down == right == 0:
        return x
    padded = F.pad(x, (right, right, down, down), mode="replicate")
    groups = padded.chunk(8)
    moves = torch.rand(len(groups), 2, generator=rng, device=rng.device).tolist()
    moved = []
    for group, (v, u) in zip(groups, moves, strict=True):
        top, left = int(v * (2 * down + 1)), int(u * (2 * right + 1))
        moved.append(group[:, :, top : top + h, left : left + w])
    return torch.cat(moved)


class Average:
    """An exponential moving average of a generator's weights (Yazici et al., ICLR 2019)."""

    def __init__(self, module: Generator, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, module: Generator) -> None:
        """Take in the weights of ``module``; early on, as a plain mean."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        own: list[Tensor] = list(self.module.parameters())
        new: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(own, new, 1 - decay)

    @torch.no_grad()
    def finish(self, rng: torch.Generator, batches: int = 10, size: int = 64) -> Generator:
        """The averaged generator, its batch statistics measured anew, frozen, for evaluation."""
        norms = [m for m in self.module.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        self.module.train()
        k, classes, device = self.module.latent, self.module.conditional, rng.device
        for _ in range(batches):
            z = torch.randn(size, k, generator=rng, device=device)
            labels = None
            if classes:
                labels = torch.randint(classes, (size,), generator=rng, device=device)
            self.module(z, labels)
        return self.module.eval()


def batches(n: int, size: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Endless shuffled batches of indices into ``n`` records, each ``[size]``."""
    order = torch.empty(0, dtype=torch.int64, device=rng.device)
    while True:
        while len(order) < size:
            more = torch.randperm(n, generator=rng, device=rng.device)
            order = torch.cat([order, more])
        yield order[:size]
        order = order[size:]
