"""A malicious server lays trap weights: neurons that answer to one record of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attacks.common.federated import Federated, Observed
from attacks.common.neurons import records_of
from attacks.common.tampering import channels, collect, first, relu_layer
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.options import Count, Positive

_SCORE = 0.1
"""Largest score of a public record where the scores are amplified: none is classified for sure."""


@dataclass(frozen=True)
class TrapWeights(Federated, Attack):
    """Boenisch et al., "When the Curious Abandon Honesty", EuroS&P 2023, arXiv 2112.02918.

    In every row of the first layer half of the weights, drawn at random, are negative, and the
    other half is positive and smaller by a factor. Of pictures, whose pixels are not negative, such
    a neuron then activates few. Where it activates one record of a batch, its weight gradient over
    its bias gradient is that record, exactly, and neurons that name the same record agree.

    The factor of each neuron is the one at which it activates one record in a batch among the
    public ones: so the neuron answers to exactly one record of a client with probability
    ``(1 - 1 / n) ** (n - 1)``, above .36 for every size n. Its bias is 0. Other layers are left as
    they are, and nothing compares neighbouring neurons as in ``imprint``, so dropout does not stop
    it.

    The clients also take part in one honest round first, which shows what they share. The first
    layer must be fully connected, shared with its bias, and followed by a ReLU, and so must be the
    others. Elsewhere the attack says so and returns the public mean.

    Written from the paper's abstract, not from its text; how the factor is chosen is our own.

    Attributes:
        access: ``malicious_server``.
        rounds: rounds with new weights each.
        neurons: neurons that are traps; the others are dead and share nothing. null: all. Where an
            update is clipped, a single trap has all of its norm.
        gain: null: the layers after the first stay as they are. Otherwise they treat its neurons
            alike and have this gradient of the scores with respect to each of them, which makes the
            first layer the largest part of a clipped update.
        repeats: rounds with the same weights, averaged against a defense's noise.
        inconsistent: under secure aggregation, single clients out: one of each group is sent the
            traps and the others dead neurons. It takes as many rounds as the group has clients.
            That clients can be sent different weights is due to Pasquini et al. (CCS 2022, arXiv
            2111.07380), of which the abstract was read.
    """

    access: Literal["malicious_server"] = "malicious_server"
    rounds: Count = 1
    neurons: Count | None = None
    gain: Positive | None = None
    repeats: Count = 1
    inconsistent: bool = False

    goal = "gradient_reconstruction"
    modalities = frozenset({"image"})
    needs = frozenset({"descent"})
    knowledge = frozenset({"K2"})
    paper = "Boenisch et al., EuroS&P 2023, arXiv 2112.02918, abstract"

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """Secure aggregation where clients are singled out, noise where rounds are averaged."""
        adapted = {"secure_aggregation": self.inconsistent, "clip_noise": self.repeats > 1}
        return tuple(name for name, adapts in adapted.items() if adapts)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image in [0, 1] per victim ``[n, *shape]``, client by client.

        ``info``: ``stop_reason`` is ``solved`` or why there is nothing to solve, ``layer`` the
        parameter that holds the traps, and ``failed`` the records that are the public mean.
        """
        observed = Observed.of(exposure, knowledge, device)
        labels = observed.labels().flatten()
        layer, reason = relu_layer(observed)
        if not layer:
            records = observed.guess()
            return Reconstruction(records, {"stop_reason": reason, "failed": len(records)}, labels)
        places = observed.federation.aggregated if self.inconsistent else 1
        victims = observed.federation.batch_size // places
        rng = generator(seed)
        found = [
            collect(exposure, observed, sent, layer, self.inconsistent, self.repeats)
            for sent in (self._traps(observed, layer, victims, rng) for _ in range(self.rounds))
        ]
        weight, bias = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        # Dead neurons share nothing but a defense's noise.
        dead = found[0][0][:, self.neurons or len(bias[0]) :].flatten(1)
        noise = (dead.square().sum(1) / max(dead.shape[1], 1)).sqrt().tolist()
        x = torch.stack(
            [
                records_of(dw, db, victims, None, noise=level)
                for dw, db, level in zip(weight, bias, noise, strict=True)
            ]
        )
        records, failed = observed.records(x)
        info = {"stop_reason": "solved", "layer": layer, "failed": failed}
        return Reconstruction(records, info, labels)

    def _traps(
        self, observed: Observed, layer: str, victims: int, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """A first layer whose living neurons activate one in ``victims`` public records each."""
        neurons, width = observed.weights[f"{layer}.weight"].shape
        living = min(self.neurons or neurons, neurons)
        public = observed.public.flatten(1)
        size = torch.randn(living, width, generator=rng).abs() / width**0.5
        half = torch.rand(living, width, generator=rng).argsort(1) < width // 2
        up = torch.where(half, size, 0.0).to(public)
        down = torch.where(half, 0.0, size).to(public)
        # A neuron activates a record where the factor is above this quotient.
        quotient = (public @ down.T) / (public @ up.T).clamp_min(1e-12)
        factor = torch.quantile(quotient, 1 / max(victims, 2), dim=0)
        rows, none = factor.unsqueeze(1) * up - down, public.new_zeros(living)
        if self.gain is None:
            return first(observed, layer, rows, none)
        scale = _SCORE / (living * self.gain * (public @ rows.T).amax().clamp_min(1e-12))
        return channels(observed, layer, self.gain) | first(observed, layer, scale * rows, none)
