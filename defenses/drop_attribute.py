"""Learn and answer without some attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench.contract import Network, Split, TrainingContext, TrainingDefense, require
from defenses.common.sanitizers import columns_of


@dataclass(frozen=True)
class DropAttribute(TrainingDefense):
    """Take attributes out of the records in training and in every query (data minimisation).

    Their encoded columns become 0: the public mean of a number, no value of a category. The
    deployed model does the same to what it is asked. So its answer says nothing about these
    attributes that the others do not say, and an attack could have guessed without the model
    whatever it still finds.

    Attributes:
        attributes: names of columns before encoding; null is the sensitive one of the data set, and
            an empty list is no defense.
    """

    attributes: tuple[str, ...] | None = None

    rowwise: ClassVar[bool] = True
    tunable: ClassVar[bool] = False
    cost = "what the attributes said about the target"
    modalities = frozenset({"table"})
    paper = "Goldsteen, Ezov, Shmelkin, Moffie, Farkash 2020, arXiv 2008.04113 (data minimisation)"
    zero: ClassVar[Mapping[str, Any]] = {"attributes": ()}
    hides = ("attributes", "sensitive")

    def sanitize(self, train: Split, context: TrainingContext) -> Split:
        """Records without the attributes."""
        columns = self._columns(context)
        if not columns:
            return train
        return replace(train, x=_Without(columns, train.x)(train.x))

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """A mask before the first block."""
        columns = self._columns(context)
        if columns:
            like = torch.zeros(1, *context.card.shape, device=context.device)
            network.front = nn.Sequential(network.front, _Without(columns, like))
        return network

    def _columns(self, context: TrainingContext) -> list[int]:
        names, card = self.attributes, context.card
        if names is None:
            require(
                card.sensitive is not None,
                f"DropAttribute.attributes is null, but '{card.name}' has no sensitive attribute; "
                "name the attributes to drop.",
            )
            assert card.sensitive is not None
            return list(range(*card.sensitive.columns))
        return columns_of(card, names, "DropAttribute.attributes")


class _Without(nn.Module):
    """Sets columns to 0. The options say which; they are not in the state dictionary."""

    rowwise = True
    keep: Tensor

    def __init__(self, columns: list[int], like: Tensor) -> None:
        super().__init__()
        keep = torch.ones_like(like[0])
        keep[columns] = 0.0
        self.register_buffer("keep", keep, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` ``[n, d]`` without the columns."""
        return x * self.keep
