"""The binary data sets of Shokri, Stronati, Song, Shmatikov, Membership Inference Attacks Against
Machine Learning Models, IEEE S&P 2017, sec. VI-A: Location-30, Purchase-100 and Texas-100.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.contract import (
    Card,
    Dataset,
    Modality,
    Split,
    Splits,
    Task,
    UserError,
    generator,
    require,
)
from bench.data import common, lock
from bench.data.common import Ints

SOURCE = "https://github.com/privacytrustlab/datasets"
CITED = "Shokri, Stronati, Song, Shmatikov, IEEE S&P 2017, sec. VI-A"
LOCATION30_SHA256 = "927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33"


@dataclass(frozen=True)
class BinaryRecords(Dataset):
    """Rows of a label and 0/1 features in a ``.tgz`` archive.

    What the features stand for is not published. The sensitive ones are therefore chosen by
    rarity, as for the generated baskets: every fourth of the rarer half of what the public
    records hold at all, by how many of them hold it; what few people have says most about them.

    Attributes:
        records: records drawn from the file by the seed, so that a trial stays short; None: all.
        train: share of them that are members.
        public: share of them the attacker holds; the rest is ``test``.
        file: archive below the data root.
        sha256: expected content hash of the archive; None: the one noted when it was fetched,
            else any.
    """

    records: int | None = None
    train: float = 0.4
    public: float = 0.4
    file: str = ""
    sha256: str | None = None

    name: ClassVar[str]
    about: ClassVar[str]
    unit: ClassVar[Literal["record", "person"]] = "person"
    classes: ClassVar[int]
    width: ClassVar[int]
    """Number of features."""
    member: ClassVar[str]
    """The archive's file with the features."""
    labels: ClassVar[str | None] = None
    """The archive's file with the labels; None: they stand before the features."""

    modality: ClassVar[Modality] = "basket"
    goals: ClassVar[tuple[str, ...]] = ("output_reconstruction", "training_instance")
    tasks: ClassVar[tuple[Task, ...]] = ("classification", "recommendation")
    terms: ClassVar[str] = "none stated at the source"
    utility_metric: ClassVar[str] = "accuracy"
    embedded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(
            self.records is None or self.records >= 10 * self.classes,
            f"dataset.{self.name}.records is {self.records}; allowed: {10 * self.classes} or more "
            f"(ten per class), or null for all.",
        )
        common.check_fractions(self.name, self.train, self.public)
        common.check_sha256_option(self.name, self.sha256)

    @property
    def n_classes(self) -> int:
        """As published."""
        return self.classes

    def files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """The archive; see the base class."""
        return common.present(data_root, file=self.file)

    def missing(self, data_root: Path | None) -> str | None:
        """Where the archive should be; see the base class."""
        source = f"{SOURCE} (invbench data fetch {self.name})"
        return common.missing_path(self.name, data_root, self.file, source)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check, draw and split by ``seed``; see the base class."""
        path = common.require_files(self.missing(data_root), data_root) / self.file
        sha256, checked = lock.check(self.name, path, self.sha256)
        x, y, line, n_file = self._read(path, seed)
        rows = common.stratified(self.name, y, self.train, self.public, seed)
        card = Card(
            name=self.name,
            sector=self.sector,
            modality=self.modality,
            shape=(x.shape[1],),
            class_names=tuple(f"class {i + 1}" for i in range(self.classes)),
            privacy_unit=self.unit,
            source=f"{self.about}; {CITED}; {SOURCE}",
            terms=self.terms,
            publishable=False,
            columns=tuple(f"feature {i + 1}" for i in range(x.shape[1])),
            tasks=self.tasks,
            sensitive_items=rare(x[rows[2]]),
        )
        return common.finish(
            card,
            Split(x, torch.from_numpy(y), torch.from_numpy(line)),
            rows,
            sha256=sha256,
            split_protocol=("all records" if self.records is None else f"{len(x)} records drawn")
            + f", by class: {self.train} train, {self.public} public, rest test",
            allow_duplicates=True,
            sha256_checked=checked,
            n_file=n_file,
            mean_basket=float(x.sum(1).mean()),
        )

    def _read(self, path: Path, seed: int) -> tuple[Tensor, Ints, Ints, int]:
        """Features 0/1 ``[n, width]``, labels from 0, line numbers, and lines in the file.

        The archive is read twice, line by line: unpacked, Texas-100 has 0.8 GB.

        Raises:
            UserError: no such archive, or rows of another form.
        """
        try:
            with _lines(path, self.labels or self.member) as lines:
                n_file = sum(1 for _ in lines)
            order = torch.randperm(n_file, generator=generator(seed))[: self.records]
            line = order.sort().values.numpy()
            features = _take(path, self.member, line)
            labels = _take(path, self.labels, line) if self.labels else []
        except (tarfile.TarError, OSError, EOFError, zlib.error, KeyError) as error:
            raise self._corrupt(path, f"cannot be read ({error})") from error
        if not self.labels:
            pairs = [text.partition(b",") for text in features]
            labels, features = [pair[0] for pair in pairs], [pair[2] for pair in pairs]
        if len(labels) != len(features):
            raise self._corrupt(path, f"has {n_file} labels for fewer rows of features")
        return self._bits(path, features), self._classes(path, labels), line, n_file

    def _bits(self, path: Path, features: list[bytes]) -> Tensor:
        """Lines ``0,1,...`` as float32 ``[n, width]``."""
        wrong = next((row for row in features if len(row) != 2 * self.width - 1), None)
        if wrong is not None or not features:
            found = 0 if wrong is None else wrong.count(b",") + 1
            raise self._corrupt(path, f"has a row of {found} features, expected {self.width}")
        text = np.frombuffer(b"".join([row + b"," for row in features]), np.uint8)
        text = text.reshape(len(features), self.width, 2)
        bits: npt.NDArray[np.uint8] = text[..., 0] - ord("0")
        if bits.max() > 1 or (text[..., 1] != ord(",")).any():
            raise self._corrupt(path, "has features other than 0 and 1")
        return torch.from_numpy(bits.astype(np.float32))

    def _classes(self, path: Path, labels: list[bytes]) -> Ints:
        """Labels counted from 1, in quotes or not, as int64 ``[n]`` counted from 0."""
        try:
            y = np.array([int(text.strip(b'" ')) for text in labels], dtype=np.int64) - 1
        except ValueError as error:
            raise self._corrupt(path, f"has a label that is no number ({error})") from error
        if y.min() < 0 or y.max() >= self.classes:
            raise self._corrupt(path, f"has labels outside 1 to {self.classes}")
        return y

    def _corrupt(self, path: Path, what: str) -> UserError:
        return UserError(
            f"Data set '{self.name}': archive '{path}' {what}; it must hold '{self.member}'"
            + (f" and '{self.labels}'" if self.labels else "")
            + f". Get it again from {SOURCE} (invbench data fetch {self.name})."
        )


@dataclass(frozen=True)
class Location30(BinaryRecords):
    """5,010 people of Bangkok: which regions and kinds of places they checked in at.

    446 features (318 regions of half a kilometre and 128 kinds of places, in an order that is not
    published); 30 clusters of people are the classes.
    """

    file: str = "location30/dataset_location.tgz"
    sha256: str | None = LOCATION30_SHA256

    sector: ClassVar[str] = "retail"
    name: ClassVar[str] = "location30"
    about: ClassVar[str] = "Foursquare check-ins in Bangkok, Yang, Zhang, Qu 2016"
    classes: ClassVar[int] = 30
    width: ClassVar[int] = 446
    member: ClassVar[str] = "bangkok"


@dataclass(frozen=True)
class Purchase100(BinaryRecords):
    """197,324 customers of an online shop: which of 600 products each has bought.

    100 clusters of customers are the classes. No hash of the archive is published by its authors,
    so the first fetch is trusted and later ones are compared with it.
    """

    records: int | None = 20000
    file: str = "purchase100/dataset_purchase.tgz"

    sector: ClassVar[str] = "retail"
    name: ClassVar[str] = "purchase100"
    about: ClassVar[str] = "Acquire Valued Shoppers Challenge, Kaggle 2014"
    terms: ClassVar[str] = "none stated at the source; made from a Kaggle challenge's data"
    classes: ClassVar[int] = 100
    width: ClassVar[int] = 600
    member: ClassVar[str] = "dataset_purchase"


@dataclass(frozen=True)
class Texas100(BinaryRecords):
    """67,330 hospital stays: causes of injury, diagnoses, procedures and patients' traits.

    6,169 features; the 100 most frequent main procedures are the classes. No hash of the archive
    is published by its authors, so the first fetch is trusted and later ones are compared with it.
    A basket of diagnoses is nothing to recommend from: classification only.
    """

    records: int | None = 10000
    file: str = "texas100/dataset_texas.tgz"

    sector: ClassVar[str] = "medical"
    unit: ClassVar[Literal["record", "person"]] = "record"
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    name: ClassVar[str] = "texas100"
    about: ClassVar[str] = "Hospital Discharge Data, Texas Department of State Health Services"
    terms: ClassVar[str] = "none stated at the source; made from the state's public use file"
    classes: ClassVar[int] = 100
    width: ClassVar[int] = 6169
    member: ClassVar[str] = "texas/100/feats"
    labels: ClassVar[str | None] = "texas/100/labels"


def rare(public: Tensor) -> tuple[int, ...]:
    """Every fourth of the rarer half of the items that public records ``[n, n_items]`` hold."""
    count = public.sum(0)
    order = count.argsort(descending=True, stable=True)
    order = order[count[order] > 0]
    return tuple(sorted(order[len(order) // 2 :: 4].tolist()))


@contextmanager
def _lines(path: Path, member: str) -> Iterator[IO[bytes]]:
    """A file of an archive, to be read line by line."""
    with tarfile.open(path, "r:gz") as archive:
        inside = {Path(item.name).as_posix(): item for item in archive if item.isfile()}
        file = archive.extractfile(inside[member])
        assert file is not None
        with file:
            yield file


def _take(path: Path, member: str, wanted: Ints) -> list[bytes]:
    """The lines with these numbers, in ascending order."""
    keep = set(wanted.tolist())
    with _lines(path, member) as lines:
        return [text.strip() for i, text in enumerate(lines) if i in keep]
