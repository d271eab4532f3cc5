"""The Database of Faces of the Olivetti Research Laboratory (ORL, AT&T)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from bench.contract import Card, Dataset, Modality, Split, Splits, require
from bench.data import common, people, pictures
from bench.data.lfw import CROP, Lfw, lfw_faces

SHA256 = "d81dc0ce1b7cae73897b46ab3d4d0ee2d1ff72f033819ec7c2a184dbba14a58f"
SOURCE = "https://cam-orl.co.uk/facedatabase.html (att_faces.zip)"
PEOPLE, PICTURES = 40, 10
HEIGHT, WIDTH = 112, 92


@dataclass(frozen=True)
class FortyPeople(Dataset):
    """40 people, 10 grey pictures each; a class is a person. What ORL and Olivetti share.

    Who is private and which pictures are members follows from the seed. The public faces are the
    other people of the same set (PROTOCOL 5.3, E1), or Labeled Faces in the Wild: then all 40
    may be private, as in Fredrikson, Jha and Ristenpart (CCS 2015, section 5), and thousands of
    faces are there to fit a prior on.

    Attributes:
        people_private: number of classes: 2 to 38, with ``public: lfw`` up to 40.
        images_train: pictures per private person that are members, 1 to 9; the rest is ``test``.
        size: pixels a side, averaged over areas, from 16; None keeps the original size.
        public: ``people``: the other people; ``lfw``: the people below the data root's ``lfw``,
            cropped to the same frame, and the other people are left out.
        people_public: most public people, at least 2; None: all.
    """

    people_private: int = 20
    images_train: int = 6
    size: int | None = 32
    public: Literal["people", "lfw"] = "people"
    people_public: int | None = None

    name: ClassVar[str]
    original: ClassVar[tuple[int, int]]
    """Height and width of the original pictures."""
    source: ClassVar[str]
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
        height, width = self.original
        for key, low, high, otherwise in (
            ("people_private", 2, PEOPLE - 2 * (self.public == "people"), None),
            ("images_train", 1, PICTURES - 1, None),
            ("size", 16, height, f"null for the full {height} x {width}"),
            ("people_public", 2, 10**6, "null for all"),
        ):
            value = getattr(self, key)
            require(
                (value is None and otherwise is not None) or low <= value <= high,
                f"dataset.{self.name}.{key} is {value}; allowed: {low} to {high}"
                + (f", or {otherwise}." if otherwise else "."),
            )
        require(
            self.public in ("people", "lfw"),
            f"dataset.{self.name}.public is '{self.public}'; allowed: people, lfw.",
        )

    @property
    def n_classes(self) -> int:
        """``people_private``."""
        return self.people_private

    def files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """The pictures, and those of other people where they are public; see the base class."""
        elsewhere = Lfw().files(data_root) if self.public == "lfw" else {}
        return {**self._own_files(data_root), **{f"public.{k}": v for k, v in elsewhere.items()}}

    @abstractmethod
    def _own_files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """As :meth:`files`, of the 400 pictures alone."""

    def missing(self, data_root: Path | None) -> str | None:
        """Which file is missing and where to get it; see the base class."""
        return self._missing(data_root) or (
            Lfw().missing(data_root) if self.public == "lfw" else None
        )

    @abstractmethod
    def _missing(self, data_root: Path | None) -> str | None:
        """As :meth:`missing`, of the 400 pictures alone."""

    @abstractmethod
    def _pictures(self, root: Path, look: pictures.Look) -> tuple[Tensor, str]:
        """The pictures float32 ``[400, 1, height, width]`` in [0, 1], person by person; sha256."""

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check and split by ``seed``; see the base class."""
        root = common.require_files(self.missing(data_root), data_root)
        size = self.original if self.size is None else (self.size, self.size)
        look = pictures.Look(size, aspect=self.original)
        x, sha256 = self._pictures(root, look)
        elsewhere = self.public == "lfw"
        person = np.repeat(np.arange(PEOPLE), PICTURES)
        drawn = people.draw(
            self.name,
            person,
            people_private=self.people_private,
            images_train=self.images_train,
            people_public=0 if elsewhere else self.people_public,
            seed=seed,
        )
        y, rows = drawn.labels(person), drawn.rows
        more: dict[str, Any] = {"n_people_public": len(drawn.public)}
        if elsewhere:
            frame = pictures.Look(size, crop=CROP, aspect=self.original)
            theirs, who, more = lfw_faces(root, frame, self.people_public, seed)
            rows = (*rows[:2], np.arange(len(x), len(x) + len(theirs)))
            x, y = torch.cat([x, theirs]), np.concatenate([y, who])
            person = np.concatenate([person, who + PEOPLE])
        card = Card(
            name=self.name,
            sector=self.sector,
            modality=self.modality,
            shape=tuple(x.shape[1:]),
            class_names=tuple(f"s{i + 1}" for i in drawn.private),
            privacy_unit="person",
            source="Olivetti Research Laboratory, Cambridge; Samaria and Harter, Parameterisation "
            f"of a stochastic model for human face identification, WACV 1994; {self.source}"
            + (f"; public faces: {Lfw().source}" if elsewhere else ""),
            terms="credit to Olivetti Research Laboratory required",
            publishable=False,
            shared_classes=False,
        )
        return common.finish(
            card,
            Split(x, torch.from_numpy(y), torch.from_numpy(person)),
            rows,
            sha256=sha256,
            split_protocol=f"people: {len(drawn.private)} private, {more['n_people_public']} "
            f"public{' (LFW)' if elsewhere else ''}; per private person {self.images_train} "
            "pictures train, the others test",
            **more,
        )


@dataclass(frozen=True)
class Orl(FortyPeople):
    """The 400 PGM files; see :class:`FortyPeople` for what the options mean.

    Attributes:
        folder: path below the data root with the folders s1 to s40 of 1.pgm to 10.pgm.
        sha256: expected content hash of the 400 files in numerical order; None accepts any.
    """

    folder: str = "orl_faces"
    sha256: str | None = SHA256

    name: ClassVar[str] = "orl"
    original: ClassVar[tuple[int, int]] = (HEIGHT, WIDTH)
    source: ClassVar[str] = SOURCE

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_sha256_option("orl", self.sha256)

    def _files(self) -> list[str]:
        return [
            f"{self.folder}/s{person}/{picture}.pgm"
            for person in range(1, PEOPLE + 1)
            for picture in range(1, PICTURES + 1)
        ]

    def _own_files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        return common.present(data_root, folder=self._files())

    def _missing(self, data_root: Path | None) -> str | None:
        paths = [self.folder, *self._files()]
        found = (common.missing_path("orl", data_root, path, SOURCE) for path in paths)
        return next((sentence for sentence in found if sentence), None)

    def _pictures(self, root: Path, look: pictures.Look) -> tuple[Tensor, str]:
        files = [root / path for path in self._files()]
        sha256 = common.sha256_of_files(files)
        common.check_sha256("orl", f"folder '{root / self.folder}'", self.sha256, sha256)
        return pictures.read("orl", files, look, self.original), sha256
