"""Labeled Faces in the Wild: many people as they were photographed by the press."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Gt, Le
from torch import Tensor

from bench.contract import Count, CountOrZero, generator
from bench.data import common
from bench.data.common import Ints
from bench.data.image_folder import ImageFolder
from bench.data.people import Two
from bench.data.pictures import Album, Look

CROP = 0.5
"""Shows the face as large as ORL does, and leaves out the black edges that alignment left."""


@dataclass(frozen=True)
class Lfw(ImageFolder):
    """The aligned pictures, 250 x 250, a folder per person; the options are the base class's.

    People with ``min_images`` pictures may be private, all others are public.
    """

    name: str = "lfw"
    folder: str = "lfw"
    people_private: Two = 40
    images_train: Count = 14
    images_test: Count | None = 6
    min_images: CountOrZero = 20
    crop: Annotated[float, Gt(0), Le(1)] = CROP
    colour: bool = False
    source: str = (
        "Huang, Ramesh, Berg, Learned-Miller, Labeled Faces in the Wild, UMass Amherst technical "
        "report 07-49, 2007; aligned pictures from http://vis-www.cs.umass.edu/lfw/"
    )
    terms: str = "none stated at the source; pictures of the press, for research"


def lfw_faces(
    root: Path, look: Look, people: int | None, seed: int
) -> tuple[Tensor, Ints, dict[str, Any]]:
    """Faces of LFW as another data set's public ones.

    Args:
        root: the data root.
        look: what is made of each picture.
        people: most people, drawn by ``seed``; None: all.
        seed: of the draw.

    Returns:
        float32 ``[n, channels, height, width]`` in [0, 1]; int64 ``[n]``, whose picture each is,
        counted from 0 without a gap; facts.

    Raises:
        UserError: no folder, or an unreadable picture.
    """
    lfw = Lfw()
    common.require_files(lfw.missing(root), root)
    album = Album.find(lfw.name, root / lfw.folder)
    drawn = torch.randperm(len(album.people), generator=generator(seed))[:people].numpy()
    rows = np.flatnonzero(np.isin(album.person, drawn))
    x, sha256, _ = album.read(rows, look)
    _, owner = np.unique(album.person[rows], return_inverse=True)
    return x, owner, {"n_people_public": len(drawn), "public_sha256": sha256}
