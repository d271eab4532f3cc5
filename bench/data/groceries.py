"""One month of a grocery shop: the Groceries transactions of R's arules package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.contract import Card, Dataset, Modality, Split, Splits, Task, require
from bench.data import common
from bench.data.segments import segment, segment_names

SHA256 = "ff1be892fd6b9b57d1a7bc50de067798963dda607619645988b21789bf23ae3b"
SOURCE = "https://github.com/stedy/Machine-Learning-with-R-datasets (groceries.csv)"
MOST_ITEMS = 2000
SENSITIVE = (
    "baby cosmetics", "baby food", "brandy", "dental care", "female sanitary products", "liqueur",
    "liquor", "liquor (appetizer)", "male cosmetics", "prosecco", "rum", "skin care", "whisky",
)  # fmt: skip
"""Purchases that say something about a household's children, drinking or bodies; each stands in
about 1 % of the baskets or fewer."""


@dataclass(frozen=True)
class Groceries(Dataset):
    """9,835 till receipts over 169 kinds of goods, as 0/1 vectors; class = purchase segment.

    The receipts have no labels; :mod:`bench.data.segments` finds some. Small baskets repeat in a
    real shop, members' among the public ones too; such duplicates are counted, not dropped.

    Attributes:
        segments: number of classes, 2 to 100.
        min_size: least number of goods; smaller receipts are left out (one of a single good is
            known as soon as its segment is).
        train: share of the receipts that are members.
        public: share of the receipts the attacker holds; the rest is ``test``.
        file: path below the data root, one receipt a line, goods separated by commas.
        sha256: expected content hash of the file; None accepts any copy.
    """

    segments: int = 10
    min_size: int = 4
    train: float = 0.4
    public: float = 0.4
    file: str = "groceries/groceries.csv"
    sha256: str | None = SHA256

    sector: ClassVar[str] = "retail"
    modality: ClassVar[Modality] = "basket"
    goals: ClassVar[tuple[str, ...]] = ("output_reconstruction", "training_instance")
    tasks: ClassVar[tuple[Task, ...]] = ("classification", "recommendation")
    terms: ClassVar[str] = "in the public domain, as stated at the source"
    utility_metric: ClassVar[str] = "accuracy"
    embedded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for key, low, high in (("segments", 2, 100), ("min_size", 1, 20)):
            value = getattr(self, key)
            require(
                low <= value <= high,
                f"dataset.groceries.{key} is {value}; allowed: {low} to {high}.",
            )
        common.check_fractions("groceries", self.train, self.public)
        common.check_sha256_option("groceries", self.sha256)

    @property
    def n_classes(self) -> int:
        """``segments``."""
        return self.segments

    def files(self, data_root: Path | None) -> Mapping[str, Sequence[Path]]:
        """The baskets; see the base class."""
        return common.present(data_root, file=self.file)

    def missing(self, data_root: Path | None) -> str | None:
        """Where the file should be; see the base class."""
        return common.missing_path("groceries", data_root, self.file, SOURCE)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check, split and segment by ``seed``; see the base class."""
        path = common.require_files(self.missing(data_root), data_root) / self.file
        sha256 = common.sha256_of_files([path])
        common.check_sha256("groceries", f"file '{path}'", self.sha256, sha256)
        x, items = _read(path)
        n_rows, line = len(x), torch.arange(len(x))
        kept = x.sum(1) >= self.min_size
        x, line = x[kept], line[kept]

        strata = np.zeros(len(x), dtype=np.int64)
        rows = common.stratified("groceries", strata, self.train, self.public, seed)
        y = segment("groceries", x, rows[2], self.segments, seed)
        card = Card(
            name="groceries",
            sector=self.sector,
            modality=self.modality,
            shape=(len(items),),
            class_names=segment_names(self.segments),
            privacy_unit="record",
            source=f"Groceries of R's arules, Hahsler, Hornik, Reutterer 2006; {SOURCE}",
            terms=self.terms,
            publishable=False,
            columns=items,
            tasks=self.tasks,
            sensitive_items=tuple(i for i, item in enumerate(items) if item in SENSITIVE),
        )
        return common.finish(
            card,
            Split(x, y, line),
            rows,
            sha256=sha256,
            split_protocol=f"receipts with {self.min_size} goods or more: "
            f"{self.train} train, {self.public} public, rest test; segments: k-means on public",
            allow_duplicates=True,
            n_receipts=n_rows,
            mean_basket=float(x.sum(1).mean()),
        )


def _read(path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Receipts as 0/1 ``[n, n_items]`` and the goods' names in alphabetical order.

    Raises:
        UserError: no text, no receipts, or too many names for a file of receipts.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        lines, why = [], f" ({error})"
    else:
        why = ""
    receipts = [{good.strip() for good in line.split(",")} - {""} for line in lines]
    receipts = [receipt for receipt in receipts if receipt]
    items = tuple(sorted(set().union(*receipts)))
    require(
        2 <= len(items) <= MOST_ITEMS,
        f"Data set 'groceries': file '{path}' has {len(receipts)} receipts of {len(items)} "
        f"different goods{why}; allowed: 2 to {MOST_ITEMS} goods, one receipt a line, goods "
        "separated by commas. Get the original file.",
    )
    column = {item: i for i, item in enumerate(items)}
    x = torch.zeros(len(receipts), len(items))
    for row, receipt in zip(x, receipts, strict=True):
        row[[column[good] for good in receipt]] = 1.0
    return x, items
