"""The Database of Faces of the Olivetti Research Laboratory (ORL, AT&T)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Le, Lt
from torch import Tensor

from bench.contract import Split, Splits, require
from bench.data import common, people, pictures
from bench.data.lfw import CROP, Lfw, lfw_faces
from bench.data.loader import Stored
from bench.data.people import PeopleSet, Two

PEOPLE, PICTURES = 40, 10
HEIGHT, WIDTH = 112, 92


@dataclass(frozen=True)
class FortyPeople(PeopleSet, Stored):
    """40 people, 10 grey pictures each; a class is a person. What ORL and Olivetti share.

    Who is private and which pictures are members follows from the seed. The public faces are
    other people of the same set (PROTOCOL 5.3, E1), or Labeled Faces in the Wild: then all 40
    may be private, as in Fredrikson, Jha and Ristenpart (CCS 2015, section 5), and thousands of
    faces are there to fit a prior on.

    Attributes:
        people_private: number of classes: to 38, with ``public: lfw`` to 40.
        images_train: pictures per private person that are members; the rest is ``test``.
        size: pixels a side, averaged over areas; None keeps the original size.
        public: ``people``: the other people; ``lfw``: the people below the data root's ``lfw``,
            cropped to the same frame, and the other people are fillers for the judges.
        people_public: most public people; None: all but the fillers (PROTOCOL 2.1).
        folder: path below the data root.
    """

    people_private: Annotated[int, Ge(2), Le(PEOPLE)] = 20
    images_train: Annotated[int, Ge(1), Lt(PICTURES)] = 6
    size: int | None = 32
    public: Literal["people", "lfw"] = "people"
    people_public: Two | None = None
    folder: str = ""

    original: ClassVar[tuple[int, int]]
    """Height and width of the original pictures."""
    place = "folder"
    credit = (
        "Olivetti Research Laboratory, Cambridge; Samaria and Harter, Parameterisation of a "
        "stochastic model for human face identification, WACV 1994"
    )
    terms = "credit to Olivetti Research Laboratory required"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.public == "lfw" or self.people_private <= PEOPLE - 2,
            f"dataset.{self.name}: people_private is {self.people_private}; with public=people "
            f"give at most {PEOPLE - 2}, so that two of the {PEOPLE} people are public.",
        )

    def files(self, data_root: Path | None) -> Mapping[str, Path | Sequence[Path]]:
        """The pictures, and those of other people where they are public; see the base class."""
        elsewhere = Lfw().files(data_root) if self.public == "lfw" else {}
        return {**super().files(data_root), **{f"public.{k}": v for k, v in elsewhere.items()}}

    def missing(self, data_root: Path | None) -> str | None:
        """Which file is missing and where to get it; see the base class."""
        return super().missing(data_root) or self._public_missing(data_root)

    def _public_missing(self, data_root: Path | None) -> str | None:
        """As :meth:`missing`, of the other people's pictures alone."""
        return Lfw().missing(data_root) if self.public == "lfw" else None

    @abstractmethod
    def _pictures(self, root: Path, look: pictures.Look) -> tuple[Tensor, str]:
        """The pictures float32 ``[400, 1, height, width]`` in [0, 1], person by person; sha256."""

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check and split by ``seed``; see the base class."""
        root = self._root(data_root)
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
            faces, owner, more = lfw_faces(root, frame, self.people_public, seed)
            rows = (*rows[:2], np.arange(len(x), len(x) + len(faces)))
            x, y = torch.cat([x, faces]), np.concatenate([y, owner])
            person = np.concatenate([person, owner + PEOPLE])
        records = Split(x, torch.from_numpy(y), torch.from_numpy(person))
        card = self._card(
            shape=tuple(x.shape[1:]),
            class_names=tuple(f"s{i + 1}" for i in drawn.private),
            source=f"{self.credit}; {self.source}"
            + (f"; public faces: {Lfw().source}" if elsewhere else ""),
            shared_classes=False,
        )
        return common.finish(
            card,
            records,
            rows,
            fillers=records.take(torch.from_numpy(drawn.filler_rows)),
            sha256=sha256,
            split_protocol=f"people: {len(drawn.private)} private, {more['n_people_public']} "
            f"public{' (LFW)' if elsewhere else ''}, {len(drawn.fillers)} fillers for the judges; "
            f"per private person {self.images_train} "
            "pictures train, the others test",
            **more,
        )


@dataclass(frozen=True)
class Orl(FortyPeople):
    """The 400 PGM files, in folders s1 to s40 of 1.pgm to 10.pgm."""

    size: Annotated[int, Ge(16), Le(HEIGHT)] | None = 32
    folder: str = "orl_faces"
    sha256: str | None = "d81dc0ce1b7cae73897b46ab3d4d0ee2d1ff72f033819ec7c2a184dbba14a58f"

    name = "orl"
    original = (HEIGHT, WIDTH)
    source = "https://cam-orl.co.uk/facedatabase.html (att_faces.zip)"
    names = tuple(
        f"s{person}/{picture}.pgm"
        for person in range(1, PEOPLE + 1)
        for picture in range(1, PICTURES + 1)
    )

    def missing(self, data_root: Path | None) -> str | None:
        """The folder, where it is not there at all; see the base class."""
        folder = common.missing_path(self.name, data_root, self.folder, self.source)
        return folder or super().missing(data_root)

    def _pictures(self, root: Path, look: pictures.Look) -> tuple[Tensor, str]:
        files, facts = self._open(root)
        return pictures.read("orl", files, look, self.original), facts["sha256"]
