"""A malicious server imprints the first layer: single records from differences of its neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.common.federated import Federated, Observed
from attacks.common.neurons import records_of
from attacks.common.tampering import channels, collect, first, relu_layer
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.columns import Layout
from bench.contract.options import Count, Positive

_SCORE = 0.1
"""Largest score that a public record gets: small, so that no record is classified for sure."""
_GENTLE = 3e-3
"""Gain at which several local steps leave the imprint in its place."""
_EMPTY = 1e-3
"""Share of the largest difference of bias gradients below which a bin holds rounding only."""


@dataclass(frozen=True)
class Imprint(Federated, Attack):
    """Fowl, Geiping, Czaja, Goldblum, Goldstein, "Robbing the Fed", ICLR 2022, arXiv 2110.13057.

    Every row of the first layer is the same measurement vector h, and its biases are minus the
    quantiles of ``h x``, so that neuron j answers to the records above quantile j. The layers after
    it treat all neurons alike, and a record has the same gradient g with respect to every neuron
    that it activates. The difference of the gradients of two consecutive neurons is then that of
    the records between their quantiles; where this bin holds one record, weight difference over
    bias difference is the record, exactly. With k neurons and n records a record is alone in its
    bin with probability ``(1 - 1 / k) ** (n - 1)`` where private records spread like public ones.

    The paper inserts a block of its own before the network and takes quantiles of a normal
    distribution; here the network's own first layer is used, of which the architecture stays the
    same, and the quantiles are those of public records. The clients also take part in one honest
    round first, which shows what they share. Every further round has another measurement, so that
    records that shared a bin part, which is our own addition.

    The first layer must be fully connected, shared with its bias, and followed by a ReLU; layers
    after it may be fully connected with ReLUs. Elsewhere the attack says so and returns the public
    mean. Dropout between the layers makes neurons differ and hides most. A client that looks at
    the weights sees at once that all rows are equal.

    Written from the paper's abstract and the authors' code, not from its text.

    Attributes:
        access: ``malicious_server``.
        measurement: h: ``mean`` (brightness, the paper's) or ``random`` (standard normal), which
            also tells rows of a table apart.
        bins: neurons that are imprinted; the others are dead and share nothing. null: all. Against
            pruning, as many as survive whole: 24 of 256 where nine tenths of an update are cut.
        rounds: rounds with another measurement each; ``mean`` has one only.
        gain: size of the gradient of the scores with respect to a neuron. Large values make the
            first layer the largest part of a clipped or pruned update. Several local steps lower
            it, so that the first step does not move the imprint.
        inconsistent: under secure aggregation, single clients out: one of each group is sent the
            imprint and the others dead neurons. It takes as many rounds as the group has clients.
            That clients can be sent different weights is due to Pasquini et al. (CCS 2022, arXiv
            2111.07380), of which the abstract was read.
    """

    access: Literal["malicious_server"] = "malicious_server"
    measurement: Literal["mean", "random"] = "random"
    bins: Count | None = None
    rounds: Count = 1
    gain: Positive = 1.0
    inconsistent: bool = False

    goal = "gradient_reconstruction"
    modalities = frozenset({"image", "table"})
    needs = frozenset({"descent"})
    knowledge = frozenset({"K2"})
    paper = "Fowl, Geiping, Czaja, Goldblum, Goldstein, ICLR 2022, arXiv 2110.13057"

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """Secure aggregation where clients are singled out, pruning where neurons are few."""
        adapted = {
            "secure_aggregation": self.inconsistent,
            "gradient_pruning": self.bins is not None,
        }
        return tuple(name for name, adapts in adapted.items() if adapts)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One record per victim ``[n, *shape]``, client by client: images in [0, 1], valid rows.

        ``info``: ``stop_reason`` is ``solved`` or why there is nothing to solve, ``layer`` the
        parameter that is imprinted, ``bins`` of its neurons, ``occupied`` the bins of each client
        that hold records in the first round, and ``failed`` the records that are the public mean.
        """
        observed = Observed.of(exposure, knowledge, device)
        table = knowledge.card.modality == "table"
        layout = Layout.of(knowledge.card, observed.public) if table else None
        labels = observed.labels().flatten()
        layer, reason = relu_layer(observed)
        if not layer:
            records = observed.guess(layout)
            return Reconstruction(records, {"stop_reason": reason, "failed": len(records)}, labels)
        rng = generator(seed)
        found = [
            _differences(*collect(exposure, observed, sent, layer, self.inconsistent))
            for sent in (self._sent(observed, layer, rng) for _ in range(self.rounds))
        ]
        occupied = torch.stack([(bias != 0).sum(1) for _, bias in found])
        weight, bias = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        victims = observed.federation.records // len(weight)
        # More bins than records: some hold noise, and the smallest are no single records.
        noisy = (occupied.amax(0) > victims).tolist()
        x = torch.stack(
            [
                records_of(dw, db, victims, layout, largest)
                for dw, db, largest in zip(weight, bias, noisy, strict=True)
            ]
        )
        records, failed = observed.records(x, layout)
        info = {
            "stop_reason": "solved",
            "layer": layer,
            "bins": min(self.bins or len(bias[0]), found[0][1].shape[1]),
            "occupied": occupied[0].tolist(),
            "failed": failed,
        }
        return Reconstruction(records, info, labels)

    def _sent(self, observed: Observed, layer: str, rng: torch.Generator) -> dict[str, Tensor]:
        """An imprinted network, as it is sent to a client."""
        neurons, width = observed.weights[f"{layer}.weight"].shape
        bins = min(self.bins or neurons, neurons)
        public = observed.public.flatten(1)
        h = torch.ones(width)
        if self.measurement == "random":
            h = torch.randn(width, generator=rng)
        h = (h / h.norm()).to(public)
        measured = public @ h
        span = measured.amax() - measured.amin() + 1e-6
        cuts = torch.quantile(measured, torch.arange(bins, device=h.device) / bins)
        cuts[0] = measured.amin() - span  # the first bin also takes what is below all public ones
        gain = self.gain if observed.federation.local_steps == 1 else min(self.gain, _GENTLE)
        # A public record adds less than twice the span at every neuron.
        scale = _SCORE / (2 * bins * span * gain)
        rows = (scale * h).expand(bins, width)
        return channels(observed, layer, gain) | first(observed, layer, rows, -scale * cuts)


def _differences(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the records of every bin ``[clients, bins, d]`` and ``[clients, bins]``.

    Bins of which nothing but rounding is left have a bias difference of exactly 0.
    """
    dw, db = weight.clone(), bias.clone()
    dw[:, :-1] -= weight[:, 1:]
    db[:, :-1] -= bias[:, 1:]
    empty = db.abs() < _EMPTY * db.abs().amax(1, keepdim=True)
    return dw, db.masked_fill(empty, 0.0)
