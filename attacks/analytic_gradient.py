"""The exact input of a fully connected first layer, without optimisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.federated import Federated, Observed
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, require
from bench.contract.exposure import Access

_KEEPS_THE_INPUT = (nn.Flatten, nn.Dropout, nn.Identity)
_SAME = 1e-2
"""Root mean square below which two neurons are said to name the same record."""
_MOST = 512
"""Neurons compared per client."""


@dataclass(frozen=True)
class AnalyticGradient(Federated, Attack):
    """Geiping et al., NeurIPS 2020, proposition 3.1; Phong et al., IEEE TIFS 2018, section 3.

    A fully connected first layer has weight gradient ``dW_j = sum_i d_ij x_i`` and bias gradient
    ``db_j = sum_i d_ij`` for neuron j. One record: every row is ``x`` times its ``db_j``, and the
    least-squares fit over rows, of the coordinates that survived a defense, is ``x``; several
    local steps change nothing. More records: ``dW_j / db_j`` is a mixture, and a record itself
    where the neuron answers to one record only (ReLU; Boenisch et al., EuroS&P 2023, section 4).
    Candidates that neurons agree on come first, then those with the largest bias gradient whose
    ratio is an image.

    There is nothing to read where the first layer is a convolution, is fixed, or has no bias: the
    attack says so and returns the public mean.

    Attributes:
        access: ``gradients``.
        rounds: rounds of the same clients averaged, against a defense's noise.
    """

    access: Access = "gradients"
    rounds: int = 1

    goal = "gradient_reconstruction"
    modalities = frozenset({"image"})
    accesses = ("gradients",)
    knowledge = frozenset({"K2", "K4"})
    paper = "Geiping, Bauermeister, Droge, Moeller, NeurIPS 2020, proposition 3.1"
    adaptive_to = ("gradient_pruning",)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.access == "gradients",
            f"AnalyticGradient.access is '{self.access}'; it reads shared updates: set "
            "access=gradients.",
        )
        require(self.rounds >= 1, f"AnalyticGradient.rounds is {self.rounds}; give at least 1.")

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per victim ``[n, *shape]`` in [0, 1], client by client.

        ``info``: ``stop_reason`` is ``solved`` or why there is nothing to solve, ``layer`` the
        parameter read, ``failed`` the records that are the public mean.
        """
        observed = Observed.of(exposure, knowledge, device, self.rounds)
        labels = observed.labels().flatten()
        layer, reason = _first_layer(observed)
        count = observed.federation.clients, observed.federation.batch_size
        if not layer:
            x = observed.public.mean(0).expand(*count, *observed.shape)
            records, _ = observed.records(x)
            return Reconstruction(records, {"stop_reason": reason, "failed": len(records)}, labels)
        weight, bias = observed.update[f"{layer}.weight"], observed.update[f"{layer}.bias"]
        flat = _one(weight, bias).unsqueeze(1) if count[1] == 1 else _many(weight, bias, count[1])
        records, failed = observed.records(flat.view(*count, *observed.shape))
        return Reconstruction(
            records, {"stop_reason": "solved", "layer": layer, "failed": failed}, labels
        )


def _first_layer(observed: Observed) -> tuple[str, str]:
    """Name of a fully connected first layer that is shared, or "" and the reason."""
    for name, module in observed.network.network.named_modules():
        if next(module.children(), None) is not None or isinstance(module, _KEEPS_THE_INPUT):
            continue
        if isinstance(module, nn.Sequential):  # empty: a network without hidden blocks
            continue
        if not isinstance(module, nn.Linear):
            return "", f"the first layer is {type(module).__name__}, not fully connected"
        shared = f"{name}.weight" in observed.update and f"{name}.bias" in observed.update
        return (name, "") if shared else ("", "the first layer shares no weight or no bias")
    return "", "the network has no layer"


def _one(weight: Tensor, bias: Tensor) -> Tensor:
    """``x`` ``[clients, d]`` from ``dW`` ``[clients, j, d]`` and ``db`` ``[clients, j]``.

    A pruned coordinate is left out of its pixel's fit. A pixel of which nothing survived has
    products below the smallest that did: it lies between 0 and that over the largest ``db_j``, and
    is taken in the middle. Without pruning a column of zeros is a pixel of 0.
    """
    survived = (weight != 0).to(weight.dtype)
    above = torch.einsum("cj,cjd->cd", bias, weight)
    below = torch.einsum("cj,cjd->cd", bias.square(), survived)
    least = torch.where(weight != 0, weight.abs(), torch.inf).flatten(1).amin(1)
    partly = (weight == 0) & (bias != 0).unsqueeze(2) & (below > 0).unsqueeze(1)
    bound = least / bias.abs().amax(1) * partly.flatten(1).any(1)
    silent = (bias == 0).all(1) | torch.isinf(least)
    x = torch.where(below > 0, above / below, bound.unsqueeze(1) / 2)
    return torch.where(silent.unsqueeze(1), torch.nan, x)


def _many(weight: Tensor, bias: Tensor, batch: int) -> Tensor:
    """``[clients, batch, d]``: per neuron ratios, those that agree or look like images first."""
    found = []
    for dw, db in zip(weight, bias, strict=True):
        order = db.abs().argsort(descending=True)[:_MOST]
        order = order[db[order] != 0]
        ratio = dw[order] / db[order].unsqueeze(1)
        inside = ((ratio > -0.05) & (ratio < 1.05)).float().mean(1)
        apart = torch.cdist(ratio, ratio) / ratio.shape[1] ** 0.5
        agreed = (apart < _SAME).sum(1)
        # A lone neuron has only itself: an exact image is more credible than a mixture that is not.
        worth = torch.where(inside == 1, agreed.to(ratio.dtype), inside - 1)
        picked = ratio.new_full((batch, ratio.shape[1]), torch.nan)
        for row in range(min(batch, len(order))):
            best = worth.argmax()
            if worth[best] == -torch.inf:
                break
            picked[row] = ratio[best]
            worth = torch.where(apart[best] < _SAME, -torch.inf, worth)
        found.append(picked)
    return torch.stack(found)
