"""Tables in the exact splits of Mehnaz et al., USENIX Security 2022.

Two files with the same columns: the one that their targets are trained on, and another of records
that those targets never saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from bench.contract import Card, Dataset, Modality, Splits, nearest, require
from bench.data import common, frames, tables

SOURCE = (
    "Mehnaz, Dibbo, Kabir, Li, Bertino, Are Your Sensitive Attributes Private?, USENIX Security "
    "2022: folder 'data' of the authors' repository black-boxMIAI"
)
FOLDER = "mehnaz_attr_inference"
SPLITS = ("paper", "random")


@dataclass(frozen=True)
class MehnazTable(Dataset):
    """Two files of one table; the class attributes say what is in them.

    Attributes:
        split: ``paper``: the members are exactly the records of the paper's training file, and
            the other file is cut by the seed into equal halves, ``test`` and ``public``;
            ``random``: both files together, cut by ``train`` and ``public``.
        sensitive: one of ``sensitives``.
        train: share of the records that are members; ``random`` only.
        public: share of the records the attacker holds; ``random`` only.
        folder: path below the data root with the two files.
        sha256: expected content hash of the two files; None accepts any copy.
    """

    split: str = "paper"
    sensitive: str = ""
    train: float = 0.4
    public: float = 0.3
    folder: str = FOLDER
    sha256: str | None = None

    modality: ClassVar[Modality] = "table"
    goals: ClassVar[tuple[str, ...]] = tables.GOALS
    utility_metric: ClassVar[str] = "balanced_accuracy"
    embedded: ClassVar[bool] = False

    label: ClassVar[str]
    """Name of the data set."""
    names: ClassVar[tuple[str, str]]
    """The paper's training file and the other one."""
    target: ClassVar[str]
    classes: ClassVar[Mapping[str, str]]
    """Value of the target column to the name of its class, in label order."""
    numeric: ClassVar[Sequence[str]] = ()
    unknown_numbers: ClassVar[Mapping[str, Sequence[float]]] = {}
    """Codes of a numeric column that stand for no answer."""
    categories: ClassVar[Mapping[str, Sequence[str]]]
    sensitives: ClassVar[Mapping[str, tuple[str, Mapping[str, str]]]]
    """Option ``sensitive`` to the column it replaces and the value each code becomes."""
    person: ClassVar[str | None] = None
    """Column that tells whose a record is."""
    copies: ClassVar[Literal["drop", "count"]] = "count"
    credit: ClassVar[str]
    terms: ClassVar[str] = "'publicly available', no licence stated by Mehnaz et al."

    def __post_init__(self) -> None:
        where = f"dataset.{self.label}"
        tables.check_sensitive(self.label, self.sensitive, self.sensitives)
        require(
            self.split in SPLITS,
            f"{where}.split is '{self.split}'." + nearest(str(self.split), SPLITS),
        )
        common.check_fractions(self.label, self.train, self.public)
        common.check_sha256_option(self.label, self.sha256)

    @property
    def n_classes(self) -> int:
        """As many as the target column has values."""
        return len(self.classes)

    def files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """Its files; see the base class."""
        return common.present(data_root, folder=[f"{self.folder}/{file}" for file in self.names])

    def missing(self, data_root: Path | None) -> str | None:
        """Where the files should be; see the base class."""
        sentences = (
            common.missing_path(self.label, data_root, f"{self.folder}/{file}", SOURCE)
            for file in self.names
        )
        return next((sentence for sentence in sentences if sentence), None)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check and split by ``seed``; see the base class."""
        folder = common.require_files(self.missing(data_root), data_root) / self.folder
        paths = [folder / file for file in self.names]
        sha256 = common.sha256_of_files(paths)
        common.check_sha256(
            self.label, f"{' and '.join(self.names)} in '{folder}'", self.sha256, sha256
        )
        column, names = self.sensitives[self.sensitive]
        frame, n_members, dropped = self._read(paths, column)
        frame, values, s = frames.recode(self.label, frame, column, names)
        frame, _, y = frames.recode(self.label, frame, self.target, self.classes)
        strata = y * len(values) + s
        if self.split == "paper":
            everybody = np.arange(len(frame))
            test, public = frames.halves(everybody[n_members:], strata, seed)
            rows = everybody[:n_members], test, public
            protocol = (
                f"members: the paper's training file {self.names[0]}; the other records of "
                f"{self.names[1]} cut in half, stratified by {self.target} and {self.sensitive}"
            )
        else:
            rows = common.stratified(self.label, strata, self.train, self.public, seed)
            protocol = (
                f"records of both files, stratified by {self.target} and {self.sensitive}: "
                f"{self.train} train, {self.public} public, rest test"
            )
        encoded = tables.encode(
            self.label,
            frame,
            sensitive=column,
            called=self.sensitive,
            public=rows[2],
            numeric=self.numeric,
            categories={**self.categories, column: values},
            gaps=True,
        )
        card = Card(
            name=self.label,
            sector=self.sector,
            modality=self.modality,
            shape=(),
            class_names=tuple(self.classes.values()),
            privacy_unit="record",
            source=f"{self.credit}; {SOURCE}",
            terms=self.terms,
            publishable=False,
        )
        return tables.finish(
            card,
            encoded,
            torch.from_numpy(y),
            torch.arange(len(frame)),
            rows,
            copies=self.copies,
            sha256=sha256,
            split_protocol=protocol,
            sensitive_unknown_dropped=dropped,
        )

    def _read(self, paths: Sequence[Path], sensitive: str) -> tuple[pd.DataFrame, int, int]:
        """Both files as one table, how many members come first, how many records were dropped.

        Who stands in both files is a member; whose sensitive value is unknown is left out.
        """
        parts = []
        for path in paths:
            part = frames.read(self.label, path, na_values=[""])
            wanted = [*self.numeric, *self.categories, self.target]
            frames.require_columns(self.label, part, wanted)
            parts.append(part)
        if self.person is not None:
            frames.require_columns(self.label, parts[1], [self.person])
            parts[1] = parts[1][~parts[1][self.person].isin(parts[0][self.person])]
        known = [part[part[sensitive].notna()] for part in parts]
        frame = pd.concat(known, ignore_index=True)
        frame = frames.numbers(self.label, frame, self.numeric)
        for column, codes in self.unknown_numbers.items():
            frame[column] = frame[column].mask(frame[column].isin(codes))
        return frame, len(known[0]), sum(map(len, parts)) - len(frame)
