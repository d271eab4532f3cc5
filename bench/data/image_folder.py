"""Faces from a folder tree: one folder per person, as CelebA, FaceScrub or LFW are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Le

from bench.contract import Count, CountOrZero, Split, Splits
from bench.data import common, people
from bench.data.loader import Stored
from bench.data.people import PeopleSet, Side, Two
from bench.data.pictures import Album, Look


@dataclass(frozen=True)
class ImageFolder(PeopleSet, Stored):
    """Pictures in any format that Pillow reads; a class is a person.

    Transparent parts become white, and of an animation the first frame is taken: both are counted.
    Files that are not read (another ending, hidden, in a further folder) are counted by reason.

    Who is private and which pictures are members follows from the seed; the others' pictures are
    public, but for some that only judges see (PROTOCOL 2.1). A picture that stands in two splits
    bit for bit (the same file under two names is a known fault of collected faces) stays in the
    first of train, test, public, fillers; the facts count what was dropped.

    Attributes:
        name: of the data set, in cards and messages; as the key of the option file.
        folder: path below the data root with a folder per person.
        people_private: number of classes.
        images_train: pictures per private person that are members.
        images_test: most other pictures per private person that are ``test``; None: all.
        min_images: only people with this many pictures may be private.
        people_public: most public people; None: all who are neither private nor
            fillers.
        size: pixels a side, or height and width; None keeps the pixels of pictures that
            are equally large.
        crop: share of the largest centred window in the shape of ``size`` that is
            kept. The 108 of CelebA's 178 pixels that the field keeps are 0.607.
        colour: RGB instead of grey.
        source: where the pictures come from, for the card.
        terms: licence or terms stated there, for the card.
        publishable: whether a published report may show them; real people: no.
        sha256: expected content hash of names and files; None accepts any copy.
    """

    name: str = "image_folder"
    folder: str = "images"
    people_private: Two = 20
    images_train: Count = 8
    images_test: Count | None = None
    min_images: CountOrZero = 0
    people_public: Two | None = None
    size: Side | tuple[Side, Side] | None = 64
    crop: Annotated[float, Gt(0), Le(1)] = 1.0
    colour: bool = True
    source: str = "the user's own collection"
    terms: str = "not stated"
    publishable: bool = False

    place = "folder"

    @property
    def _size(self) -> tuple[int, int] | None:
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def called(self) -> str | None:
        """``name``, where it was set."""
        return None if self.name == type(self).name else self.name

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read the pictures that the split needs, once; see the base class."""
        album = Album.find(self.name, self._root(data_root) / self.folder)
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
        parts = (*drawn.rows, drawn.filler_rows)
        rows = np.concatenate(parts)
        look = Look(self._size, self.crop, colour=self.colour)
        x, sha256, remarks = album.read(rows, look)
        self._check_sha256(f"folder '{album.folder}'", sha256)

        ends = np.cumsum([len(part) for part in parts])
        (train, test, public, fillers), dropped = common.without_copies(
            x, *np.split(np.arange(len(rows)), ends[:-1])
        )
        person = album.person[rows]
        card = self._card(
            shape=tuple(x.shape[1:]),
            class_names=tuple(album.people[i] for i in drawn.private),
            shared_classes=False,
        )
        records = Split(x, torch.from_numpy(drawn.labels(person)), torch.from_numpy(person))
        return common.finish(
            card,
            records,
            (train, test, public),
            fillers=records.take(torch.from_numpy(fillers)),
            sha256=sha256,
            split_protocol=f"people: {len(drawn.private)} private, {len(drawn.public)} public, "
            f"{len(drawn.fillers)} fillers for the judges; per private person "
            f"{self.images_train} pictures train, "
            + ("the others" if self.images_test is None else f"up to {self.images_test} others")
            + " test",
            n_people=len(album.people),
            n_people_public=len(drawn.public),
            n_files=len(album.files),
            duplicates_dropped=dropped,
            **album.facts,
            **remarks,
        )
