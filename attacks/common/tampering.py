"""What attacks of a malicious server have in common: what it sends, and one round of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from attacks.common.federated import Observed
from attacks.common.networks import inside
from bench.contract import Exposure

_PASSES = (nn.Flatten, nn.Dropout, nn.Identity, nn.ReLU, nn.Linear)


def relu_layer(observed: Observed) -> tuple[str, str]:
    """Name of the first layer, if a ReLU and only fully connected layers with ReLUs follow.

    Returns:
        Its name, or "" and the reason.
    """
    name, reason, after = observed.first_linear()
    if not name:
        return "", reason
    if not isinstance(after, nn.ReLU):
        kind = type(after).__name__ if after else "nothing"
        return "", f"after the first layer comes {kind}, not a ReLU"
    for module in inside(observed.network).blocks.modules():
        if next(module.children(), None) is None and not isinstance(module, _PASSES):
            return "", f"the network has a {type(module).__name__}, not only layers with ReLUs"
    return name, ""


def channels(observed: Observed, layer: str, gain: float) -> dict[str, Tensor]:
    """Weights of all layers after ``layer`` that treat its neurons alike.

    Every further hidden neuron is the mean of those before it, and the score of class k is
    ``gain`` times plus or minus their sum, in turns. While the scores are small, the loss of a
    record has the same gradient with respect to every neuron that the record activates.
    """
    sent = {}
    for name, module in inside(observed.network).named_modules():
        if not isinstance(module, nn.Linear) or name == layer:
            continue
        values = torch.full_like(module.weight, 1 / module.in_features)
        if name == "head":
            signs = 1 - 2 * (torch.arange(module.out_features, device=values.device) % 2)
            values = gain * signs.to(values).unsqueeze(1).expand_as(values)
        sent[f"{name}.weight"] = values.contiguous()
        if module.bias is not None:
            sent[f"{name}.bias"] = torch.zeros_like(module.bias)
    return {name: value for name, value in sent.items() if name in observed.update}


def first(observed: Observed, layer: str, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Weights of ``layer``, followed by a ReLU: first the given neurons, then dead ones.

    A dead neuron is below zero for every record, so that its gradient is exactly zero.

    Args:
        observed: the clients of an honest round.
        layer: its name.
        weight: of the living neurons ``[living, d]``, as many as the layer has or fewer.
        bias: of the living neurons ``[living]``.
    """
    names = f"{layer}.weight", f"{layer}.bias"
    dead = len(observed.weights[names[1]]) - len(bias)
    return {
        names[0]: torch.cat([weight, weight.new_zeros(dead, weight.shape[1])]),
        names[1]: torch.cat([bias, bias.new_full((dead,), -1.0)]),
    }


def collect(
    exposure: Exposure,
    observed: Observed,
    sent: Mapping[str, Tensor],
    layer: str,
    inconsistent: bool,
    repeats: int = 1,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``layer`` at the weights ``sent``: ``[clients, m, d]`` and ``[clients, m]``.

    Args:
        exposure: of a malicious server.
        observed: the clients of an honest round.
        sent: to every client.
        layer: a fully connected layer followed by a ReLU.
        inconsistent: under secure aggregation, send ``sent`` to one client of every group and dead
            neurons to the others, so that the sum is that client's alone, and do so for every
            client in turn. There are then ``aggregated`` times as many clients, those of a group
            side by side.
        repeats: rounds of the same, averaged.
    """
    names, device = (f"{layer}.weight", f"{layer}.bias"), observed.public.device

    def average(models: Mapping[str, Tensor] | list[dict[str, Tensor]]) -> list[Tensor]:
        weight, bias = (torch.zeros((), device=device) for _ in names)
        for _ in range(repeats):
            shared = exposure.updates(models)
            weight = weight + shared[names[0]].to(device) / repeats
            bias = bias + shared[names[1]].to(device) / repeats
        return [weight, bias]

    places = observed.federation.aggregated
    if not inconsistent or places == 1:
        weight, bias = average(sent)
        return weight, bias
    none = observed.weights[names[0]][:0], observed.weights[names[1]][:0]
    quiet = first(observed, layer, *none)
    turns = [
        average([dict(sent) if place == turn else quiet for place in range(places)])
        for turn in range(places)
    ]
    # The sum is observed as a mean over the group, to which the others add zero.
    weight, bias = (
        torch.stack([places * part for part in parts], 1).flatten(0, 1)
        for parts in zip(*turns, strict=True)
    )
    return weight, bias
