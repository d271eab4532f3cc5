"""Judges of pictures of people that are linear discriminants on fixed features (PROTOCOL 2.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from bench.contract import Split

HEIGHT = 32
"""Judges see pictures of at most this height, which is enough for a face and less noise."""

_MOST_COMPONENTS = 400
_CELL, _ORIENTATIONS = 4, 8


def small(x: Tensor) -> Tensor:
    """Images ``[n, c, h, w]`` averaged down to a height of at most :data:`HEIGHT`."""
    height, width = x.shape[2:]
    if height <= HEIGHT:
        return x
    return F.interpolate(x, (HEIGHT, max(1, round(width * HEIGHT / height))), mode="area")


def blur(x: Tensor) -> Tensor:
    """Images ``[n, c, h, w]`` under a 3 x 3 box filter that ends at the edges."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def pixels(x: Tensor) -> Tensor:
    """Small images as rows ``[n, d]``."""
    return small(x).flatten(1)


def gradients(x: Tensor) -> Tensor:
    """Histograms of oriented gradients ``[n, d]`` of images ``[n, c, h, w]``.

    After Dalal and Triggs (CVPR 2005): how strong the edges of each direction are in overlapping
    cells of 4 x 4 pixels, relative to the strength of all edges around. Light and skin tone drop
    out, which is what the whitened pixels see most. Other than there, directions are signed and
    shared smoothly between bins, the neighbourhood is 3 x 3 cells, and the square root is taken
    after the normalisation.
    """
    grey = small(x).mean(1, keepdim=True)
    grey = F.pad(torch.lerp(grey, blur(grey), 0.5), (1, 1, 1, 1), mode="replicate")
    across = grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]
    down = grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]
    # |g| cos(a - b) is the part of the gradient along direction b: no angle is needed.
    angle = torch.arange(_ORIENTATIONS, device=x.device) * (2 * math.pi / _ORIENTATIONS)
    axes = torch.stack([angle.cos(), angle.sin()]).to(x.dtype).view(2, 1, -1, 1, 1)
    along = F.relu(across * axes[0] + down * axes[1])
    strength = (across.square() + down.square()).clamp_min(1e-8).sqrt()
    cells = F.avg_pool2d(strength * (along / strength).pow(4), _CELL, _CELL // 2)
    around = blur(cells.square().sum(1, keepdim=True)).sqrt()
    return (cells / (around + 1e-3)).clamp_max(0.5).sqrt().flatten(1)


FEATURES: dict[str, Callable[[Tensor], Tensor]] = {"lda": pixels, "hog": gradients}
"""What each discriminant looks at, by the name of the judge."""


@dataclass(frozen=True)
class Rows:
    """Features of pictures, of their blurred copies, and owners; each ``[n, ...]``."""

    plain: Tensor
    blurred: Tensor
    y: Tensor

    @classmethod
    def of(cls, split: Split, name: str) -> Rows:
        """What the judge ``name`` of :data:`FEATURES` sees of a split, on the CPU."""
        look, x = FEATURES[name], small(split.x).cpu()
        plain, blurred = (
            torch.cat([look(part) for part in torch.split(images, 1024)]) for images in (x, blur(x))
        )
        return cls(plain, blurred, split.y.cpu())

    def take(self, index: Tensor) -> Rows:
        """Those at ``index``, row numbers or bool ``[n]``."""
        return Rows(self.plain[index], self.blurred[index], self.y[index])

    def __add__(self, other: Rows) -> Rows:
        return Rows(
            torch.cat([self.plain, other.plain]),
            torch.cat([self.blurred, other.blurred]),
            torch.cat([self.y, other.y]),
        )


def fit(rows: Rows, seed: int) -> tuple[Tensor, Tensor]:
    """PCA, then the map that makes the scatter within people white: ``x @ weight.T + bias``.

    Cosines in that space are the discriminant analysis of Belhumeur et al. (PAMI 1997). They do not
    depend on how far a picture goes in the direction of a person: reconstructions go too far, and
    blurred pictures not far enough. Every picture is used a second time, blurred, for the same
    reason: blur is then one of the ways in which pictures of one person differ.

    Args:
        rows: features; any integers may name their owners.
        seed: of the randomised decomposition.
    """
    x, owner = torch.cat([rows.plain, rows.blurred]), torch.unique(rows.y, return_inverse=True)[1]
    people = int(owner.max()) + 1
    # Blurred copies are no further pictures: at most one component less than the degrees of
    # freedom within people, and four pictures a component where there are many.
    most = min(_MOST_COMPONENTS, max(100, len(owner) // 4))
    rank = max(1, min(most, len(owner) - people, x.shape[1]))
    pca = PCA(rank, svd_solver="randomized", random_state=seed).fit(x.numpy())
    z = torch.from_numpy(pca.transform(x.numpy())).double()
    means = torch.zeros(people, rank, dtype=z.dtype).index_add(0, owner.repeat(2), z)
    means /= 2 * owner.bincount().unsqueeze(1)
    within = (z - means[owner.repeat(2)]).numpy()
    scatter = torch.from_numpy(ledoit_wolf(within, assume_centered=True)[0])
    # Where every person has one picture, little is known of the scatter.
    ridge = 1e-6 * z.var(0).mean() * torch.eye(rank, dtype=z.dtype)
    components = torch.from_numpy(pca.components_).double()
    whiten = torch.linalg.inv(torch.linalg.cholesky(scatter + ridge)) @ components
    return whiten.float(), -(whiten @ torch.from_numpy(pca.mean_).double()).float()


def place(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Features ``[n, d]`` as unit vectors ``[n, k]`` of a fitted space."""
    return F.normalize(features @ weight.T + bias)


def centres(z: Tensor, y: Tensor, people: int) -> Tensor:
    """Unit mean of the unit vectors ``z`` ``[n, k]`` of each person, ``[people, k]``.

    A person without a picture has the mean 0 and cosine 0 with everything: nobody.
    """
    return F.normalize(z.new_zeros(people, z.shape[1]).index_add(0, y, z))
