"""The no-model baselines of basket recovery."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import one_hot

from bench.contract import Access, Attack, Exposure, Knowledge, Reconstruction, require


def popularity(x: Tensor, y: Tensor, n_classes: int, strength: float = 5.0) -> Tensor:
    """Share of the baskets of each class that hold each item.

    Args:
        x: baskets ``[n, n_items]``.
        y: int64 ``[n]`` classes.
        n_classes: number of classes.
        strength: baskets of global popularity mixed into each class, so that a class with few or
            no baskets falls back on it.

    Returns:
        ``[n_classes, n_items]`` in [0, 1].
    """
    member = one_hot(y, n_classes).to(x)
    bought, baskets = member.T @ x, member.sum(0).unsqueeze(1)
    return (bought + strength * x.mean(0)) / (baskets + strength)


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
