"""Train on pictures with a random part missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from bench.contract import Fraction, Network, Probability, Share, Step, TrainingDefense, require


@dataclass(frozen=True)
class RandomErasing(TrainingDefense):
    """Erase a square of random area at a random place of a picture, anew in every step.

    The network never sees a whole picture, and attacks that search whole pictures end elsewhere in
    its feature space (Tran, Nguyen et al., TMLR 2025, who call it MIDRE): every picture loses a
    square, which is filled with the mean pixel. Zhong et al. erase half of the pictures and fill
    with noise.

    Attributes:
        largest: largest share of a picture that is erased. Values worth a sweep are 0.2, 0.4, 0.6
            and 0.8.
        smallest: smallest share that is erased, at most ``largest``.
        probability: chance that a picture is erased at all; 0 is no defense.
        fill: ``mean`` is the mean of each channel in the batch, ``noise`` is uniform in [0, 1].
    """

    largest: Fraction = 0.4
    smallest: Share = 0.1
    probability: Probability = 1.0
    fill: Literal["mean", "noise"] = "mean"

    covers = frozenset({"labels", "scores", "weights", "deletions"})
    needs = frozenset({"steps"})
    tasks = ("classification",)
    modalities = frozenset({"image"})
    paper = (
        "Tran, Nguyen, Mai, Vandierendonck, Assent, Kot, Cheung, TMLR 2025 (arXiv 2409.01062); "
        "Zhong, Zheng, Kang, Li, Yang, AAAI 2020 (arXiv 1708.04896)"
    )
    cost = "none"
    zero: ClassVar[Mapping[str, Any]] = {"probability": 0.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.smallest <= self.largest,
            f"smallest is {self.smallest}, above largest, which is {self.largest}; give a smaller "
            "one.",
        )

    def augment(self, network: Network, x: Tensor, y: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Erase a square of each picture ``[n, channels, height, width]``."""
        if self.probability == 0:
            return x, y
        filling = x.mean((0, 2, 3), keepdim=True).expand_as(x)
        if self.fill == "noise":
            filling = torch.rand(x.shape, generator=step.rng, device=x.device)
        return torch.where(self._erased(x, step.rng), filling, x), y

    def _erased(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Which pixels are erased, bool ``[n, 1, height, width]``."""
        n, _, height, width = x.shape
        share, down, right, chance = torch.rand(4, n, generator=rng, device=x.device)
        area: Tensor = self.smallest + (self.largest - self.smallest) * share
        side = (area * height * width).sqrt().round()
        rows = _between(height, side, down) & (chance < self.probability).unsqueeze(1)
        square: Tensor = rows.unsqueeze(2) & _between(width, side, right).unsqueeze(1)
        return square.unsqueeze(1)


def _between(length: int, side: Tensor, place: Tensor) -> Tensor:
    """A run of ``side`` positions at a random ``place`` in [0, 1), bool ``[n, length]``."""
    room = (length - side).clamp_min(0)
    start = (place * (room + 1)).floor().unsqueeze(1)
    position = torch.arange(length, device=side.device)
    return (position >= start) & (position < start + side.unsqueeze(1))
