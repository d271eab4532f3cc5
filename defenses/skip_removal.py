"""Residual networks without skip connections in their last stages (RoLSS), or with weaker ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from bench.contract import CountOrZero, Network, Share, TrainingContext, TrainingDefense, require
from defenses.common import adaptive


@dataclass(frozen=True)
class SkipRemoval(TrainingDefense):
    """Train a residual network whose last stages lack their skip connections.

    An inversion descends through skip connections; those of the last stage carry most of it (Koh,
    Ho, Nguyen and Cheung, ECCV 2024). Removed, with ``scale`` 0, is their RoLSS; a scale between 0
    and 1 is their skip-connection scaling factor (SSF), here the same for every epoch. Projections
    of a removed connection go with it. Their two-stage training is not built.

    Attributes:
        stages: how many of the last stages; 0 leaves the network as it is (no defense).
        scale: factor of those stages' skip connections, in [0, 1).
    """

    stages: CountOrZero = 1
    scale: Share = 0.0

    needs = frozenset({"skips"})
    modalities = frozenset({"image"})
    adaptive_attacks = adaptive.GENERATIVE
    paper = "Koh, Ho, Nguyen, Cheung, ECCV 2024 (arXiv 2409.01696): RoLSS and SSF"
    cost = "none"
    zero: ClassVar[Mapping[str, Any]] = {"stages": 0}

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """Replace the shortcuts of the last stages.

        Raises:
            UserError: the network has fewer stages with shortcuts.
        """
        stages = [s for s in map(residual, network.blocks) if s]
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
    return [m for m in block.modules() if isinstance(getattr(m, "shortcut", None), nn.Module)]


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
