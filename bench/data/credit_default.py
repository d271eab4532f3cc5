"""Default of credit card clients in Taiwan, Yeh and Lien 2009."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from bench.data import common, frames
from bench.data.stored_table import DrawnTable, Records

CLASSES = {"0": "paid next month", "1": "defaulted next month"}
_MONTHS = ("september", "august", "july", "june", "may", "april")
NAMES = {
    "X1": "limit",
    "X2": "sex",
    "X3": "education",
    "X4": "marriage",
    "X5": "age",
    **{f"X{6 + i}": f"delay_{month}" for i, month in enumerate(_MONTHS)},
    **{f"X{12 + i}": f"bill_{month}" for i, month in enumerate(_MONTHS)},
    **{f"X{18 + i}": f"paid_{month}" for i, month in enumerate(_MONTHS)},
    "Y": "default",
}
"""The file's columns, without the number of the client, and what UCI says that they are."""


@dataclass(frozen=True)
class CreditDefault(DrawnTable):
    """30,000 credit card clients, 20 numbers and 3 categories, default in the next month or not.

    Clients whose values are all equal are kept once, since two equal records could stand on both
    sides of a split. Codes of education and marriage that UCI does not explain are values of
    their own.

    Attributes:
        sensitive: ``marriage``: married or not (45 % married); ``sex`` (60 % female).
        records: how many are drawn; None: all.
        table: which table of so many records; see the base class.
        file: path below the data root.
    """

    sensitive: Literal["marriage", "sex"] = "marriage"
    file: str = "credit_default/credit_default.csv"
    sha256: str | None = "023eb2c3ad9efd15e7869616fa50a0143f25223105c7069ba632431530afdb61"

    sector: ClassVar[str] = "credit"
    name = "credit_default"
    credit = "Default of Credit Card Clients, I-Cheng Yeh and Che-hui Lien, 2009"
    source = (
        "https://archive.ics.uci.edu/dataset/350 (as a CSV file with the columns ID, X1-X23, Y)"
    )
    terms = "CC BY 4.0"
    target = "default"
    classes: ClassVar = CLASSES
    numeric = tuple(
        name
        for name in NAMES.values()
        if name.startswith(("limit", "age", "delay", "bill", "paid"))
    )
    categories: ClassVar = common.columns("""
        sex: 1 | 2
        education: 0 | 1 | 2 | 3 | 4 | 5 | 6
        marriage: 0 | 1 | 2 | 3
    """)
    sensitives: ClassVar = {
        "marriage": (
            "marriage",
            {"0": "not married", "2": "not married", "3": "not married", "1": "married"},
        ),
        "sex": ("sex", {"1": "male", "2": "female"}),
    }
    secrets: ClassVar = {
        "marriage": "whether a client is married",
        "sex": "a client's sex",
    }
    distinct = True
    protocol = "{n} distinct records, stratified by default and {sensitive}"

    def _read(self, paths: Sequence[Path]) -> Records:
        [path] = paths
        frame = frames.read(self.name, path)
        frames.require_columns(self.name, frame, NAMES)
        frame = frame[list(NAMES)].rename(columns=NAMES)
        frame = frames.numbers(self.name, frame, self.numeric)
        return Records(frame, {"records_in_files": len(frame)})
