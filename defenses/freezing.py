"""Transfer learning with frozen first layers (TL-DMI)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.contract import (
    Count,
    CountOrZero,
    Network,
    Positive,
    Recipe,
    TrainingContext,
    TrainingDefense,
    require,
)
from defenses.common.pretraining import pretrained


@dataclass(frozen=True)
class Freezing(TrainingDefense):
    """Pre-train on public records, then fine-tune on private ones with the first blocks fixed.

    The first blocks carry most of what an inversion reads, and here they never see a private record
    (Ho, Hao, Chandrasegaran, Nguyen, Cheung, CVPR 2024, section 4). Public faces show other people;
    public tables and baskets have the same classes. The head is new in either case.

    Attributes:
        layers: number of blocks that are fixed after pre-training, at most all of the network's; 0
            is plain fine-tuning, all of them is a linear probe, and null is no transfer at all and
            no defense. Values worth a sweep are 0, 1, 2 and 3.
        epochs: passes over the public records.
        batch_size: public records in a step.
        lr: learning rate of the pre-training, which uses Adam.
    """

    layers: CountOrZero | None = 1
    epochs: Count = 15
    batch_size: Count = 32
    lr: Positive = 1e-3

    paper = "Ho, Hao, Chandrasegaran, Nguyen, Cheung, CVPR 2024 (arXiv 2405.05588)"
    cost = "a training on public records first"
    needs = frozenset({"blocks"})
    tasks = ("classification",)
    zero: ClassVar[Mapping[str, Any]] = {"layers": None}

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """Load pre-trained blocks into ``network`` and fix the first ones; its head stays new.

        Raises:
            UserError: the network has fewer blocks, or all public records are of one class.
            DivergedError: the pre-training loss became NaN or Inf.
        """
        if self.layers is None:
            return network
        require(
            self.layers <= len(network.blocks),
            f"Freezing.layers is {self.layers}, but the network has {len(network.blocks)} "
            f"blocks; give at most {len(network.blocks)}.",
        )
        recipe = Recipe(self.epochs, self.batch_size, self.lr)
        source, _ = pretrained(context, recipe, "Freezing trains on public records first")
        # A layer before this one may have added blocks to the network.
        for block, pretrained_block in zip(network.blocks, source.blocks, strict=False):
            block.load_state_dict(pretrained_block.state_dict())
        for block in list(network.blocks)[: self.layers]:
            block.requires_grad_(False)
        return network
