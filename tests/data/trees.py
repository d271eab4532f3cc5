"""Folder trees of tiny pictures whose top left corner says whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, person: int, number: int, size: tuple[int, int] = (20, 24)) -> None:
    """A flat picture of ``size`` (height, width): red tells the person, green the number."""
    pixels = np.zeros((*size, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = 5 * person + 5, 10 * number
    Image.fromarray(pixels).save(path)


def tree(folder: Path, counts: Sequence[int], ending: str = "png") -> Path:
    """Folders p00, p01... with as many pictures as ``counts`` says; returns ``folder``."""
    for person, count in enumerate(counts):
        (folder / f"p{person:02d}").mkdir(parents=True)
        for number in range(count):
            picture(folder / f"p{person:02d}/{number}.{ending}", person, number)
    return folder
