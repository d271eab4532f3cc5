"""Baskets from files: one order of steps, in which each data set states what differs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.contract import Fraction, Modality, Split, Splits, Task, sparse
from bench.data import common
from bench.data.common import Ints
from bench.data.loader import Loader, Shared
from bench.data.segments import segment, segment_names


class BasketSet(Loader):
    """What baskets are used for."""

    modality: ClassVar[Modality] = "basket"
    goals: ClassVar[tuple[str, ...]] = ("output_reconstruction", "training_instance")
    tasks: ClassVar[tuple[Task, ...]] = ("classification", "recommendation")
    utility_metric: ClassVar[str] = "accuracy"


@dataclass(frozen=True)
class Purchases:
    """Baskets as they were read, not yet split.

    Attributes:
        x: 0/1, float32 ``[n, n_items]``, dense or in compressed rows.
        owner: int64 ``[n]``, whose basket each is.
        items: names of the items.
        protocol: which baskets these are, in words.
        sensitive: indices of items whose recovery weighs most; None: rare ones.
        labels: int64 ``[n]``, the class of each; None: the segment it is found to belong to.
        facts: what was counted while they were read.
    """

    x: Tensor
    owner: Tensor
    items: tuple[str, ...]
    protocol: str
    sensitive: tuple[int, ...] | None = None
    labels: Ints | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredBaskets(BasketSet, Shared):
    """Baskets in one file. Equal ones are counted, not dropped: small baskets repeat naturally."""

    public: Fraction = 0.4

    @property
    @abstractmethod
    def _class_names(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""

    @property
    def n_classes(self) -> int:
        """Number of classes or segments."""
        return len(self._class_names)

    @abstractmethod
    def _read(self, path: Path, seed: int) -> Purchases:
        """The baskets of the file.

        Raises:
            UserError: the file holds something else.
        """

    def _labels(self, purchases: Purchases, public: Ints, seed: int) -> Tensor:
        """The class of each basket, int64 ``[n]``."""
        assert purchases.labels is not None
        return torch.from_numpy(purchases.labels)

    def load(self, seed: int, data_root: Path | None) -> Splits:
        """Read, check and split by ``seed``; see the base class."""
        [path], facts = self._open(data_root)
        purchases = self._read(path, seed)
        x = purchases.x
        strata = np.zeros(len(x), np.int64) if purchases.labels is None else purchases.labels
        rows = self._stratified(strata, seed)
        y = self._labels(purchases, rows[2], seed)
        sensitive = purchases.sensitive
        card = self._card(
            shape=(x.shape[1],),
            class_names=self._class_names,
            columns=purchases.items,
            sensitive_items=rare(sparse.take(x, torch.from_numpy(rows[2])))
            if sensitive is None
            else sensitive,
        )
        return common.finish(
            card,
            Split(x, y, purchases.owner),
            rows,
            split_protocol=f"{purchases.protocol}: {self._shares}",
            allow_duplicates=True,
            mean_basket=float(sparse.sums(x, 1).mean()),
            fillers=None,
            **facts,
            **purchases.facts,
        )


@dataclass(frozen=True)
class SegmentedBaskets(StoredBaskets):
    """Baskets without labels; :mod:`bench.data.segments` finds some.

    Attributes:
        segments: number of classes.
    """

    segments: int = 10

    @property
    def _class_names(self) -> tuple[str, ...]:
        return segment_names(self.segments)

    @property
    def _shares(self) -> str:
        return f"{super()._shares}; segments: k-means on public"

    def _labels(self, purchases: Purchases, public: Ints, seed: int) -> Tensor:
        return segment(self.name, purchases.x, public, self.segments, seed)


def rare(public: Tensor) -> tuple[int, ...]:
    """Every fourth of the rarer half of the items that public records ``[n, n_items]`` hold."""
    count = sparse.sums(public, 0)
    order = count.argsort(descending=True, stable=True)
    order = order[count[order] > 0]
    return tuple(sorted(order[len(order) // 2 :: 4].tolist()))
