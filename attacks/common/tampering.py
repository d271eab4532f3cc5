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


def silent(observed: Observed, layer: str) -> dict[str, Tensor]:
    """Weights at which ``layer``, followed by a ReLU, has a gradient of exactly zero.

    Its neurons are dead: below zero for every record (Pasquini et al., CCS 2022, arXiv 2111.07380).
    """
    weight, bias = f"{layer}.weight", f"{layer}.bias"
    return {
        weight: torch.zeros_like(observed.weights[weight]),
        bias: torch.full_like(observed.weights[bias], -1.0),
    }


def collect(
    exposure: Exposure,
    observed: Observed,
    sent: Mapping[str, Tensor],
    layer: str,
    inconsistent: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``layer`` at the weights ``sent``: ``[clients, m, d]`` and ``[clients, m]``.

    Args:
        exposure: of a malicious server.
        observed: the clients of an honest round.
        sent: to every client.
        layer: a fully connected layer followed by a ReLU.
        inconsistent: under secure aggregation, send ``sent`` to one client of every group and
            :func:`silent` weights to the others, so that the sum is that client's alone, and do so
            for every client in turn. There are then ``aggregated`` times as many clients, those of
            a group side by side.
    """
    names, device = (f"{layer}.weight", f"{layer}.bias"), observed.public.device
    places = observed.federation.aggregated
    if not inconsistent or places == 1:
        shared = exposure.updates(sent)
        return shared[names[0]].to(device), shared[names[1]].to(device)
    quiet = silent(observed, layer)
    turns = [
        exposure.updates([sent if place == turn else quiet for place in range(places)])
        for turn in range(places)
    ]
    weight, bias = (
        # The sum is observed as a mean over the group, to which the others add zero.
        torch.stack([places * shared[name].to(device) for shared in turns], 1).flatten(0, 1)
        for name in names
    )
    return weight, bias
