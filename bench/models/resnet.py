"""Residual network with group normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import gcd
from typing import Annotated

import torch
from annotated_types import MinLen
from torch import Tensor, nn

from bench.contract import Count, Network, Positive, seeded
from bench.contract.training import Optimizer, Schedule
from bench.models.recipe import Trained

_SMALL = 64
"""Pictures up to this many pixels keep their resolution in the stem."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He, Zhang, Ren and Sun, CVPR 2016, figure 2).

    Args:
        before: channels that come in.
        after: channels that go out.
        stride: of the first convolution and of the shortcut.
        groups: of the normalisation.
    """

    def __init__(self, before: int, after: int, stride: int, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(before, after, 3, stride),
            _norm(after, groups),
            nn.ReLU(),
            _convolution(after, after, 3, 1),
            _norm(after, groups),
        )
        self.shortcut = (
            nn.Identity()
            if before == after and stride == 1
            else nn.Sequential(_convolution(before, after, 1, stride), _norm(after, groups))
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[n, before, h, w]`` to ``[n, after, h / stride, w / stride]``."""
        return torch.relu(self.body(x) + self.shortcut(x))


def _convolution(before: int, after: int, size: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(groups, channels), channels)


@dataclass(frozen=True)
class ResNet(Trained):
    """Stem, stages of basic blocks, and global average pooling: ResNet-18 by default.

    This is the network of He, Zhang, Ren and Sun (CVPR 2016, table 1) with group normalisation (Wu
    and He, ECCV 2018) in the place of batch normalisation: a batch statistic mixes records, which
    DP-SGD forbids, and the undefended network must be the one that DP-SGD trains. Pictures with a
    side of at most 64 pixels have a 3x3 stem of stride 1; larger ones have the paper's 7x7 stem of
    stride 2 with its pooling.

    ``Network.blocks`` are the stem, each stage, and the pooling: 6 for ResNet-18.

    Attributes:
        stages: number of basic blocks in each stage; ``[2, 2, 2, 2]`` is ResNet-18, ``[3, 4, 6,
            3]`` is ResNet-34. Each stage but the first halves height and width and doubles the
            channels.
        width: channels of the first stage, 64 in the paper.
        groups: number of groups of the normalisation; where it does not divide the channels, it is
            their greatest common divisor.
    """

    epochs: Count = 60
    lr: Positive = 5e-2
    optimizer: Optimizer = "sgd"
    schedule: Schedule = "cosine"
    stages: Annotated[tuple[Count, ...], MinLen(1)] = (2, 2, 2, 2)
    width: Count = 64
    groups: Count = 32

    modalities = frozenset({"image"})
    offers = frozenset({"descent", "steps", "blocks", "skips"})
    reference = "mlp"

    def build(self, shape: tuple[int, ...], width: int, seed: int) -> Network:
        """A freshly initialised network; the same seed gives the same weights.

        Raises:
            UserError: the records are not images.
        """
        colours, *sides = self.image_shape(shape)
        small = min(sides) <= _SMALL
        channels = [self.width * 2**i for i in range(len(self.stages))]
        with seeded(seed):
            stem = nn.Sequential(
                _convolution(colours, self.width, 3 if small else 7, 1 if small else 2),
                _norm(self.width, self.groups),
                nn.ReLU(),
            )
            if not small:
                stem.append(nn.MaxPool2d(3, stride=2, padding=1))
            blocks = [stem]
            for i, (before, after) in enumerate(pairwise([self.width, *channels])):
                first = BasicBlock(before, after, 2 if i else 1, self.groups)
                others = [
                    BasicBlock(after, after, 1, self.groups) for _ in range(self.stages[i] - 1)
                ]
                blocks.append(nn.Sequential(first, *others))
            blocks.append(nn.Sequential(nn.AdaptiveAvgPool2d(1)))
            return Network(nn.Sequential(*blocks), nn.Linear(channels[-1], width))
