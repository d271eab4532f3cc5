"""A low-rank feature filter before the head (LoFt)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from bench.contract import Count, Network, TrainingContext, TrainingDefense, generator
from bench.contract import seed as derive
from defenses.common.layers import before_head, linear


@dataclass(frozen=True)
class Loft(TrainingDefense):
    """Let the head see few numbers, each squashed by a hyperbolic tangent.

    Yu, Qiu, Fang, Zhuang, Chen, Yu, Wang, Xia and Xu (arXiv 2410.05814, version 4; the first two
    versions are called CALoR) argue that features of a higher rank leak more. They replace the
    head by two layers with ``rank`` numbers between them, of which the activation saturates, so
    that an inversion's gradient vanishes. The target is trained on the cross-entropy as before. The
    filter is one more block, and the head starts anew on top of it.

    Written from the abstract and the authors' code, not from the paper's text. Two things of the
    code are left out: its batch normalisation before the filter, which would mix records and which
    DP-SGD forbids, and its start from a network trained on public people. The confidence
    adaptation of CALoR is not built.

    Attributes:
        rank: how many numbers the head sees; null is no filter and no defense. The authors' code
            has 50 for 530 classes. Values worth a sweep are 4, 8, 16 and 32.
        activation: ``tanh`` (the authors') or ``none``, a low rank alone.
    """

    rank: Count | None = 16
    activation: Literal["tanh", "none"] = "tanh"

    needs = frozenset({"steps"})
    paper = "Yu, Qiu, Fang, Zhuang, Chen, Yu, Wang, Xia, Xu, arXiv 2410.05814v4: LoFt"
    cost = "one more small linear layer"
    zero: ClassVar[Mapping[str, Any]] = {"rank": None}

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """Append the filter as a block and replace the head by one of its width."""
        if self.rank is None:
            return network
        rng = generator(derive(context.seed, part="low-rank filter"))
        block = nn.Sequential(nn.Flatten(), linear(network.head.in_features, self.rank, rng))
        if self.activation == "tanh":
            block.append(nn.Tanh())
        return before_head(network, block, self.rank, rng, context.device)
