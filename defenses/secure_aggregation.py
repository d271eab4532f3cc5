"""Secure aggregation of what clients share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.contract import Count, Federation, TrainingDefense


@dataclass(frozen=True)
class SecureAggregation(TrainingDefense):
    """Clients mask their updates so that the server learns only the sum of a round.

    Bonawitz et al. (CCS 2017, sections 3 and 4): masks between pairs of clients cancel in the sum.
    Only the outcome of the protocol is modelled, not its cryptography: an honest server, which
    cannot add clients of its own, sees the mean of every group of ``clients`` updates and no single
    update. The trained model is the same, so an attacker with its weights or its answers sees no
    difference.

    For an attacker a group is one client with a larger batch. The defense promises nothing against
    a server that chooses who takes part, that subtracts the sums of two rounds, or that sends other
    weights to some clients than to others (Pasquini et al., CCS 2022, abstract): nothing here
    compares what they were sent, and the attacks ``imprint`` and ``trap_weights`` do so.

    Attributes:
        clients: number of updates in a sum; 1 hides nothing and is no defense. The number of
            records of the attack must be a multiple of twice the records of such a group. Values
            worth a sweep are 2, 4, 8 and 16.
    """

    clients: Count = 4

    covers = frozenset({"gradients", "malicious_server"})
    cost = "two masked exchanges per client and round; a quadratic number of keys"
    needs = frozenset({"steps"})
    paper = (
        "Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal, Seth, CCS 2017, "
        "section 4"
    )
    zero: ClassVar[Mapping[str, Any]] = {"clients": 1}

    def federate(self, federation: Federation) -> Federation:
        """The same protocol, but only means over ``clients`` updates are observed."""
        return federation.aggregate(self.clients)
