"""A recommender that shows a list instead of its scores."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.contract import Access, Count, Query, ReleaseDefense
from bench.contract.task import top_list


@dataclass(frozen=True)
class TopN(ReleaseDefense):
    """Show the best items and no score.

    To hide what the customer has bought is how shops do it, and itself a channel: an item that
    such a basket would bring up and that is not in the list was probably bought (PROTOCOL 2.4:
    the list that excludes them reveals more than the one that includes them).

    Attributes:
        length: items in the list, at least 1; a catalogue that has fewer shows all.
        hide_bought: whether to leave out what the customer has bought.
    """

    length: Count = 20
    hide_bought: bool = True

    covers = frozenset({"scores", "labels"})
    tasks = ("recommendation",)
    modalities = frozenset({"basket"})
    adaptive_attacks = ("basket_decoder",)
    paper = "Calandrino, Kilzer, Narayanan, Felten, Shmatikov, IEEE S&P 2011, section 3: lists"
    cost = "shorter lists"

    def offered(self, access: Access) -> Access:
        """Scores become lists."""
        return "labels" if access == "scores" else access

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """Scores as they are: nobody is offered them."""
        return scores

    def recommend(self, scores: Tensor, x: Tensor) -> Tensor:
        """The list, int64 ``[n, length]``, best first, -1 where it ends early."""
        return top_list(scores, x, self.length, self.hide_bought)
