"""Inverting gradients: cosine matching with total variation or a public prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.common.federated import Federated, Observed, adaptations
from attacks.common.latent import Latent, best_restart, last_fifth
from attacks.common.pixel_descent import descend
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.options import Count, NonNegative, Positive


@dataclass(frozen=True)
class InvertingGradients(Federated, Attack):
    """Geiping, Bauermeister, Droge, Moeller, NeurIPS 2020, eq. 4 and section 5.

    Dummy records minimise one minus the cosine to the shared update plus total variation, by Adam
    on the sign of the gradient, clipped to [0, 1] after every step; the step size falls to a tenth
    after 3/8, 5/8 and 7/8 of the steps. Labels are read off the head's gradient first. Several
    local steps are simulated (section 6). All clients and restarts run in one batch; a client's
    restart with the smallest loss is kept, at its best step.

    Where the option file names a prior, the search runs in its latent instead: images that the
    public records make plausible are the strongest answer to clipping with noise.

    Attributes:
        access: ``gradients``.
        distance: ``cosine`` (the paper's); ``squared`` (Zhu et al.'s); ``sign``: share of the
            dummy gradient whose sign is contradicted, against one-bit quantisation.
        steps: evaluations of the gradient; the paper takes 4,800 for CIFAR-10 and 24,000 for
            ImageNet.
        step_size: of Adam; the paper's 0.1.
        tv: weight of the total variation; the paper's 1e-6 to 1e-1, by network and data.
        penalty: with a prior, weight of the latent's squared norm per dimension.
        signed: whether Adam sees the gradient's sign only.
        start: ``noise`` (the paper's standard normal) or ``public_mean``, near the public
            records' mean; with a prior always a draw of its latent.
        restarts: independent starts per client.
        rounds: rounds of the same clients averaged, against a defense's noise.
        mask: compare only the coordinates that are not zero in the shared update, against pruning.
    """

    access: Literal["gradients"] = "gradients"
    distance: Literal["cosine", "squared", "sign"] = "cosine"
    steps: Count = 4800
    step_size: Positive = 0.1
    tv: NonNegative = 1e-4
    penalty: NonNegative = 0.0
    signed: bool = True
    start: Literal["noise", "public_mean"] = "noise"
    restarts: Count = 1
    rounds: Count = 1
    mask: bool = False

    goal = "gradient_reconstruction"
    modalities = frozenset({"image"})
    knowledge = frozenset({"K1", "K2"})
    paper = "Geiping, Bauermeister, Droge, Moeller, NeurIPS 2020, eq. 4"

    @property
    def adaptive_to(self) -> tuple[str, ...]:  # type: ignore[override]
        """Pruning with ``mask``, quantisation with ``sign``, noise with several rounds."""
        return adaptations(self.rounds, self.mask, self.distance)

    def doubled(self) -> InvertingGradients:
        """Twice the steps."""
        return replace(self, steps=2 * self.steps)

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """One image per victim ``[n, *shape]`` in [0, 1], client by client.

        ``info``: per client the matching distance of the chosen restart; ``failed`` records that
        were not finite and are the public mean; the convergence figure.
        """
        observed = Observed.of(exposure, knowledge, device, self.rounds)
        latent = Latent.of(knowledge, device) if knowledge.prior else None
        labels = observed.labels()
        rng = generator(seed, device)
        size = self.restarts, observed.federation.clients, observed.federation.batch_size
        shape = (latent.size,) if latent else observed.shape
        start = torch.randn(*size, *shape, generator=rng, device=device)
        if latent is None and self.start == "public_mean":
            start = observed.public.mean(0) + 0.01 * start
        hot = F.one_hot(labels, observed.n_classes).float()
        records, distances, traces = [], [], []
        for part in observed.parts(self.restarts):
            labels_of_part = hot[part].repeat(self.restarts, 1, 1)
            dummies = start[:, part].flatten(0, 1)
            apart = observed.distance(self.distance, self.mask, part, labels_of_part)

            found = descend(
                dummies,
                apart,
                self.steps,
                self.step_size,
                self.tv,
                self.signed,
                _decoder(observed, latent) if latent else None,
                self.penalty,
            )
            rows = best_restart(-found.loss, self.restarts)
            records.append(found.images[rows])
            distances.append(found.distance[rows])
            traces.append(found.trace)
        images, failed = observed.records(torch.cat(records))
        return Reconstruction(
            images,
            {
                "stop_reason": "steps",
                "steps": self.steps,
                "distance": torch.cat(distances).tolist(),
                "failed": failed,
                "improvement_last_fifth": last_fifth(torch.stack(traces).mean(0)),
            },
            labels.flatten(),
        )


def _decoder(observed: Observed, latent: Latent) -> Callable[[Tensor], Tensor]:
    """Images ``[rows, batch_size, *shape]`` of latents ``[rows, batch_size, k]``."""
    return lambda z: latent.decode(z.flatten(0, 1)).view(*z.shape[:2], *observed.shape)
