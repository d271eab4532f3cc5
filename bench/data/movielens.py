"""MovieLens latest-small: which films people rated highly."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import torch
from annotated_types import Ge, Le

from bench.contract import Count, UserError, require
from bench.data import common
from bench.data.stored_baskets import Purchases, SegmentedBaskets

TABLES = {
    "ratings": ("userId", "movieId", "rating"),
    "movies": ("movieId", "title"),
    "tags": ("movieId", "tag"),
}
SENSITIVE_TAGS = common.listed(
    """
    aids | alcoholism | autism | drug abuse | drug overdose | heroin | mental illness |
    schizophrenia | suicide |
    bible | biblical references | catholic church | christianity | jewish | judaism | missionary |
    muslim | nun | religion |
    gay | homosexuality | lesbian | prostitution | r:graphic sexuality | sexuality | transgender |
    transvestite |
    communism | political commentary | politics |
    american indians | holocaust | native americans | racism
    """,
    "|",
)
"""Tags, in lower case, of films that hint at what GDPR art. 9 protects: health, belief, sex life,
political opinion, descent. Ratings of such films are what Narayanan and Shmatikov (IEEE S&P 2008,
sec. 5) read off Netflix customers."""


@dataclass(frozen=True)
class MovieLens(SegmentedBaskets):
    """Films a person likes, as 0/1 vectors; class = segment of taste; a person is one record.

    A rating of ``least_rating`` or more is a like, everything else is 0 (implicit feedback, as in
    Liang et al., WWW 2018, sec. 4.1, who also keep ratings of 4 and above and people with 5 films
    or more). Sensitive films carry one of
    ``SENSITIVE_TAGS``.

    Attributes:
        segments: number of classes.
        least_rating: lowest rating that is a like.
        min_users: only films that so many people like.
        min_items: only people who like so many of those films.
        file: path below the data root, as GroupLens packs it.
    """

    segments: Annotated[int, Ge(2), Le(50)] = 5
    least_rating: Annotated[float, Ge(0.5), Le(5)] = 4.0
    min_users: Count = 20
    min_items: Count = 5
    file: str = "movielens/ml-latest-small.zip"
    sha256: str | None = "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"

    sector: ClassVar[str] = "retail"
    name = "movielens"
    unit = "person"
    credit = (
        "MovieLens latest-small (2018), Harper and Konstan, ACM TiiS 5(4) 2015, "
        "https://doi.org/10.1145/2827872"
    )
    source = "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"
    terms = (
        "GroupLens: research use with acknowledgement, not commercial, passed on under the same "
        "terms"
    )
    noted = True

    def _read(self, path: Path, seed: int) -> Purchases:
        ratings, movies, tags = read_tables(path)
        likes = self._likes(ratings)
        films = likes.columns.to_numpy(np.int64, copy=True)
        delicate = tags.loc[tags["tag"].str.lower().isin(SENSITIVE_TAGS), "movieId"]
        return Purchases(
            torch.from_numpy(likes.to_numpy(np.float32, copy=True)),
            torch.from_numpy(likes.index.to_numpy(np.int64, copy=True)),
            tuple(movies.set_index("movieId")["title"].reindex(films).astype(str)),
            f"people with {self.min_items} films or more that {self.min_users} or more people "
            f"rate {self.least_rating:g} or higher",
            tuple(np.flatnonzero(np.isin(films, delicate)).tolist()),
            facts={
                "n_ratings": len(ratings),
                "n_users": int(ratings["userId"].nunique()),
                "n_films": len(movies),
            },
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


def read_tables(path: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The tables ratings, movies and tags.

    Raises:
        UserError: no such archive, or tables of another form.
    """
    frames = []
    for table, columns in TABLES.items():
        try:
            with zipfile.ZipFile(path) as archive:
                names = [n for n in archive.namelist() if Path(n).name == f"{table}.csv"]
                with archive.open(names[0]) as file:
                    frame = pd.read_csv(file, usecols=list(columns), encoding="utf-8")
        except (OSError, zipfile.BadZipFile, EOFError, IndexError, ValueError) as error:
            raise UserError(
                f"Data set 'movielens': '{path}' has no table {table}.csv with the columns "
                f"{', '.join(columns)} ({error}); get it again from {MovieLens.source}."
            ) from error
        numbers = [c for c in columns if c not in ("title", "tag")]
        require(
            len(frame) > 0
            and all(frame[c].dtype.kind in "if" for c in numbers)
            and not frame[numbers].isna().any(axis=None),
            f"Data set 'movielens': table {table}.csv in '{path}' is empty or holds no numbers in "
            f"{', '.join(numbers)}; get it again from {MovieLens.source}.",
        )
        frames.append(frame)
    ratings, movies, tags = frames
    return ratings, movies, tags.assign(tag=tags["tag"].astype(str))
