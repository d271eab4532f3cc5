"""A variational information bottleneck before the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contract import (
    Count,
    Network,
    Positive,
    Step,
    TrainingContext,
    TrainingDefense,
    generator,
)
from bench.contract import seed as derive
from defenses.common.layers import before_head, linear


@dataclass(frozen=True)
class Mid(TrainingDefense):
    """Let the head see only a noisy code, and make the information in that code cost something.

    Wang, Zhang and Jia (AAAI 2021) regularise mutual information: the information of the prediction
    about the record is at most that of a code ``z ~ N(mu, sigma)`` before the last layer, so the
    loss gains ``beta KL(N(mu, sigma) || N(0, 1))``. As in the authors' code, the code is half as
    wide as what it is computed from, and ``sigma = softplus(s - 5)`` starts small. The bottleneck
    is one more block, and the head starts anew on top of it.

    Attributes:
        beta: weight of the divergence; null is no bottleneck and no defense, and at 0 nothing would
            keep the noise from vanishing. Values worth a sweep are 0.001, 0.003, 0.01 and 0.1.
        width: how many numbers the code has; null means half of the head's inputs.
        sample: whether the released network draws its code anew for every answer, as the authors'
            code does, instead of answering by ``mu``. Then an attacker must average.
    """

    beta: Positive | None = 0.003
    width: Count | None = None
    sample: bool = False

    needs = frozenset({"steps"})
    paper = "Wang, Zhang, Jia, AAAI 2021 (arXiv 2009.05241), the approximation for neural networks"
    cost = "one more linear layer"
    zero: ClassVar[Mapping[str, Any]] = {"beta": None}

    def adapt(self, network: Network, context: TrainingContext) -> Network:
        """Append the bottleneck as a block and replace the head by one of its width."""
        if self.beta is None:
            return network
        entering = network.head.in_features
        width = self.width or max(1, entering // 2)
        rng = generator(derive(context.seed, part="bottleneck"))
        noise = derive(context.seed, part="bottleneck noise") if self.sample else None
        block = nn.Sequential(nn.Flatten(), Bottleneck(linear(entering, 2 * width, rng), noise))
        return before_head(network, block, width, rng, context.device)

    def penalty(
        self,
        network: Network,
        x: Tensor,
        y: Tensor,
        hidden: Sequence[Tensor],
        outputs: Tensor,
        step: Step,
    ) -> Tensor:
        """The divergence of the codes of one step from a standard normal, times beta."""
        if self.beta is None:
            return outputs.new_zeros(())
        place, bottleneck = next(
            (i, part)
            for i, block in enumerate(network.blocks)
            for part in block.modules()
            if isinstance(part, Bottleneck)
        )
        mu, sigma = bottleneck.code((hidden[place - 1] if place else network.front(x)).flatten(1))
        divergence = (mu.square() + sigma.square() - 1) / 2 - sigma.log()
        return self.beta * divergence.sum(1).mean()


class Bottleneck(nn.Module):
    """A code of its input: drawn in training, and its mean in evaluation.

    Args:
        statistics: layer that gives mean and spread of the code, side by side.
        noise: seed of codes that are drawn in evaluation too; None answers by the mean.
    """

    def __init__(self, statistics: nn.Linear, noise: int | None = None) -> None:
        super().__init__()
        self.statistics = statistics
        self.noise = noise
        self.drawn = 0

    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the code, ``[n, width]`` each, of inputs ``[n, d]``."""
        mu, s = self.statistics(x).chunk(2, dim=1)
        return mu, F.softplus(s - 5)

    def forward(self, x: Tensor) -> Tensor:
        """The code ``[n, width]``."""
        mu, sigma = self.code(x)
        if self.training:
            return mu + sigma * torch.randn_like(sigma)
        if self.noise is None:
            return mu
        # It keeps a count and no generator, because a network is copied and sent to processes.
        self.drawn += 1
        rng = generator(derive(self.noise, answer=self.drawn), str(mu.device))
        return mu + sigma * torch.randn(sigma.shape, generator=rng, device=mu.device)
