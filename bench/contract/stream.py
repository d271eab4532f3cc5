"""How an attacker sends his queries."""

from __future__ import annotations

from dataclasses import dataclass

from bench.contract.options import Count, Positive, Share, check_options


@dataclass(frozen=True)
class Stream:
    """How an attacker sends his queries.

    He asks through one account after another: the next when one is refused or has asked
    ``per_account`` queries.

    Attributes:
        accounts: accounts he has.
        per_account: most queries of his own from one account; None: until it is refused.
        cover: share of natural queries among all he sends.
        interval_s: seconds between two queries.
        days: length of the campaign; what is asked later stays without an answer.
    """

    accounts: Count = 1
    per_account: Count | None = None
    cover: Share = 0.0
    interval_s: Positive = 1.0
    days: Positive = 30.0

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def adaptive_to(self) -> tuple[str, ...]:
        """Watchers of ``conf/defense`` that see few queries of each account (PROTOCOL 3.5)."""
        few = self.accounts > 1 and self.per_account is not None
        return ("probe_audit", "query_budget", "rate_limit") if few else ()
