"""The exact input of a fully connected first layer, without optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.common.federated import Federated, Observed
from attacks.common.neurons import records_of
from bench.contract import Attack, Exposure, Knowledge, Reconstruction
from bench.contract.columns import Layout
from bench.contract.options import Count


@dataclass(frozen=True)
class AnalyticGradient(Federated, Attack):
    """Geiping et al., NeurIPS 2020, proposition 3.1; Phong et al., IEEE TIFS 2018, section 3.

    A fully connected first layer has weight gradient ``dW_j = sum_i d_ij x_i`` and bias gradient
    ``db_j = sum_i d_ij`` for neuron j. One record: every row is ``x`` times its ``db_j``, and the
    least-squares fit over rows, of the coordinates that survived a defense, is ``x``; several
    local steps change nothing. More records: ``dW_j / db_j`` is a mixture, and a record itself
    where the neuron answers to one record only (ReLU; Boenisch et al., EuroS&P 2023, section 4).
    Candidates that neurons agree on come first, then those with the largest bias gradient whose
    ratio is a legal record: an image, or a row of a table.

    There is nothing to read where the first layer is a convolution, is fixed, or has no bias: the
    attack says so and returns the public mean.

    Attributes:
        access: ``gradients``.
        rounds: rounds of the same clients averaged, against a defense's noise.
    """

    access: Literal["gradients"] = "gradients"
    rounds: Count = 1

    goal = "gradient_reconstruction"
    modalities = frozenset({"image", "table"})
    needs = frozenset({"descent"})
    knowledge = frozenset({"K2"})
    paper = "Geiping, Bauermeister, Droge, Moeller, NeurIPS 2020, proposition 3.1"
    adaptive_to = ("gradient_pruning",)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One record per victim ``[n, *shape]``, client by client: images in [0, 1], valid rows.

        ``info``: ``stop_reason`` is ``solved`` or why there is nothing to solve, ``layer`` the
        parameter read, ``failed`` the records that are the public mean.
        """
        observed = Observed.of(exposure, knowledge, device, self.rounds)
        table = knowledge.card.modality == "table"
        layout = Layout.of(knowledge.card, observed.public) if table else None
        labels = observed.labels().flatten()
        layer, reason, _ = observed.first_linear()
        count = observed.federation.clients, observed.federation.batch_size
        if not layer:
            records = observed.guess(layout)
            return Reconstruction(records, {"stop_reason": reason, "failed": len(records)}, labels)
        weight, bias = observed.update[f"{layer}.weight"], observed.update[f"{layer}.bias"]
        if count[1] == 1:
            popular = observed.public.mean(0) if table else None
            flat = _one(weight, bias, popular).unsqueeze(1)
        else:
            flat = torch.stack(
                [records_of(dw, db, count[1], layout) for dw, db in zip(weight, bias, strict=True)]
            )
        records, failed = observed.records(flat.view(*count, *observed.shape), layout)
        return Reconstruction(
            records, {"stop_reason": "solved", "layer": layer, "failed": failed}, labels
        )


def _one(weight: Tensor, bias: Tensor, popular: Tensor | None) -> Tensor:
    """``x`` ``[clients, d]`` from ``dW`` ``[clients, j, d]`` and ``db`` ``[clients, j]``.

    A pruned coordinate is left out of its pixel's fit. A pixel of which nothing survived has
    products below the smallest that did: it lies between 0 and that over the largest ``db_j``, and
    is taken in the middle. Without pruning a column of zeros is a pixel of 0. In a table whose
    public mean is ``popular``, a column of which nothing survived is 0 as well, and the largest of
    a category's columns if none of them did and it is the most frequent.
    """
    survived = (weight != 0).to(weight.dtype)
    above = torch.einsum("cj,cjd->cd", bias, weight)
    below = torch.einsum("cj,cjd->cd", bias.square(), survived)
    least = torch.where(weight != 0, weight.abs(), torch.inf).flatten(1).amin(1)
    partly = (weight == 0) & (bias != 0).unsqueeze(2) & (below > 0).unsqueeze(1)
    bound = least / bias.abs().amax(1) * partly.flatten(1).any(1)
    broken = ~(torch.isfinite(weight).flatten(1).all(1) & torch.isfinite(bias).all(1))
    silent = (bias == 0).all(1) | torch.isinf(least) | broken
    unknown = bound.unsqueeze(1) / 2 if popular is None else 1e-6 * popular
    x = torch.where(below > 0, above / below, unknown)
    return torch.where(silent.unsqueeze(1), torch.nan, x)
