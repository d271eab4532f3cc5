"""The no-model baselines of basket recovery."""

from __future__ import annotations

from dataclasses import dataclass

from attacks.segments import popularity
from bench.contract import Access, Attack, Exposure, Knowledge, Reconstruction, require


@dataclass(frozen=True)
class Popularity(Attack):
    """The most bought items of the public baskets, overall or within the published label.

    The label is released on purpose, so what it says of a basket is no leak of the scores: the
    label-aware variant is the bar for them (PROTOCOL 2.0 and 2.4).

    Attributes:
        access: ``none``.
        given_label: whether to use the victim's published label.
    """

    access: Access = "none"
    given_label: bool = True

    goal = "output_reconstruction"
    modalities = frozenset({"basket"})
    accesses = ("none",)
    knowledge = frozenset({"K2"})
    paper = "baseline (PROTOCOL 2.4)"

    def __post_init__(self) -> None:
        require(self.access == "none", f"popularity: access is '{self.access}'; allowed: none.")

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Popularity ``[n, n_items]`` in [0, 1]."""
        public, labels = knowledge.public, knowledge.victim_labels
        require(labels is not None, "popularity: it needs the victims' published labels.")
        assert labels is not None
        if self.given_label:
            values = popularity(public.x, public.y, knowledge.card.n_classes)[labels]
        else:
            values = public.x.mean(0).expand(len(labels), -1)
        return Reconstruction(values.contiguous())
