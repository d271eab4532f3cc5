"""Faces from a folder tree: one folder per person, as CelebA, FaceScrub or LFW are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from bench.contract import Card, Dataset, Modality, Split, Splits, require
from bench.data import common, people
from bench.data.pictures import Album, Look


@dataclass(frozen=True)
class ImageFolder(Dataset):
    """Pictures in any format that Pillow reads; a class is a person.

    Who is private and which pictures are members follows from the seed; the others' pictures are
    public. A picture that stands in two splits bit for bit (the same file under two names is a
    known fault of collected faces) stays in the first of train, test, public; the facts count
    what was dropped.

    Attributes:
        name: of the data set, in cards and messages; as the key of the option file.
        folder: path below the data root with a folder per person.
        people_private: number of classes, at least 2.
        images_train: pictures per private person that are members, at least 1.
        images_test: most other pictures per private person that are ``test``; None: all.
        min_images: only people with this many pictures may be private.
        people_public: most public people, at least 2; None: all who are not private.
        size: pixels a side, or height and width, from 16; None keeps the pixels of pictures that
            are equally large.
        crop: share of the largest centred window in the shape of ``size`` that is kept, in
            (0, 1]. The 108 of CelebA's 178 pixels that the field keeps are 0.607.
        colour: RGB instead of grey.
        source: where the pictures come from, for the card.
        terms: licence or terms stated there, for the card.
        publishable: whether a published report may show them; real people: no.
        sha256: expected content hash of names and files; None accepts any.
    """

    name: str = "image_folder"
    folder: str = "images"
    people_private: int = 20
    images_train: int = 8
    images_test: int | None = None
    min_images: int = 0
    people_public: int | None = None
    size: int | tuple[int, int] | None = 64
    crop: float = 1.0
    colour: bool = True
    source: str = "the user's own collection"
    terms: str = "not stated"
    publishable: bool = False
    sha256: str | None = None

    sector: ClassVar[str] = "face"
    modality: ClassVar[Modality] = "image"
    goals: ClassVar[tuple[str, ...]] = (
        "class_representative",
        "output_reconstruction",
        "gradient_reconstruction",
    )
    utility_metric: ClassVar[str] = "accuracy"
    embedded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for key, low in (
            ("people_private", 2),
            ("images_train", 1),
            ("images_test", 1),
            ("min_images", 0),
            ("people_public", 2),
        ):
            value = getattr(self, key)
            require(
                (value is None and key in ("images_test", "people_public")) or value >= low,
                f"dataset.{self.name}.{key} is {value}; give at least {low}.",
            )
        require(
            self.size is None or (len(self._size or ()) == 2 and min(self._size or ()) >= 16),
            f"dataset.{self.name}.size is {self.size}; give a number of pixels or [height, width], "
            "from 16, or null for what the files hold.",
        )
        require(
            0.0 < self.crop <= 1.0,
            f"dataset.{self.name}.crop is {self.crop}; give a share above 0 and at most 1.",
        )
        common.check_sha256_option(self.name, self.sha256)

    @property
    def _size(self) -> tuple[int, int] | None:
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def called(self) -> str | None:
        """``name``, where it was set."""
        return None if self.name == type(self).name else self.name

    @property
    def n_classes(self) -> int:
        """``people_private``."""
        return self.people_private

    def files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """The folder of pictures; see the base class."""
        return common.present(data_root, folder=self.folder)

    def missing(self, data_root: Path | None) -> str | None:
        """Where the folder should be; see the base class."""
        return common.missing_path(self.name, data_root, self.folder, self.source)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read the pictures that the split needs, once; see the base class."""
        root = common.require_files(self.missing(data_root), data_root)
        album = Album.find(self.name, root / self.folder)
        drawn = people.draw(
            self.name,
            album.person,
            people_private=self.people_private,
            images_train=self.images_train,
            images_test=self.images_test,
            min_images=self.min_images,
            people_public=self.people_public,
            seed=seed,
        )
        rows = np.concatenate(drawn.rows)
        look = Look(self._size, self.crop, colour=self.colour)
        x, sha256 = album.read(rows, look)
        common.check_sha256(self.name, f"folder '{album.folder}'", self.sha256, sha256)

        ends = np.cumsum([len(part) for part in drawn.rows])
        (train, test, public), dropped = common.without_copies(
            x, *np.split(np.arange(len(rows)), ends[:-1])
        )
        person = album.person[rows]
        card = Card(
            name=self.name,
            sector=self.sector,
            modality=self.modality,
            shape=tuple(x.shape[1:]),
            class_names=tuple(album.people[i] for i in drawn.private),
            privacy_unit="person",
            source=self.source,
            terms=self.terms,
            publishable=self.publishable,
            shared_classes=False,
        )
        return common.finish(
            card,
            Split(x, torch.from_numpy(drawn.labels(person)), torch.from_numpy(person)),
            (train, test, public),
            sha256=sha256,
            split_protocol=f"people: {len(drawn.private)} private, {len(drawn.public)} public; per "
            f"private person {self.images_train} pictures train, "
            + ("the others" if self.images_test is None else f"up to {self.images_test} others")
            + " test",
            n_people=len(album.people),
            n_people_public=len(drawn.public),
            n_files=len(album.files),
            duplicates_dropped=dropped,
        )
