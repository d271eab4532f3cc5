"""Small convolutional network."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from annotated_types import MinLen
from torch import nn

from bench.contract import Count, Network, Positive, require, seeded
from bench.models.activations import ACTIVATIONS, Activation
from bench.models.recipe import Trained


@dataclass(frozen=True)
class Cnn(Trained):
    """Blocks of 3x3 convolution, group normalisation, activation and halving.

    It normalises groups and not batches: a batch statistic mixes records, which DP-SGD forbids, and
    the undefended network must be the one that DP-SGD trains.

    Attributes:
        channels: output channels of each block, multiples of ``groups``.
        groups: number of groups of the normalisation.
        activation: ``relu``, ``tanh`` or ``sigmoid``.
        halving: ``pool`` (2x2 maximum) or ``stride`` (of the convolution). With ``stride`` and a
            smooth activation the network is twice differentiable, as LeNet is in the literature on
            gradient leakage (Zhu et al., NeurIPS 2019, section 4).
    """

    epochs: Count = 20
    lr: Positive = 2e-3
    channels: Annotated[tuple[Count, ...], MinLen(1)] = (8, 16, 32)
    groups: Count = 8
    activation: Activation = "relu"
    halving: Literal["pool", "stride"] = "pool"

    modalities = frozenset({"image"})
    offers = frozenset({"descent", "steps", "blocks"})
    reference = "mlp"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            all(count % self.groups == 0 for count in self.channels),
            f"channels is {list(self.channels)}; give multiples of groups, which is {self.groups}.",
        )

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A freshly initialised network; the same seed gives the same weights.

        Raises:
            UserError: the records are not images, or the last block would have no pixel left.
        """
        colours, height, across = self.image_shape(shape)
        halvings = len(self.channels)
        require(
            min(height, across) >> halvings >= 1,
            f"Cnn.channels has {halvings} blocks, too many for {height}x{across} images: each "
            "halves them; use fewer.",
        )
        sizes = (colours, *self.channels)
        with seeded(seed):
            blocks = [self._block(before, after) for before, after in pairwise(sizes)]
            for _ in self.channels:
                height, across = self._halved(height), self._halved(across)
            pixels = height * across
            return Network(nn.Sequential(*blocks), nn.Linear(sizes[-1] * pixels, width))

    def _block(self, before: int, after: int) -> nn.Sequential:
        stride = 2 if self.halving == "stride" else 1
        block = nn.Sequential(
            nn.Conv2d(before, after, kernel_size=3, padding=1, stride=stride),
            nn.GroupNorm(self.groups, after),
            ACTIVATIONS[self.activation](),
        )
        return block if self.halving == "stride" else block.append(nn.MaxPool2d(2))

    def _halved(self, side: int) -> int:
        """A padded stride of 2 rounds up, pooling rounds down."""
        return (side + 1) // 2 if self.halving == "stride" else side // 2
