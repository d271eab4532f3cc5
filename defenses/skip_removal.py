"""Residual networks without skip connections in their last stages (RoLSS), or with weaker ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.contract import CountOrZero, Network, Share, TrainingContext, TrainingDefense, require


@dataclass(frozen=True)
class SkipRemoval(TrainingDefense):
    """Train a residual network whose last stages have no skip connections, or weaker ones.

    An inversion descends through skip connections, and those of the last stage carry most of it
    (Koh, Ho, Nguyen and Cheung, ECCV 2024). A ``scale`` of 0 removes them, which the paper calls
    RoLSS. A scale above 0 is the paper's skip-connection scaling factor (SSF), here the same in
    every epoch. The projection of a removed connection is removed with it. The paper's two-stage
    training is not built.

    Attributes:
        stages: number of last stages that are changed; 0 is no defense. Values worth a sweep are 1,
            2, 3 and 4.
        scale: factor of the skip connections of those stages; 0 removes them.
    """

    stages: CountOrZero = 1
    scale: Share = 0.0

    needs = frozenset({"skips"})
    modalities = frozenset({"image"})
    paper = "Koh, Ho, Nguyen, Cheung, ECCV 2024 (arXiv 2409.01696): RoLSS and SSF"
    cost = "none"
    zero: ClassVar[Mapping[str, Any]] = {"stages": 0}

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """Replace the shortcuts of the last stages.

        Raises:
            UserError: the network has fewer stages with shortcuts.
        """
        stages = [stage for stage in map(residual, network.blocks) if stage]
        require(
            self.stages <= len(stages),
            f"SkipRemoval.stages is {self.stages}, but the network has {len(stages)} stages with "
            f"skip connections; give at most {len(stages)}.",
        )
        for stage in stages[len(stages) - self.stages :]:
            for block in stage:
                shortcut = block.shortcut
                assert isinstance(shortcut, nn.Module)
                block.shortcut = Scaled(shortcut, self.scale) if self.scale else Removed()
        return network


def residual(block: nn.Module) -> list[nn.Module]:
    """The modules inside ``block`` that add a ``shortcut``."""
    return [
        part for part in block.modules() if isinstance(getattr(part, "shortcut", None), nn.Module)
    ]


class Removed(nn.Module):
    """A skip connection that carries nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """A zero of no shape, to be added to anything."""
        return x.new_zeros(())


class Scaled(nn.Module):
    """A skip connection that carries a share."""

    def __init__(self, shortcut: nn.Module, scale: float) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """``scale`` times what the connection carried."""
        carried: Tensor = self.shortcut(x)
        return self.scale * carried
