"""Dropout during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from bench.contract import Network, Share, TrainingContext, TrainingDefense
from defenses.common import adaptive


@dataclass(frozen=True)
class Dropout(TrainingDefense):
    """Drop units after each hidden block while training; on the input where there is no block.

    The released network does not drop: ``eval`` mode scales nothing (inverted dropout).

    Attributes:
        rate: probability of dropping a unit, in [0, 1); 0 inserts nothing (no defense).
    """

    rate: Share = 0.3

    needs = frozenset({"steps"})
    adaptive_attacks = adaptive.BASIC
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
