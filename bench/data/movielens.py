"""MovieLens latest-small: which films people rated highly."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from bench.contract import Card, Dataset, Modality, Split, Splits, Task, UserError, require
from bench.data import common, lock
from bench.data.segments import segment, segment_names

SHA256 = "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"
SOURCE = "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"
TABLES = {
    "ratings": ("userId", "movieId", "rating"),
    "movies": ("movieId", "title"),
    "tags": ("movieId", "tag"),
}
SENSITIVE_TAGS = (
    "aids", "alcoholism", "autism", "drug abuse", "drug overdose", "heroin", "mental illness",
    "schizophrenia", "suicide",
    "bible", "biblical references", "catholic church", "christianity", "jewish", "judaism",
    "missionary", "muslim", "nun", "religion",
    "gay", "homosexuality", "lesbian", "prostitution", "r:graphic sexuality", "sexuality",
    "transgender", "transvestite",
    "communism", "political commentary", "politics",
    "american indians", "holocaust", "native americans", "racism",
)  # fmt: skip
"""Tags, in lower case, of films that hint at what GDPR art. 9 protects: health, belief, sex life,
political opinion, descent. Ratings of such films are what Narayanan and Shmatikov (IEEE S&P 2008,
sec. 5) read off Netflix customers."""


@dataclass(frozen=True)
class MovieLens(Dataset):
    """Films a person likes, as 0/1 vectors; class = segment of taste; a person is one record.

    A rating of ``least_rating`` or more is a like, everything else is 0 (implicit feedback, as in
    Liang et al., WWW 2018, sec. 4.1, who also keep ratings of 4 and above and people with 5 films
    or more). Segments: see :mod:`bench.data.segments`. Sensitive films carry one of
    ``SENSITIVE_TAGS``.

    Attributes:
        segments: number of classes, 2 to 50.
        least_rating: lowest rating that is a like, 0.5 to 5.
        min_users: only films that so many people like, 1 or more.
        min_items: only people who like so many of those films, 1 or more.
        train: share of the people who are members.
        public: share of the people the attacker holds; the rest is ``test``.
        file: path below the data root, as GroupLens packs it.
        sha256: expected content hash of the file; None accepts any copy.
    """

    segments: int = 5
    least_rating: float = 4.0
    min_users: int = 20
    min_items: int = 5
    train: float = 0.4
    public: float = 0.4
    file: str = "movielens/ml-latest-small.zip"
    sha256: str | None = SHA256

    sector: ClassVar[str] = "retail"
    modality: ClassVar[Modality] = "basket"
    goals: ClassVar[tuple[str, ...]] = ("output_reconstruction", "training_instance")
    tasks: ClassVar[tuple[Task, ...]] = ("classification", "recommendation")
    terms: ClassVar[str] = (
        "GroupLens: research use with acknowledgement, not commercial, passed on under the same "
        "terms"
    )
    utility_metric: ClassVar[str] = "accuracy"
    embedded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for key, low, high in (
            ("segments", 2, 50),
            ("least_rating", 0.5, 5.0),
            ("min_users", 1, 10**6),
            ("min_items", 1, 10**6),
        ):
            value = getattr(self, key)
            require(
                low <= value <= high,
                f"dataset.movielens.{key} is {value}; allowed: {low} to {high:g}.",
            )
        common.check_fractions("movielens", self.train, self.public)
        common.check_sha256_option("movielens", self.sha256)

    @property
    def n_classes(self) -> int:
        """``segments``."""
        return self.segments

    def files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """The archive; see the base class."""
        return common.present(data_root, file=self.file)

    def missing(self, data_root: Path | None) -> str | None:
        """Where the file should be; see the base class."""
        source = f"{SOURCE} (invbench data fetch movielens)"
        return common.missing_path("movielens", data_root, self.file, source)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check, split and segment by ``seed``; see the base class."""
        path = common.require_files(self.missing(data_root), data_root) / self.file
        sha256, checked = lock.check("movielens", path, self.sha256)
        ratings, movies, tags = _read(path)
        likes = self._likes(ratings)
        x = torch.from_numpy(likes.to_numpy(np.float32, copy=True))
        user = likes.index.to_numpy(np.int64, copy=True)
        films = likes.columns.to_numpy(np.int64, copy=True)
        delicate = tags.loc[tags["tag"].str.lower().isin(SENSITIVE_TAGS), "movieId"]

        strata = np.zeros(len(x), dtype=np.int64)
        rows = common.stratified("movielens", strata, self.train, self.public, seed)
        y = segment("movielens", x, rows[2], self.segments, seed)
        card = Card(
            name="movielens",
            sector=self.sector,
            modality=self.modality,
            shape=(len(films),),
            class_names=segment_names(self.segments),
            privacy_unit="person",
            source="MovieLens latest-small (2018), Harper and Konstan, ACM TiiS 5(4) 2015, "
            f"https://doi.org/10.1145/2827872; {SOURCE}",
            terms=self.terms,
            publishable=False,
            columns=tuple(movies.set_index("movieId")["title"].reindex(films).astype(str)),
            tasks=self.tasks,
            sensitive_items=tuple(np.flatnonzero(np.isin(films, delicate)).tolist()),
        )
        return common.finish(
            card,
            Split(x, y, torch.from_numpy(user)),
            rows,
            sha256=sha256,
            split_protocol=f"people with {self.min_items} films or more that {self.min_users} or "
            f"more people rate {self.least_rating:g} or higher: {self.train} train, "
            f"{self.public} public, rest test; segments: k-means on public",
            allow_duplicates=True,
            sha256_checked=checked,
            n_ratings=len(ratings),
            n_users=int(ratings["userId"].nunique()),
            n_films=len(movies),
            mean_basket=float(x.sum(1).mean()),
        )

    def _likes(self, ratings: pd.DataFrame) -> pd.DataFrame:
        """People in rows, films in columns, true where the person likes the film."""
        likes = ratings[ratings["rating"] >= self.least_rating]
        likes = likes[likes.groupby("movieId")["userId"].transform("nunique") >= self.min_users]
        likes = likes[likes.groupby("userId")["movieId"].transform("nunique") >= self.min_items]
        table = pd.crosstab(likes["userId"], likes["movieId"]) > 0
        require(
            min(table.shape) >= 10,
            f"Data set 'movielens': {table.shape[0]} people and {table.shape[1]} films are left "
            f"with min_users={self.min_users}, min_items={self.min_items}, "
            f"least_rating={self.least_rating:g}; lower these until ten of each stay.",
        )
        return table


def _read(path: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The tables ratings, movies and tags.

    Raises:
        UserError: no such archive, or tables of another form.
    """
    found = []
    for table, columns in TABLES.items():
        try:
            with zipfile.ZipFile(path) as archive:
                names = [n for n in archive.namelist() if Path(n).name == f"{table}.csv"]
                with archive.open(names[0]) as file:
                    frame = pd.read_csv(file, usecols=list(columns), encoding="utf-8")
        except (OSError, zipfile.BadZipFile, EOFError, IndexError, ValueError) as error:
            raise UserError(
                f"Data set 'movielens': '{path}' has no table {table}.csv with the columns "
                f"{', '.join(columns)} ({error}); get it again from {SOURCE}."
            ) from error
        numbers = [c for c in columns if c not in ("title", "tag")]
        require(
            len(frame) > 0 and all(frame[c].dtype.kind in "if" for c in numbers)
            and not frame[numbers].isna().any(axis=None),
            f"Data set 'movielens': table {table}.csv in '{path}' is empty or holds no numbers in "
            f"{', '.join(numbers)}; get it again from {SOURCE}.",
        )  # fmt: skip
        found.append(frame)
    return found[0], found[1], found[2].assign(tag=found[2]["tag"].astype(str))
