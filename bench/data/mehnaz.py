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

from bench.data import frames
from bench.data.common import Indices, Ints
from bench.data.stored_table import Records, StoredTable


@dataclass(frozen=True)
class MehnazTable(StoredTable):
    """Two files of one table; the class attributes say what is in them.

    Attributes:
        split: ``paper``: the members are exactly the records of the paper's training file, and
            the other file is cut by the seed into equal halves, ``test`` and ``public``;
            ``random``: both files together, cut by ``train`` and ``public``.
        train: share of the records that are members; ``random`` only.
        public: share of the records that the attacker holds; ``random`` only.
        folder: path below the data root with the two files.
    """

    split: Literal["paper", "random"] = "paper"
    folder: str = "mehnaz_attr_inference"

    names: ClassVar[tuple[str, str]]
    """The paper's training file and the other one."""
    unknown_numbers: ClassVar[Mapping[str, Sequence[float]]] = {}
    """Codes of a numeric column that stand for no answer."""
    person: ClassVar[str | None] = None
    """Column that tells whose a record is."""
    source = (
        "Mehnaz, Dibbo, Kabir, Li, Bertino, Are Your Sensitive Attributes Private?, USENIX "
        "Security 2022: folder 'data' of the authors' repository black-boxMIAI"
    )
    terms = "'publicly available', no licence stated by Mehnaz et al."
    place = "folder"
    gaps = True
    copies: ClassVar[Literal["refuse", "drop", "count"]] = "count"
    protocol = "records of both files, stratified by {target} and {sensitive}"

    @property
    def fixed_split(self) -> bool:  # type: ignore[override]
        """The paper's members are the same for every seed."""
        return self.split == "paper"

    def _split(self, records: Records, strata: Ints, seed: int) -> tuple[Indices, str]:
        if self.split == "random":
            return super()._split(records, strata, seed)
        everybody = np.arange(len(strata))
        test, public = frames.halves(everybody[records.members :], strata, seed)
        return (everybody[: records.members], test, public), (
            f"members: the paper's training file {self.names[0]}; the other records of "
            f"{self.names[1]} cut in half, stratified by {self.target} and {self.sensitive}"
        )

    def _read(self, paths: Sequence[Path]) -> Records:
        """Both files as one table, the members first.

        Who stands in both files is a member; whose sensitive value is unknown is left out.
        """
        column, _ = self.sensitives[self.sensitive]
        parts = []
        for path in paths:
            part = frames.read(self.name, path)
            wanted = [*self.numeric, *self.categories, self.target]
            frames.require_columns(self.name, part, wanted)
            parts.append(part)
        if self.person is not None:
            frames.require_columns(self.name, parts[1], [self.person])
            parts[1] = parts[1][~parts[1][self.person].isin(parts[0][self.person])]
        known = [part[part[column].notna()] for part in parts]
        frame = pd.concat(known, ignore_index=True)
        frame = frames.numbers(self.name, frame, self.numeric)
        for number, codes in self.unknown_numbers.items():
            frame[number] = frame[number].mask(frame[number].isin(codes))
        dropped = sum(map(len, parts)) - len(frame)
        return Records(frame, {"sensitive_unknown_dropped": dropped}, members=len(known[0]))
