"""How much a picture resembles the people whose pictures the attacker holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor
from torch.nn import functional as F

from bench.contract import Split

_MOST_COMPONENTS = 100
_SHARPNESS = 20.0
"""Of the smooth maximum over people: two people count apart where their cosines differ by .05."""


@dataclass(frozen=True)
class Strangers:
    """Public people, as two measures of likeness see them.

    A search in a prior of public faces returns mixtures of public people. The victim is not among
    them, so what resembles one of them closely is not the victim. The first measure is a cosine to
    the mean of each public person in principal components whose scatter within people is white
    (Belhumeur et al., PAMI 1997), which knows what differs between pictures of one person. The
    second is the correlation of blurred grey pictures, which is not learned.

    Attributes:
        mean: public mean picture, flat ``[d]``.
        whiten: map to the whitened components ``[k, d]``.
        people: unit means of the public people there ``[p, k]``.
        pictures: blurred public pictures as unit vectors ``[n, e]``.
    """

    mean: Tensor
    whiten: Tensor
    people: Tensor
    pictures: Tensor

    @classmethod
    def of(cls, public: Split) -> Strangers:
        """Fit both measures on public pictures ``[n, *shape]`` and their owners."""
        x = public.x.flatten(1).double()
        owner = torch.unique(public.y, return_inverse=True)[1].to(x.device)
        people = int(owner.max()) + 1
        mean = x.mean(0)
        rank = max(1, min(_MOST_COMPONENTS, len(x) - people, len(x) - 1, x.shape[1]))
        axes = torch.linalg.svd(x - mean, full_matrices=False).Vh[:rank]
        z = (x - mean) @ axes.T
        counts = owner.bincount().unsqueeze(1)
        means = z.new_zeros(people, rank).index_add(0, owner, z) / counts
        within = ledoit_wolf((z - means[owner]).cpu().numpy(), assume_centered=True)[0]
        # Where every person has one picture nothing is known of the scatter: a plain cosine.
        ridge = 1e-6 * z.var(0).mean().cpu() * torch.eye(rank, dtype=z.dtype)
        root = torch.linalg.cholesky(torch.from_numpy(within) + ridge).to(x.device)
        whiten = torch.linalg.solve_triangular(root, axes, upper=False)
        unit = F.normalize((x - mean) @ whiten.T)
        centres = F.normalize(unit.new_zeros(people, rank).index_add(0, owner, unit))
        flat = mean.float()
        return cls(flat, whiten.float(), centres.float(), _blurred(public.x, flat))

    def resemblance(self, x: Tensor) -> Tensor:
        """Likeness ``[n]`` to the nearest public person, of pictures ``[n, *shape]``.

        The sum of both measures, each a smooth maximum of values in [-1, 1]; differentiable.
        """
        whitened = F.normalize((x.flatten(1) - self.mean) @ self.whiten.T)
        return _greatest(whitened @ self.people.T) + _greatest(
            _blurred(x, self.mean) @ self.pictures.T
        )


def _greatest(likeness: Tensor) -> Tensor:
    return (likeness * _SHARPNESS).logsumexp(1) / _SHARPNESS


def _blurred(x: Tensor, mean: Tensor) -> Tensor:
    """Pictures as unit vectors: grey, 3 x 3 box blur, less the mean picture, of zero mean."""
    grey = (x - mean.view(x.shape[1:])).mean(1, keepdim=True)
    flat = F.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False).flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True))
