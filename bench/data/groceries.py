"""One month of a grocery shop: the Groceries transactions of R's arules package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from bench.contract import require
from bench.data import common
from bench.data.stored_baskets import Purchases, SegmentedBaskets

MOST_ITEMS = 2000
SENSITIVE = common.listed(
    """
    baby cosmetics | baby food | brandy | dental care | female sanitary products | liqueur |
    liquor | liquor (appetizer) | male cosmetics | prosecco | rum | skin care | whisky
    """,
    "|",
)
"""Purchases that say something about a household's children, drinking or bodies; each stands in
about 1 % of the baskets or fewer."""


@dataclass(frozen=True)
class Groceries(SegmentedBaskets):
    """9,835 till receipts over 169 kinds of goods, as 0/1 vectors; class = purchase segment.

    Attributes:
        segments: number of classes.
        min_size: least number of goods; smaller receipts are left out (one of a single good is
            known as soon as its segment is).
        file: path below the data root, one receipt a line, goods separated by commas.
    """

    segments: Annotated[int, Ge(2), Le(100)] = 10
    min_size: Annotated[int, Ge(1), Le(20)] = 4
    file: str = "groceries/groceries.csv"
    sha256: str | None = "ff1be892fd6b9b57d1a7bc50de067798963dda607619645988b21789bf23ae3b"

    sector: ClassVar[str] = "retail"
    name = "groceries"
    credit = "Groceries of R's arules, Hahsler, Hornik, Reutterer 2006"
    source = "https://github.com/stedy/Machine-Learning-with-R-datasets (groceries.csv)"
    terms = "in the public domain, as stated at the source"

    def _read(self, path: Path, seed: int) -> Purchases:
        x, items = read_receipts(path)
        kept = x.sum(1) >= self.min_size
        return Purchases(
            x[kept],
            torch.arange(len(x))[kept],
            items,
            f"receipts with {self.min_size} goods or more",
            tuple(i for i, item in enumerate(items) if item in SENSITIVE),
            facts={"n_receipts": len(x)},
        )


def read_receipts(path: Path) -> tuple[Tensor, tuple[str, ...]]:
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
