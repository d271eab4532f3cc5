"""The Database of Faces of the Olivetti Research Laboratory (ORL, AT&T)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from bench.contract import Card, Dataset, Goal, Modality, Split, Splits, generator, require
from bench.data import common

SHA256 = "d81dc0ce1b7cae73897b46ab3d4d0ee2d1ff72f033819ec7c2a184dbba14a58f"
SOURCE = "https://cam-orl.co.uk/facedatabase.html (att_faces.zip)"
PEOPLE, PICTURES = 40, 10
WIDTH, HEIGHT = 92, 112


@dataclass(frozen=True)
class Orl(Dataset):
    """40 people, 10 grey pictures each; a class is a person.

    Half of the people are private, the others public (PROTOCOL 5.3, E1); who is on which side and
    which pictures are members follows from the seed.

    Attributes:
        people_private: number of classes, 2 to 38; the other people are public.
        images_train: pictures per private person that are members, 1 to 9; the rest is ``test``.
        size: pixels a side after anti-aliased resizing, 16 to 112; None keeps 112 x 92.
        folder: path below the data root with the folders s1 to s40 of 1.pgm to 10.pgm.
        sha256: expected content hash of the 400 files in numerical order; None accepts any.
    """

    people_private: int = 20
    images_train: int = 6
    size: int | None = 32
    folder: str = "orl_faces"
    sha256: str | None = SHA256

    sector: ClassVar[str] = "face"
    modality: ClassVar[Modality] = "image"
    goals: ClassVar[tuple[Goal, ...]] = ("class_representative",)
    utility_metric: ClassVar[str] = "accuracy"
    embedded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for key, low, high in (
            ("people_private", 2, PEOPLE - 2),
            ("images_train", 1, PICTURES - 1),
            ("size", 16, HEIGHT),
        ):
            value = getattr(self, key)
            require(
                (value is None and key == "size") or low <= value <= high,
                f"dataset.orl.{key} is {value}; allowed: {low} to {high}"
                + (", or null for the full 112 x 92." if key == "size" else "."),
            )
        common.check_sha256_option("orl", self.sha256)

    @property
    def n_classes(self) -> int:
        """``people_private``."""
        return self.people_private

    def missing(self, data_root: Path | None) -> str | None:
        """Where the folder should be, or which picture it lacks; see the base class."""
        paths = [self.folder, *_files(self.folder)]
        found = (common.missing_path("orl", data_root, path, SOURCE) for path in paths)
        return next((sentence for sentence in found if sentence), None)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check and split by ``seed``; see the base class."""
        root = common.require_files(self.missing(data_root), data_root)
        files = [root / path for path in _files(self.folder)]
        sha256 = common.sha256_of_files(files)
        common.check_sha256("orl", f"folder '{root / self.folder}'", self.sha256, sha256)
        x = torch.stack([_read(path, self.size) for path in files]).unsqueeze(1)

        rng = generator(seed)
        drawn = torch.randperm(PEOPLE, generator=rng)
        private = drawn[: self.people_private].sort().values
        public = drawn[self.people_private :].sort().values
        person = torch.arange(PEOPLE).repeat_interleave(PICTURES)
        label = torch.empty(PEOPLE, dtype=torch.int64)
        label[private] = torch.arange(len(private))
        label[public] = torch.arange(len(public))

        order = torch.rand(len(private), PICTURES, generator=rng).argsort(1)
        picked = private[:, None] * PICTURES + order
        train, test = picked[:, : self.images_train], picked[:, self.images_train :]
        rows = (
            train.flatten().numpy(),
            test.flatten().numpy(),
            torch.isin(person, public).nonzero().flatten().numpy(),
        )
        card = Card(
            name="orl",
            sector=self.sector,
            modality=self.modality,
            shape=tuple(x.shape[1:]),
            class_names=tuple(f"s{i + 1}" for i in private.tolist()),
            privacy_unit="person",
            source="Olivetti Research Laboratory, Cambridge; Samaria and Harter, Parameterisation "
            f"of a stochastic model for human face identification, WACV 1994; {SOURCE}",
            terms="credit to Olivetti Research Laboratory required",
            publishable=False,
            shared_classes=False,
        )
        return common.finish(
            card,
            Split(x, label[person], person),
            rows,
            sha256=sha256,
            split_protocol=f"people: {len(private)} private, {len(public)} public; per private "
            f"person {self.images_train} pictures train, the others test",
            n_people_public=len(public),
        )


def _files(folder: str) -> list[str]:
    return [
        f"{folder}/s{person}/{picture}.pgm"
        for person in range(1, PEOPLE + 1)
        for picture in range(1, PICTURES + 1)
    ]


def _read(path: Path, size: int | None) -> Tensor:
    """One picture, float32 ``[height, width]`` in [0, 1].

    Raises:
        UserError: no readable picture of 92 x 112 pixels.
    """
    what = f"Data set 'orl': file '{path}'"
    advice = f"allowed: a grey PGM of {WIDTH} x {HEIGHT} pixels. It is damaged: get it again."
    try:
        with Image.open(path) as image:
            grey = image.convert("L")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        require(False, f"{what} cannot be read ({error}); {advice}")
    require(grey.size == (WIDTH, HEIGHT), f"{what} has {grey.size} pixels; {advice}")
    if size is not None:
        grey = grey.resize((size, size), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(grey, dtype=np.float32) / 255.0)
