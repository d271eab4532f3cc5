"""The cosine between shared updates and those of dummy records, without the dummy updates.

The gradient of a fully connected layer is a sum of outer products, one a record and local step. Its
products with another matrix and with itself follow from the factors, which are many times smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.common.networks import inside
from bench.contract import Network
from bench.contract.exposure import counted

Rate = Callable[[Tensor], Tensor]
"""A derivative of an activation, as a function of the activation's value."""

_RATES: Mapping[type[nn.Module], tuple[Rate, Rate | None]] = {
    nn.ReLU: (lambda a: (a > 0).to(a), None),
    nn.Tanh: (lambda a: 1 - a.square(), lambda a: -2 * a),
    nn.Sigmoid: (lambda a: a * (1 - a), lambda a: 1 - 2 * a),
}
"""The derivative of each activation, and the derivative of that in the value; None: it is 0."""
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

    @property
    def rates(self) -> tuple[Rate, Rate | None]:
        """The activation's derivatives, see ``_RATES``; never asked of the head."""
        assert self.activation is not None
        return _RATES[type(self.activation)]


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
        """Distances ``[rows]``, differentiable once, in the records.

        Args:
            x: ``[rows, batch_size, *shape]``; row r holds records of client ``r % clients``.
            targets: label distributions ``[rows, batch_size, n_classes]``.
        """
        rows, batch = x.shape[:2]
        records = inside(self.metered).front(x.flatten(0, 1)).flatten(1).view(rows, batch, -1)
        wanted = records.requires_grad and torch.is_grad_enabled()
        passes = rows * batch * self.local_steps
        counted(self.metered, passes, (1 + wanted) * passes)
        with torch.no_grad():
            run = _Run(self, records.detach(), targets)
            distance, grads = run.distance()
            if not wanted:
                return distance
            slope = run.slope(*grads)
        known: Tensor = _Known.apply(records, distance, slope)  # type: ignore[no-untyped-call]
        return known


class _Known(torch.autograd.Function):
    """A value per row whose gradient has been worked out already."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return grads[0].view(-1, 1, 1) * slope, None, None


class _Run:
    """One evaluation: what entered each layer and what its gradient is made of, step by step.

    The update of a layer is ``sum_j left_j entered_j^T`` over records and local steps j, and its
    weights at a step are the first ones minus the learning rate times the terms so far.

    Attributes:
        entered: for each layer ``[rows, local_steps * batch_size, in]``, with a last column of 1
            where the bias is trained.
        left: gradients of each layer's outputs ``[rows, local_steps * batch_size, out]``.
        scores: softmax of the head's outputs.
    """

    def __init__(self, of: FactoredCosine, records: Tensor, targets: Tensor) -> None:
        self.of, self.targets = of, targets
        rows, self.batch, _ = records.shape
        terms = of.local_steps * self.batch
        self.entered: list[Tensor] = []
        self.left: list[Tensor] = []
        for layer in of.layers:
            linear = layer.linear
            self.entered.append(
                records.new_ones(rows, terms, linear.in_features + (1 if layer.bias else 0))
            )
            self.left.append(records.new_empty(rows, terms, linear.out_features))
        self.total = targets.sum(2, keepdim=True)
        self.scores = records.new_empty(rows, terms, targets.shape[2])
        for step in range(of.local_steps):
            self._step(step, records)

    def _place(self, step: int) -> tuple[slice, slice]:
        """The terms of a step, and those before it."""
        start = step * self.batch
        return slice(start, start + self.batch), slice(0, start)

    def _step(self, step: int, records: Tensor) -> None:
        now, past = self._place(step)
        lr, values = self.of.local_lr, records
        for layer, entered, left in zip(self.of.layers, self.entered, self.left, strict=True):
            linear = layer.linear
            entered[:, now, : linear.in_features] = values
            values = F.linear(values, linear.weight, linear.bias)
            if step and layer.shared is not None:
                likeness = entered[:, now] @ entered[:, past].mT
                values = values - lr * (likeness @ left[:, past])
            if layer.activation is not None:
                values = layer.activation(values)
        self.scores[:, now] = values.softmax(2)
        slope = (self.scores[:, now] * self.total - self.targets) / self.batch
        self.left[-1][:, now] = slope
        for place in range(len(self.of.layers) - 1, 0, -1):
            back = self._back(place, step, slope)
            slope = back.mul_(self._rate(place, now))
            self.left[place - 1][:, now] = slope

    def _back(self, place: int, step: int, slope: Tensor) -> Tensor:
        """The gradient of what entered a layer, of that of its outputs at a step."""
        layer, (_, past) = self.of.layers[place], self._place(step)
        back = slope @ layer.linear.weight
        if step and layer.shared is not None:
            likeness = slope @ self.left[place][:, past].mT
            entered = self.entered[place][:, past, : layer.linear.in_features]
            back = back - self.of.local_lr * (likeness @ entered)
        return back

    def _rate(self, place: int, now: slice) -> Tensor:
        """Derivative of the activation before a layer."""
        layer, before = self.of.layers[place], self.of.layers[place - 1]
        values = self.entered[place][:, now, : layer.linear.in_features]
        return before.rates[0](values)

    def distance(self) -> tuple[Tensor, tuple[list[Tensor], list[Tensor]]]:
        """Distances ``[rows]``, and their gradients in ``entered`` and ``left``."""
        inner = self.targets.new_zeros(len(self.targets))
        square = torch.zeros_like(inner)
        parts: list[tuple[Tensor, Tensor, Tensor, Tensor] | None] = []
        for layer, a, d in zip(self.of.layers, self.entered, self.left, strict=True):
            if layer.shared is None:
                parts.append(None)
                continue
            to_left = _by_client(a, layer.shared.mT)
            to_entered = _by_client(d, layer.shared)
            gram_a, gram_d = _gram(a), _gram(d)
            inner += (to_left * d).sum((1, 2))
            square += (gram_a * gram_d).sum((1, 2))
            parts.append((to_entered, to_left, gram_a, gram_d))
        norm = self.of.norm.repeat(len(inner) // len(self.of.norm)).clamp_min(1e-15)
        length = square.clamp_min(1e-30).sqrt()
        distance = 1 - inner / (length * norm)
        # Derivatives of the distance in the inner product and in the squared length.
        one = (-1 / (length * norm)).view(-1, 1, 1)
        two = (inner / (length.pow(3) * norm)).view(-1, 1, 1)
        in_entered, in_left = [], []
        for part, a, d in zip(parts, self.entered, self.left, strict=True):
            if part is None:
                in_entered.append(torch.zeros_like(a))
                in_left.append(torch.zeros_like(d))
                continue
            to_entered, to_left, gram_a, gram_d = part
            in_entered.append(to_entered.mul_(one).add_(_times(two * gram_d, a)))
            in_left.append(to_left.mul_(one).add_(_times(two * gram_a, d)))
        return distance, (in_entered, in_left)

    def slope(self, in_entered: list[Tensor], in_left: list[Tensor]) -> Tensor:
        """The gradient of the distance in the records, of those in ``entered`` and ``left``.

        Reverse differentiation of :meth:`_step`, last step first; the arguments are used up.
        """
        width = self.of.layers[0].linear.in_features
        for step in reversed(range(self.of.local_steps)):
            self._reverse_slopes(step, in_entered, in_left)
            self._reverse_values(step, in_entered, in_left)
        slopes = in_entered[0][..., :width]
        return slopes.reshape(len(slopes), self.of.local_steps, self.batch, width).sum(1)

    def _reverse_slopes(self, step: int, in_entered: list[Tensor], in_left: list[Tensor]) -> None:
        """From the first layer to the head: through the gradients of a step."""
        now, past = self._place(step)
        lr = self.of.local_lr
        for place in range(1, len(self.of.layers)):
            layer, before = self.of.layers[place], self.of.layers[place - 1]
            width = layer.linear.in_features
            slope, into = self.left[place][:, now], in_left[place - 1][:, now]
            bend = before.rates[1]
            if bend is not None:
                values = self.entered[place][:, now, :width]
                in_entered[place][:, now, :width] += (
                    into * self._back(place, step, slope) * bend(values)
                )
            back = into * self._rate(place, now)
            in_left[place][:, now] += back @ layer.linear.weight.T
            if step and layer.shared is not None:
                entered, left = self.entered[place][:, past, :width], self.left[place][:, past]
                likeness = -lr * (slope @ left.mT)
                into_likeness = -lr * (back @ entered.mT)
                in_left[place][:, now] += into_likeness @ left
                in_left[place][:, past] += into_likeness.mT @ slope
                in_entered[place][:, past, :width] += likeness.mT @ back

    def _reverse_values(self, step: int, in_entered: list[Tensor], in_left: list[Tensor]) -> None:
        """From the head to the first layer: through the values of a step."""
        now, past = self._place(step)
        lr, scores = self.of.local_lr, self.scores[:, now]
        weighted = in_left[-1][:, now] * (self.total / self.batch)
        into = scores * (weighted - (scores * weighted).sum(2, keepdim=True))
        for place in range(len(self.of.layers) - 1, -1, -1):
            layer = self.of.layers[place]
            width = layer.linear.in_features
            in_entered[place][:, now, :width] += into @ layer.linear.weight
            if step and layer.shared is not None:
                entered, left = self.entered[place], self.left[place][:, past]
                likeness = -lr * (entered[:, now] @ entered[:, past].mT)
                into_likeness = -lr * (into @ left.mT)
                in_left[place][:, past] += likeness.mT @ into
                in_entered[place][:, now] += into_likeness @ entered[:, past]
                in_entered[place][:, past] += into_likeness.mT @ entered[:, now]
            if place:
                into = in_entered[place][:, now, :width] * self._rate(place, now)


def _by_client(factors: Tensor, matrices: Tensor) -> Tensor:
    """Products of ``[rows, j, in]`` with the clients' matrices ``[clients, in, out]``.

    The copies of a client are put beside each other, so that its matrix is read once.
    """
    clients, (rows, terms, _) = len(matrices), factors.shape
    grouped = factors.view(rows // clients, clients, terms, -1).transpose(0, 1)
    product = grouped.reshape(clients, -1, factors.shape[2]) @ matrices
    return (
        product.view(clients, -1, terms, product.shape[2]).transpose(0, 1).reshape(rows, terms, -1)
    )


def _gram(x: Tensor) -> Tensor:
    """Inner products ``[rows, j, j]`` of ``[rows, j, d]``."""
    return x.square().sum(2, keepdim=True) if x.shape[1] == 1 else x @ x.mT


def _times(gram: Tensor, x: Tensor) -> Tensor:
    """``[rows, j, j]`` times ``[rows, j, d]``."""
    return gram * x if x.shape[1] == 1 else gram @ x


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
        if type(linear) is not nn.Linear or type(activation) not in _RATES:
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
