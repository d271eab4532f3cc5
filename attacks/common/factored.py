"""The cosine between shared updates and those of dummy records, without the dummy updates.

The gradient of a fully connected layer is a sum of outer products, one a record and local step. Its
products with another matrix and with itself follow from the factors, which are many times smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.networks import inside
from bench.contract import Network
from bench.contract.exposure import counted

Slope = Callable[[Tensor], Tensor]
"""Derivative of an activation, as a function of its value."""

_SLOPES: Mapping[type[nn.Module], Slope] = {
    nn.ReLU: lambda a: (a > 0).to(a),
    nn.Tanh: lambda a: 1 - a.square(),
    nn.Sigmoid: lambda a: a * (1 - a),
}
_UNCHANGED = (nn.Flatten, nn.Dropout, nn.Identity)
"""Layers that change nothing of a flat record, in evaluation mode."""


@dataclass(frozen=True)
class _Layer:
    """A fully connected layer and the activation after it.

    Attributes:
        linear: the layer.
        activation: after it; None for the head.
        shared: what the clients shared of its weights, and of its bias as a last column where that
            is trained, ``[clients, out, in or in + 1]``; None if it is not trained.
        bias: whether the bias is part of ``shared``.
    """

    linear: nn.Linear
    activation: nn.Module | None
    shared: Tensor | None
    bias: bool

    def entering(self, x: Tensor) -> Tensor:
        """Inputs ``[..., in]`` as they stand beside the weights in ``shared``."""
        return F.pad(x, (0, 1), value=1.0) if self.bias else x


@dataclass(frozen=True)
class FactoredCosine:
    """One minus the cosine between what clients shared and what dummy records would.

    Attributes:
        metered: the network as the attack was handed it; passes are counted on it.
        layers: of the network, the head last.
        local_steps: of a client; more than one are simulated.
        local_lr: their learning rate.
        norm: of every client's update ``[clients]``.
    """

    metered: nn.Module
    layers: tuple[_Layer, ...]
    local_steps: int
    local_lr: float
    norm: Tensor

    @classmethod
    def of(
        cls, metered: nn.Module, update: Mapping[str, Tensor], local_steps: int, local_lr: float
    ) -> FactoredCosine | None:
        """The distance to updates by parameter name; None if the network is not fully connected."""
        network = inside(metered)
        layers = _layers(network, update)
        if layers is None or sum(t.numel() for t in update.values()) != sum(
            0 if layer.shared is None else layer.shared.numel() for layer in layers
        ):
            return None
        squares = sum(t.flatten(1).square().sum(1) for t in update.values())
        return cls(metered, layers, local_steps, local_lr, torch.as_tensor(squares).sqrt())

    def __call__(self, x: Tensor, targets: Tensor) -> Tensor:
        """Distances ``[rows]``, differentiable in both arguments.

        Args:
            x: ``[rows, batch_size, *shape]``; row r holds records of client ``r % clients``.
            targets: label distributions ``[rows, batch_size, n_classes]``.
        """
        rows, batch = x.shape[:2]
        front = inside(self.metered).front
        first = front(x.flatten(0, 1)).flatten(1).view(rows, batch, -1)
        first_arriving = self.layers[0].entering(first)
        entered: list[list[Tensor]] = [[] for _ in self.layers]
        left: list[list[Tensor]] = [[] for _ in self.layers]
        for _ in range(self.local_steps):
            values = first
            for place, layer in enumerate(self.layers):
                arriving = layer.entering(values) if place else first_arriving
                values = F.linear(values, layer.linear.weight, layer.linear.bias)
                if left[place]:
                    known, moved = _factors(entered[place], left[place])
                    change = (arriving @ known.mT) @ moved
                    values = values - self.local_lr * change
                entered[place].append(arriving)
                if layer.activation is not None:
                    values = layer.activation(values)
            flat = counted(self.metered, values.flatten(0, 1), backward=rows * batch)
            logits = flat.view_as(values)
            total = targets.sum(2, keepdim=True)
            slope = (logits.softmax(2) * total - targets) / batch
            slopes = [slope]
            for place in range(len(self.layers) - 1, 0, -1):
                layer, before = self.layers[place], self.layers[place - 1]
                back = slope @ layer.linear.weight
                if left[place]:
                    known, moved = _factors(entered[place][:-1], left[place])
                    width = layer.linear.in_features
                    change = (slope @ moved.mT) @ known[..., :width]
                    back = back - self.local_lr * change
                assert before.activation is not None
                value = entered[place][-1][..., : layer.linear.in_features]
                slope = back * _SLOPES[type(before.activation)](value)
                slopes.append(slope)
            for place, layer in enumerate(self.layers):
                # Frozen layers do not move.
                if layer.shared is not None:
                    left[place].append(slopes[len(self.layers) - 1 - place])
        return self._distance(entered, left)

    def _distance(self, entered: list[list[Tensor]], left: list[list[Tensor]]) -> Tensor:
        inner: Tensor | float = 0.0
        square: Tensor | float = 0.0
        for layer, arriving, leaving in zip(self.layers, entered, left, strict=True):
            if layer.shared is None:
                continue
            a, d = _factors(arriving, leaving)
            clients, rows = len(layer.shared), len(a)
            copies = rows // clients
            # The copies of a client stand beside each other, so that its matrix is read once.
            grouped = a.view(copies, clients, *a.shape[1:]).transpose(0, 1).flatten(1, 2)
            product = (grouped @ layer.shared.mT).view(clients, copies, *d.shape[1:])
            inner = inner + (product.transpose(0, 1).reshape(d.shape) * d).sum((1, 2))
            square = square + ((a @ a.mT) * (d @ d.mT)).sum((1, 2))
        assert isinstance(inner, Tensor) and isinstance(square, Tensor)
        norm = self.norm.repeat(len(inner) // len(self.norm)).clamp_min(1e-15)
        return 1 - inner / (square.clamp_min(1e-30).sqrt() * norm)


def _factors(entered: list[Tensor], left: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Factors ``[rows, j, in]`` and ``[rows, j, out]`` of the sum of gradients of a layer.

    Where the same records enter at every step, as in the first layer, their slopes add up.
    """
    steps = len(left)
    if steps > 1 and entered[0] is entered[1]:
        return entered[0], torch.stack(left).sum(0)
    if steps == 1:
        return entered[0], left[0]
    return torch.cat(entered[:steps], 1), torch.cat(left, 1)


def _layers(network: Network, update: Mapping[str, Tensor]) -> tuple[_Layer, ...] | None:
    """The layers of a fully connected network; None if it is anything else."""
    if type(network) is not Network:
        return None
    blocks = [
        (name, module)
        for name, module in network.blocks.named_modules(prefix="blocks")
        if type(module) is not nn.Sequential and not isinstance(module, _UNCHANGED)
    ]
    found: list[_Layer] = []
    for (name, linear), (_, activation) in zip(blocks[::2], blocks[1::2], strict=False):
        if type(linear) is not nn.Linear or type(activation) not in _SLOPES:
            return None
        found.append(_layer(name, linear, activation, update))
    if len(blocks) % 2:
        return None
    return (*found, _layer("head", network.head, None, update))


def _layer(
    name: str, linear: nn.Linear, activation: nn.Module | None, update: Mapping[str, Tensor]
) -> _Layer:
    weight, bias = update.get(f"{name}.weight"), update.get(f"{name}.bias")
    if weight is None or bias is None:
        return _Layer(linear, activation, weight, bias=False)
    return _Layer(linear, activation, torch.cat([weight, bias.unsqueeze(2)], 2), bias=True)
