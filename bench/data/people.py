"""Who is private and who is public: no person is both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge

from bench.contract import Modality, generator, require
from bench.data.common import Indices, Ints
from bench.data.loader import Loader

Two = Annotated[int, Ge(2)]
"""Number of people: at least two."""
Side = Annotated[int, Ge(16)]
"""Pixels a side: below 16 no face can be told."""


class PeopleSet(Loader):
    """What pictures of people are used for; a class is a private person."""

    people_private: int
    """Number of private people."""

    sector: ClassVar[str] = "face"
    modality: ClassVar[Modality] = "image"
    goals: ClassVar[tuple[str, ...]] = (
        "class_representative",
        "output_reconstruction",
        "gradient_reconstruction",
    )
    utility_metric: ClassVar[str] = "accuracy"
    unit = "person"

    @property
    def n_classes(self) -> int:
        """``people_private``."""
        return self.people_private


@dataclass(frozen=True)
class Draw:
    """An identity-disjoint split of pictures.

    Attributes:
        private: people whose pictures are ``train`` and ``test``, ascending; a class each.
        public: other people, ascending.
        rows: row numbers of train, test, public.
    """

    private: Ints
    public: Ints
    rows: Indices

    def labels(self, person: Ints) -> Ints:
        """Class of each picture among the private people, or among the public ones.

        Args:
            person: int64 ``[n]``, each of them private or public.
        """
        private = np.searchsorted(self.private, person)
        private[private == len(self.private)] = 0
        public = np.searchsorted(self.public, person)
        return np.where(self.private[private] == person, private, public)


def draw(
    name: str,
    person: Ints,
    *,
    people_private: int,
    images_train: int,
    seed: int,
    images_test: int | None = None,
    min_images: int = 0,
    people_public: int | None = None,
) -> Draw:
    """Draw the private people, their members and the public people.

    Args:
        name: the data set, for messages.
        person: int64 ``[n]``, owner of each picture, people counted from 0 without a gap.
        people_private: how many of those with enough pictures are private.
        images_train: pictures per private person that are members.
        seed: decides who is private and which pictures are members.
        images_test: most other pictures per private person that are ``test``; None: all.
        min_images: fewest pictures of a private person; at least one stays for ``test``.
        people_public: most people that are public; None: all others; 0: nobody.

    Raises:
        UserError: too few people.
    """
    counts = np.bincount(person)
    enough = max(min_images, images_train + 1)
    eligible = np.flatnonzero(counts >= enough)
    others = 0 if people_public == 0 else 2
    require(
        people_private <= min(len(eligible), len(counts) - others),
        f"Data set '{name}' has {len(counts)} people, {len(eligible)} of them with the "
        f"{enough} pictures or more that images_train={images_train} and min_images={min_images} "
        f"ask for; people_private={people_private} of those are wanted"
        + (", and 2 people more for 'public'" if others else "")
        + ": ask for fewer people or pictures, or get more.",
    )
    rng = generator(seed)
    chosen = torch.randperm(len(eligible), generator=rng)[:people_private]
    private = np.sort(eligible[chosen.numpy()])

    candidates = np.flatnonzero(np.isin(person, private))
    shuffled = candidates[
        np.lexsort((torch.rand(len(candidates), generator=rng).numpy(), person[candidates]))
    ]
    n = counts[private]
    place = np.arange(len(candidates)) - np.repeat(
        np.cumsum(n) - n, n
    )  # 0, 1, 2... for each person
    last = np.inf if images_test is None else images_train + images_test
    train = shuffled[place < images_train]
    test = shuffled[(place >= images_train) & (place < last)]

    public = np.setdiff1d(np.arange(len(counts)), private)
    if people_public is not None and people_public < len(public):
        kept = torch.randperm(len(public), generator=rng)[:people_public]
        public = np.sort(public[kept.numpy()])
    return Draw(private, public, (train, test, np.flatnonzero(np.isin(person, public))))
