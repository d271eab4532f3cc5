"""What all loaders share: a card made from what they state, files that are checked, shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench.contract import Card, Dataset, Fraction, require
from bench.data import common, lock
from bench.data.common import Indices, Ints


class Loader(Dataset):
    """A data set that states what its card says.

    The attributes below belong to the class; where a user may set one, it is an option.
    """

    name: str
    """Name of the data set, in cards and messages."""
    credit: str = ""
    """Who made the data, as the terms of the source ask; the card adds the source."""
    source: str
    """Where the data comes from."""
    terms: str
    """Licence or terms stated at the source."""
    publishable: bool = False
    """Whether a published report may show records."""
    unit: ClassVar[Literal["record", "person"]] = "record"
    """The privacy unit of the card."""

    def _card(self, **particulars: Any) -> Card:
        """The card: what the class states, and what follows from the records."""
        stated = {
            "name": self.name,
            "sector": self.sector,
            "modality": self.modality,
            "privacy_unit": self.unit,
            "source": "; ".join(part for part in (self.credit, self.source) if part),
            "terms": self.terms,
            "publishable": self.publishable,
            "tasks": self.tasks,
        }
        return Card(**{**stated, **particulars})


@dataclass(frozen=True)
class Stored(Loader):
    """A data set that reads files below the data root.

    Attributes:
        sha256: expected content hash of what it reads; None accepts any copy.
    """

    sha256: str | None = None

    embedded: ClassVar[bool] = False
    place: ClassVar[str] = "file"
    """The option that names the file, or the folder of the files."""
    names: ClassVar[Sequence[str]] = ()
    """Files in the folder; empty: the place itself is what is read."""
    noted: ClassVar[bool] = False
    """Whether a file without an expected hash is compared with the hash noted when it was
    fetched; the facts then say what the file was compared with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_sha256_option(self.name, self.sha256)

    def _paths(self) -> Sequence[str]:
        """Its files, or its folder, below the data root."""
        place = getattr(self, self.place)
        return [f"{place}/{name}" for name in self.names] or [place]

    def _offered_at(self) -> str:
        """Where a user gets the files."""
        return f"{self.source} (invbench data fetch {self.name})" if self.noted else self.source

    def files(self, data_root: Path | None) -> Mapping[str, Path | Sequence[Path]]:
        """Its files, as far as they are there; see the base class."""
        if data_root is None:
            return {}
        paths = [data_root / path for path in self._paths()]
        return {self.place: paths} if paths and all(path.exists() for path in paths) else {}

    def missing(self, data_root: Path | None) -> str | None:
        """Where the first file that is not there should be; see the base class."""
        source = self._offered_at()
        sentences = (
            common.missing_path(self.name, data_root, path, source) for path in self._paths()
        )
        return next((sentence for sentence in sentences if sentence), None)

    def _root(self, data_root: Path | None) -> Path:
        """The data root, with all files in it."""
        return common.require_files(self.missing(data_root), data_root)

    def _check_sha256(self, what: str, sha256: str) -> None:
        """Refuse another copy than the expected one."""
        common.check_sha256(self.name, what, self.sha256, sha256)

    def _open(self, data_root: Path | None) -> tuple[list[Path], dict[str, str]]:
        """Its files, which are there and as expected, and the facts that say so."""
        root = self._root(data_root)
        paths = [root / path for path in self._paths()]
        if self.noted:
            sha256, compared_with = lock.check(self.name, paths[0], self.sha256)
            return paths, {"sha256": sha256, "sha256_checked": compared_with}
        sha256 = common.sha256_of_files(paths)
        self._check_sha256(f"{self.place} '{root / getattr(self, self.place)}'", sha256)
        return paths, {"sha256": sha256}


@dataclass(frozen=True)
class Shared(Stored):
    """A data set whose records are shared out among train, public and test by the seed.

    Attributes:
        train: share of the records that are members.
        public: share of the records that the attacker holds; the rest is ``test``.
    """

    train: Fraction = 0.4
    public: Fraction = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.train + self.public < 1.0,
            f"dataset.{self.name}: train={self.train} and public={self.public} are shares of the "
            "records; their sum must be below 1, since the rest is 'test'.",
        )

    @property
    def _shares(self) -> str:
        """The shares in words, for the fact ``split_protocol``."""
        return f"{self.train} train, {self.public} public, rest test"

    def _stratified(self, strata: Ints, seed: int) -> Indices:
        """Rows of train, test and public with equal shares of every stratum."""
        return common.stratified(self.name, strata, self.train, self.public, seed)
