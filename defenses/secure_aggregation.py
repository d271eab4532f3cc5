"""Secure aggregation of what clients share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.contract import Count, Federation, TrainingDefense
from defenses.common import adaptive


@dataclass(frozen=True)
class SecureAggregation(TrainingDefense):
    """Clients mask their updates so that the server learns only the sum of a round.

    Bonawitz et al. (CCS 2017, sections 3 and 4): pairwise masks cancel in the sum. What is modelled
    is the outcome of the protocol, not its cryptography: an honest server, which cannot bring in
    clients of its own, sees the mean of every group of ``clients`` updates and no single one. The
    trained model is the same, so whoever has its weights or its answers sees no difference.

    To an attacker a group is one client with a larger batch. Against a server that chooses who
    takes part, or that subtracts sums of two rounds, it promises nothing.

    Attributes:
        clients: updates in a sum, at least 1; 1 hides nothing (no defense). The attack's number of
            records must be a multiple of twice the records of such a group.
    """

    clients: Count = 4

    covers = frozenset({"gradients"})
    cost = "two masked exchanges per client and round; a quadratic number of keys"
    needs = frozenset({"steps"})
    adaptive_attacks = (
        *adaptive.BASIC,
        "analytic_gradient",
        "inverting_gradients",
        "prior_matching",
    )
    paper = (
        "Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal, Seth, CCS 2017, "
        "section 4"
    )
    zero: ClassVar[Mapping[str, Any]] = {"clients": 1}

    def federate(self, federation: Federation) -> Federation:
        """The same protocol, of which only means over ``clients`` updates are observed."""
        return federation.aggregate(self.clients)
