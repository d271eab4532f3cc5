"""The binary data sets of Shokri, Stronati, Song, Shmatikov, Membership Inference Attacks Against
Machine Learning Models, IEEE S&P 2017, sec. VI-A: Location-30, Purchase-100 and Texas-100.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge
from torch import Tensor

from bench.contract import Task, UserError, generator
from bench.data.common import Ints
from bench.data.stored_baskets import Purchases, StoredBaskets


@dataclass(frozen=True)
class BinaryRecords(StoredBaskets):
    """Rows of a label and 0/1 features in a ``.tgz`` archive.

    What the features stand for is not published. The sensitive ones are therefore chosen by
    rarity, as for the generated baskets: every fourth of the rarer half of what the public
    records hold at all, by how many of them hold it; what few people have says most about them.

    Attributes:
        records: records drawn from the file by the seed, so that a trial stays short: ten per
            class or more; None: all.
        file: archive below the data root.
        sha256: expected content hash of the archive; None: the one noted when it was fetched,
            else any.
    """

    records: int | None = None
    file: str = ""

    about: ClassVar[str]
    """Where the authors have the records from."""
    classes: ClassVar[int]
    width: ClassVar[int]
    """Number of features."""
    member: ClassVar[str]
    """The archive's file with the features."""
    labels: ClassVar[str | None] = None
    """The archive's file with the labels; None: they stand before the features."""
    unit: ClassVar[Literal["record", "person"]] = "person"
    source = "https://github.com/privacytrustlab/datasets"
    terms = "none stated at the source"
    noted = True

    @property
    def credit(self) -> str:  # type: ignore[override]
        """The authors of the records, and those who published them in this form."""
        return f"{self.about}; Shokri, Stronati, Song, Shmatikov, IEEE S&P 2017, sec. VI-A"

    @property
    def _class_names(self) -> tuple[str, ...]:
        return tuple(f"class {i + 1}" for i in range(self.classes))

    def _read(self, path: Path, seed: int) -> Purchases:
        """Features 0/1, labels counted from 0 and, as owners, the numbers of the lines.

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
        x = self._bits(path, features)
        return Purchases(
            x,
            torch.from_numpy(line),
            tuple(f"feature {i + 1}" for i in range(x.shape[1])),
            ("all records" if self.records is None else f"{len(x)} records drawn") + ", by class",
            labels=self._counted_from_0(path, labels),
            facts={"n_file": n_file},
        )

    def _bits(self, path: Path, features: list[bytes]) -> Tensor:
        """Lines ``0,1,...`` as float32 ``[n, width]``."""
        wrong = next((row for row in features if len(row) != 2 * self.width - 1), None)
        if wrong is not None or not features:
            n_features = 0 if wrong is None else wrong.count(b",") + 1
            raise self._corrupt(path, f"has a row of {n_features} features, expected {self.width}")
        text = np.frombuffer(b"".join([row + b"," for row in features]), np.uint8)
        text = text.reshape(len(features), self.width, 2)
        bits: npt.NDArray[np.uint8] = text[..., 0] - ord("0")
        if bits.max() > 1 or (text[..., 1] != ord(",")).any():
            raise self._corrupt(path, "has features other than 0 and 1")
        return torch.from_numpy(bits.astype(np.float32))

    def _counted_from_0(self, path: Path, labels: list[bytes]) -> Ints:
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
            + f". Get it again from {self.source} (invbench data fetch {self.name})."
        )


@dataclass(frozen=True)
class Location30(BinaryRecords):
    """5,010 people of Bangkok: which regions and kinds of places they checked in at.

    446 features (318 regions of half a kilometre and 128 kinds of places, in an order that is not
    published); 30 clusters of people are the classes.
    """

    records: Annotated[int, Ge(300)] | None = None
    file: str = "location30/dataset_location.tgz"
    sha256: str | None = "927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33"

    sector: ClassVar[str] = "retail"
    name = "location30"
    about = "Foursquare check-ins in Bangkok, Yang, Zhang, Qu 2016"
    classes = 30
    width = 446
    member = "bangkok"


@dataclass(frozen=True)
class Purchase100(BinaryRecords):
    """197,324 customers of an online shop: which of 600 products each has bought.

    100 clusters of customers are the classes. No hash of the archive is published by its authors,
    so the first fetch is trusted and later ones are compared with it.
    """

    records: Annotated[int, Ge(1000)] | None = 20000
    file: str = "purchase100/dataset_purchase.tgz"

    sector: ClassVar[str] = "retail"
    name = "purchase100"
    about = "Acquire Valued Shoppers Challenge, Kaggle 2014"
    terms = "none stated at the source; made from a Kaggle challenge's data"
    classes = 100
    width = 600
    member = "dataset_purchase"


@dataclass(frozen=True)
class Texas100(BinaryRecords):
    """67,330 hospital stays: causes of injury, diagnoses, procedures and patients' traits.

    6,169 features; the 100 most frequent main procedures are the classes. No hash of the archive
    is published by its authors, so the first fetch is trusted and later ones are compared with it.
    A basket of diagnoses is nothing to recommend from: classification only.
    """

    records: Annotated[int, Ge(1000)] | None = 10000
    file: str = "texas100/dataset_texas.tgz"

    sector: ClassVar[str] = "medical"
    unit = "record"
    tasks: ClassVar[tuple[Task, ...]] = ("classification",)
    name = "texas100"
    about = "Hospital Discharge Data, Texas Department of State Health Services"
    terms = "none stated at the source; made from the state's public use file"
    classes = 100
    width = 6169
    member = "texas/100/feats"
    labels = "texas/100/labels"


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
