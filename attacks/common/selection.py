"""Choosing by what an attacker sees: augmented views, first candidates, robust final selection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from attacks.common.latent import CHUNK, Latent
from bench.contract import require
from bench.contract.options import Positive, Probability, Share, check_options

Crop = tuple[Annotated[float, Gt(0), Le(1)], Annotated[float, Gt(0), Le(1)]]
"""The smallest and the largest share of an image's area that a random crop keeps."""


def interpolation(start: Tensor, length: Tensor, pixels: int) -> Tensor:
    """Matrices ``[n, pixels, pixels]`` that sample a line linearly along windows of it.

    Matrix products, not ``grid_sample``: its gradient is not deterministic on CUDA.

    Args:
        start: ``[n]``, first edge of the window, in pixels.
        length: ``[n]``, its length in pixels; negative: read backwards (a mirror image).
        pixels: of the line, and of the result.
    """
    step = (torch.arange(pixels, device=start.device) + 0.5) / pixels
    source = (start.unsqueeze(1) + length.unsqueeze(1) * step - 0.5).clamp(0, pixels - 1)
    places = torch.arange(pixels, device=start.device)
    return (1 - (source.unsqueeze(2) - places).abs()).clamp_min(0.0)


@dataclass(frozen=True)
class Views:
    """Random views of an image: another draw for every image and call.

    Attributes:
        crop: smallest and largest share of the area that a crop keeps; it is resized to the whole.
        ratio: smallest and largest aspect ratio of the crop.
        flip: probability of a mirror image.
        jitter: relative change of brightness and of contrast, at most.
    """

    crop: Crop = (1.0, 1.0)
    ratio: tuple[Positive, Positive] = (1.0, 1.0)
    flip: Probability = 0.0
    jitter: Share = 0.0

    def __post_init__(self) -> None:
        check_options(self)
        check_crop("crop", self.crop)

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Views ``[n, c, h, w]`` of images ``[n, c, h, w]``; differentiable."""
        n, _, height, width = x.shape
        u = torch.rand(7, n, generator=rng, device=rng.device).to(x.device)
        if self.crop != (1.0, 1.0) or self.flip > 0:
            area = self.crop[0] + (self.crop[1] - self.crop[0]) * u[0]
            low, high = torch.tensor(self.ratio).log().tolist()
            aspect = (low + (high - low) * u[1]).exp()
            tall = height * (area / aspect).sqrt().clamp(max=1.0)
            wide = width * (area * aspect).sqrt().clamp(max=1.0)
            top, left = (height - tall) * u[2], (width - wide) * u[3]
            mirrored = u[4] < self.flip
            rows = interpolation(top, tall, height)
            columns = interpolation(
                torch.where(mirrored, left + wide, left), torch.where(mirrored, -wide, wide), width
            )
            x = rows.unsqueeze(1) @ x @ columns.transpose(1, 2).unsqueeze(1)
        if self.jitter > 0:
            brightness, contrast = (1 + self.jitter * (2 * u[5:, :, None, None, None] - 1)).unbind()
            x = x * brightness
            grey = x.mean((1, 2, 3), keepdim=True)
            x = (grey + contrast * (x - grey)).clamp(0.0, 1.0)
        return x


def check_crop(name: str, crop: Crop) -> None:
    """Refuse a crop whose smallest share of the area is above its largest.

    Args:
        name: of the option.
        crop: its value.

    Raises:
        UserError: names the option.
    """
    require(crop[0] <= crop[1], f"{name} is {list(crop)}; give the smaller share first.")


@torch.no_grad()
def confidences(
    network: nn.Module, latent: Latent, z: Tensor, views: Views, draws: int, rng: torch.Generator
) -> Tensor:
    """:func:`viewed` of the images of latents ``[n, k]``."""
    parts = torch.split(z, CHUNK)
    return torch.cat([viewed(network, latent.decode(part), views, draws, rng) for part in parts])


@torch.no_grad()
def viewed(network: nn.Module, x: Tensor, views: Views, draws: int, rng: torch.Generator) -> Tensor:
    """Mean scores ``[n, n_classes]`` in float64 of images ``[n, *shape]`` over ``draws`` views."""
    parts = []
    for part in torch.split(x, CHUNK):
        # Double precision: scores near 1 must still be ranked.
        seen = [network(views(part, rng)).double().softmax(1) for _ in range(draws)]
        parts.append(torch.stack(seen).mean(0))
    return torch.cat(parts)


def best_candidates(scores: Tensor, classes: Tensor, count: int) -> Tensor:
    """The ``count`` candidates that the target takes most for each class (PPA, section 4.2).

    Args:
        scores: ``[m, n_classes]``, larger is better.
        classes: int64 ``[t]``.
        count: candidates per class; where there are fewer, they repeat.

    Returns:
        int64 ``[count * t]``, indices into ``scores``, rank by rank: row ``r * t + c`` is the
        candidate of rank r of class c.
    """
    own = scores[:, classes]
    best = own.topk(min(count, len(own)), dim=0).indices
    return best[torch.arange(count, device=best.device) % len(best)].flatten()
