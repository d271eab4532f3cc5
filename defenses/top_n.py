"""A recommender that shows a list instead of its scores."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.contract import Access, Count, Query, ReleaseDefense
from bench.contract.task import top_list


@dataclass(frozen=True)
class TopN(ReleaseDefense):
    """Show the best items and no score.

    Shops also hide what the customer has bought, and that is a channel of its own: an item that
    such a basket should bring up and that is not in the list was probably bought (PROTOCOL 2.4: a
    list without the bought items reveals more than a list with them).

    Attributes:
        length: number of items in the list; a smaller catalogue is shown as a whole.
        hide_bought: whether the list leaves out what the customer has bought.
    """

    length: Count = 20
    hide_bought: bool = True

    covers = frozenset({"scores", "labels"})
    tasks = ("recommendation",)
    modalities = frozenset({"basket"})
    paper = "Calandrino, Kilzer, Narayanan, Felten, Shmatikov, IEEE S&P 2011, section 3: lists"
    cost = "shorter lists"

    def offered(self, access: Access) -> Access:
        """Lists where the deployment offered scores."""
        return "labels" if access == "scores" else access

    def release(self, scores: Tensor, query: Query) -> Tensor:
        """The scores as they are, since nobody gets them."""
        return scores

    def recommend(self, scores: Tensor, x: Tensor) -> Tensor:
        """The list, int64 ``[n, length]``, best first, -1 where it ends early."""
        return top_list(scores, x, self.length, self.hide_bought)
