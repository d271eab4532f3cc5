"""The no-model baselines of basket recovery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attacks.common.segments import mean, popularity
from bench.contract import Attack, Exposure, Knowledge, Reconstruction


@dataclass(frozen=True)
class Popularity(Attack):
    """The most bought items of the public baskets, overall or within the published label.

    The label is released on purpose, so what it says of a basket is no leak of the scores: the
    label-aware variant is the bar for them (PROTOCOL 2.0 and 2.4). A recommender publishes no
    label: there both variants are the popularity overall.

    Attributes:
        access: ``none``.
        given_label: whether to use the victim's published label.
    """

    access: Literal["none"] = "none"
    given_label: bool = True

    takes_sparse = True
    goal = "output_reconstruction"
    modalities = frozenset({"basket"})
    tasks = ("classification", "recommendation")
    knowledge = frozenset({"K2"})
    paper = "baseline (PROTOCOL 2.4)"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Popularity ``[n, n_items]`` in [0, 1], or one row for all victims where none was told.

        ``info``: whether the label was used.
        """
        public, labels = knowledge.public, knowledge.victim_labels
        used = self.given_label and labels is not None
        values = (
            popularity(public.x, public.y, knowledge.card.n_classes)[labels]
            if used
            else mean(public.x).expand(1 if labels is None else len(labels), -1)
        )
        return Reconstruction(values.contiguous(), {"used_label": used})
