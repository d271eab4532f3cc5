"""Pictures of reconstructions: people look rather than read."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor


def strip(truth: Tensor, values: Tensor, side: int = 64) -> bytes:
    """A PNG: every private picture above its reconstruction.

    Args:
        truth: private pictures ``[n, channels, height, width]`` in [0, 1].
        values: their reconstructions, of the same shape; clipped to [0, 1].
        side: pixels that small pictures are enlarged to, by a whole number.
    """
    scale = max(1, side // truth.shape[2])
    rows = [truth, values.clamp(0, 1)]
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    pixels = (sheet * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    size = (image.width * scale, image.height * scale)
    out = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(out, format="PNG", optimize=True)
    return out.getvalue()
