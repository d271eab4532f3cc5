"""Likeness of pairs of images, shared by the goals that return images."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error ``[n]`` of image pairs ``[n, c, h, w]``; 0 where they are equal."""
    return (a - b).square().flatten(1).mean(1)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio ``[n]`` in dB of image pairs in [0, 1], at most 100 dB."""
    out: Tensor = -10 * mse(a, b).clamp_min(1e-10).log10()
    return out


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity ``[n]`` of image pairs ``[n, c, h, w]`` in [0, 1].

    Wang et al., IEEE TIP 2004, eq. 13, with a uniform 7x7 window and sample covariances.
    """
    window = 7
    unbias = window**2 / (window**2 - 1)

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window, stride=1)

    ma, mb = mean(a), mean(b)
    va, vb = unbias * (mean(a * a) - ma**2), unbias * (mean(b * b) - mb**2)
    cov = unbias * (mean(a * b) - ma * mb)
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return index.flatten(1).mean(1)
