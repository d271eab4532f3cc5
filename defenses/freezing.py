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
from defenses.common import adaptive
from defenses.common.pretraining import pretrained


@dataclass(frozen=True)
class Freezing(TrainingDefense):
    """Pre-train on public records, then fine-tune on private ones with the first blocks fixed.

    The first blocks, which carry most of what inversion reads, never see a private record
    (Ho, Hao, Chandrasegaran, Nguyen, Cheung, CVPR 2024, section 4). Public faces are other
    people; public tables and baskets have the same classes. The head is new in either case.

    Attributes:
        layers: blocks fixed after pre-training; 0 is plain fine-tuning, as many as the network
            has is a linear probe; None is no transfer at all (no defense).
        epochs: passes over the public records.
        batch_size: public records per step.
        lr: learning rate of the pre-training (Adam).
    """

    layers: CountOrZero | None = 1
    epochs: Count = 15
    batch_size: Count = 32
    lr: Positive = 1e-3

    adaptive_attacks = adaptive.BASIC
    paper = "Ho, Hao, Chandrasegaran, Nguyen, Cheung, CVPR 2024 (arXiv 2405.05588)"
    cost = "a training on public records first"
    needs = frozenset({"blocks"})
    tasks = ("classification",)
    zero: ClassVar[Mapping[str, Any]] = {"layers": None}

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """Load pre-trained blocks into ``network`` and fix the first; its head stays fresh.

        Raises:
            UserError: more blocks to fix than there are, or public records of one class only.
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
        for mine, theirs in zip(network.blocks, source.blocks, strict=False):
            mine.load_state_dict(theirs.state_dict())  # a layer before may have added blocks
        for block in list(network.blocks)[: self.layers]:
            block.requires_grad_(False)
        return network
