"""Baseline of gradient leakage on tables: what the public records say of every column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from attacks.common.federated import Federated
from attacks.common.relaxation import likeliest
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, generator
from bench.contract.columns import Layout


@dataclass(frozen=True)
class PublicMarginals(Federated, Attack):
    """What can be said of a client's records without its update (PROTOCOL 2.3).

    Attributes:
        access: ``none``.
        guess: ``likeliest``: every column's most frequent value, the same for every victim; of a
            number the middle of the fullest interval that the metric tolerates. ``sampled``: a
            draw from the public marginals, column by column (the random baseline of Vero et al.,
            ICML 2023, section 5); in a batch the matching picks among them.
    """

    access: Literal["none"] = "none"
    guess: Literal["likeliest", "sampled"] = "likeliest"

    goal = "gradient_reconstruction"
    modalities = frozenset({"table"})
    knowledge = frozenset({"K2"})
    paper = "baseline (PROTOCOL 2.3); Vero et al., ICML 2023, section 5"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Valid records ``[n, d]``, one per victim; no labels."""
        n = (knowledge.federation or self.federation).records
        public = knowledge.public.x.to(device)
        layout = Layout.of(knowledge.card, public)
        if self.guess == "likeliest":
            return Reconstruction(likeliest(layout, public).expand(n, -1).clone())
        rng = generator(seed)

        def drawn(columns: int) -> torch.Tensor:
            return torch.randint(len(public), (n, columns), generator=rng).to(device)

        groups = layout.grouped(public)
        each = torch.arange(len(layout.index), device=device)
        return Reconstruction(
            layout.join(
                groups[drawn(len(layout.index)), each],
                public[:, layout.flags].gather(0, drawn(len(layout.flags))),
                public[:, layout.numbers].gather(0, drawn(len(layout.numbers))),
            )
        )
