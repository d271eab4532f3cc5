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
FILLERS, MOST_FILLERS = 0.3, 100
"""Share of the people who are not private that only the judges of reconstructions see, and the
most of them (PROTOCOL 2.1)."""
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
        fillers: people who are neither, ascending; may be none.
        rows: row numbers of train, test, public.
        filler_rows: row numbers of the fillers' pictures.
    """

    private: Ints
    public: Ints
    fillers: Ints
    rows: Indices
    filler_rows: Ints

    def labels(self, person: Ints) -> Ints:
        """Class of each picture among the private people, the public ones or the fillers.

        Args:
            person: int64 ``[n]``, each of them one of those.
        """
        labels = np.searchsorted(self.fillers, person)
        for group in (self.public, self.private):
            labels = np.where(np.isin(person, group), np.searchsorted(group, person), labels)
        return labels


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
    """Draw the private people, their members, the public people and the fillers.

    Fillers are :data:`FILLERS` of the people who are not private, at most :data:`MOST_FILLERS`,
    and at least two people stay public. Where nobody is public they may be all of them.

    Args:
        name: the data set, for messages.
        person: int64 ``[n]``, owner of each picture, people counted from 0 without a gap.
        people_private: how many of those with enough pictures are private.
        images_train: pictures per private person that are members.
        seed: decides who is private and which pictures are members.
        images_test: most other pictures per private person that are ``test``; None: all.
        min_images: fewest pictures of a private person; at least one stays for ``test``.
        people_public: most people that are public; None: all but the fillers; 0: nobody.

    Raises:
        UserError: too few people.
    """
    counts = np.bincount(person)
    enough = max(min_images, images_train + 1)
    eligible = np.flatnonzero(counts >= enough)
    least = 0 if people_public == 0 else 2
    require(
        people_private <= min(len(eligible), len(counts) - least),
        f"Data set '{name}' has {len(counts)} people, {len(eligible)} of them with the "
        f"{enough} pictures or more that images_train={images_train} and min_images={min_images} "
        f"ask for; people_private={people_private} of those are wanted"
        + (", and 2 people more for 'public'" if least else "")
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

    others = np.setdiff1d(np.arange(len(counts)), private)
    others = others[torch.randperm(len(others), generator=rng).numpy()]
    share = 1.0 if people_public == 0 else FILLERS
    spared = min(MOST_FILLERS, int(share * len(others)))
    fillers, public = np.sort(others[:spared]), np.sort(others[spared:][:people_public])
    of_public, of_fillers = (np.flatnonzero(np.isin(person, who)) for who in (public, fillers))
    return Draw(private, public, fillers, (train, test, of_public), of_fillers)
