"""Pictures of reconstructions: people look rather than read."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor

from bench.contract import Split


def strip(train: Split, classes: Tensor, values: Tensor, most: int = 10, scale: int = 2) -> bytes:
    """A PNG of up to ``most`` classes: a training picture of each above its reconstruction.

    Args:
        train: the private training pictures.
        classes: int64 ``[t]`` target classes.
        values: reconstructions ``[t, channels, height, width]`` in [0, 1].
        most: classes shown.
        scale: whole-number enlargement.
    """
    shown = classes[:most]
    first = torch.stack([(train.y == c).nonzero()[0, 0] for c in shown])
    rows = [train.x[first], values[: len(shown)].clamp(0, 1)]
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    pixels = (sheet * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    size = (image.width * scale, image.height * scale)
    out = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(out, format="PNG", optimize=True)
    return out.getvalue()
