"""Dropout during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from bench.contract import Network, Share, TrainingContext, TrainingDefense


@dataclass(frozen=True)
class Dropout(TrainingDefense):
    """Drop units after each hidden block in training; drop inputs where there is no block.

    The released network does not drop anything and needs no scaling, since training scales what it
    keeps (inverted dropout).

    Attributes:
        rate: probability that a unit is dropped; 0 inserts nothing and is no defense. Values worth
            a sweep are 0.1, 0.3, 0.5 and 0.8.
    """

    rate: Share = 0.3

    needs = frozenset({"steps"})
    paper = "Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, JMLR 2014"
    cost = "a mask a step; more epochs to fit"
    zero: ClassVar[Mapping[str, Any]] = {"rate": 0.0}

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """Append ``nn.Dropout`` to each block; blocks keep their number and parameter names."""
        if self.rate > 0.0:
            for block in list(network.blocks) or [network.blocks]:
                assert isinstance(block, nn.Sequential)
                block.append(nn.Dropout(self.rate))
        return network
