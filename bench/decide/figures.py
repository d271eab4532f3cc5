"""Figures of one defense on one board, as a rule judges them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.goals import goal_named
from bench.report.text import allowed, words


@dataclass(frozen=True)
class Estimate:
    """A mean with the ends of its 95 % interval; NaN where it is not known."""

    value: float = math.nan
    lo: float = math.nan
    hi: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is a figure with an interval."""
        return math.isfinite(self.value) and math.isfinite(self.lo) and math.isfinite(self.hi)


UNKNOWN = Estimate()


@dataclass(frozen=True)
class Met:
    """One attack that the defense met; L is not clipped."""

    attack: str
    L: Estimate
    M: Estimate


@dataclass(frozen=True)
class Weaker:
    """A defense on a board of less access: who has more can do all of that as well."""

    access: str
    attack: str
    L: Estimate
    members: tuple[str, Estimate]

    def by(self, attack: str) -> str:
        """The attack, and that it needed no more."""
        return f"{attack} (measured with {self.access} only)"


@dataclass(frozen=True)
class Measured:
    """A defense on one board.

    Attributes:
        goal: of the adversary.
        access: of the board: what was asked, or the next stronger one.
        budget: of the board: most queries of an attack, infinite without limit.
        source: suite the board is of.
        L: worst-case leakage. M: of members, by the same attack.
        attack: the strongest one.
        adaptive: attacks that adapt to the defense and ran.
        n_seeds: independently trained targets that were attacked.
        flags: of the row.
        planned: trials that were planned for the row.
        lost: how many of them have no record.
        lessens: whether it is clear of chance that it leaks less than the undefended target.
        withheld: no attack of the board's own access could run: the defense gives less away.
        unmet: attacks that ran against the undefended target there, but not against this.
        members: the attack that tells members apart best, and the largest M of all attacks.
        met: every attack.
        weaker: what the same evidence says of the defense with less access.
    """

    goal: str
    access: str
    budget: float
    source: str
    L: Estimate
    M: Estimate
    attack: str
    adaptive: tuple[str, ...]
    n_seeds: int
    flags: frozenset[str]
    planned: int
    lost: int
    lessens: bool
    withheld: bool
    unmet: tuple[str, ...]
    members: tuple[str, Estimate]
    met: tuple[Met, ...]
    weaker: tuple[Weaker, ...] = ()

    @property
    def where(self) -> str:
        """The board in words: ``attribute with scores, at most 1,000 queries``."""
        return f"{words(self.goal)} with {allowed(self.access, self.budget)}"

    @property
    def raw(self) -> Estimate:
        """L of the strongest attack before clipping: below 0 it did worse than without a model."""
        return next((m.L for m in self.met if m.attack == self.attack), self.L)

    @property
    def judged_L(self) -> tuple[str, Estimate]:
        """L and its attack, of this board or of less access, whichever reaches higher."""
        mine = (self.attack, self.L)
        less = [(w.by(w.attack), w.L) for w in self.weaker]
        return highest([mine, *less]) if self.L.known else mine

    @property
    def judged_M(self) -> tuple[str, Estimate]:
        """M and its attack: of the strongest, of ``members``, or of less access, likewise."""
        mine = highest([(self.attack, self.M), self.members])
        less = [(w.by(w.members[0]), w.members[1]) for w in self.weaker]
        needed = goal_named(self.goal).members
        return mine if needed and not mine[1].known else highest([mine, *less])


def highest(pairs: Sequence[tuple[str, Estimate]]) -> tuple[str, Estimate]:
    """The pair whose upper end is highest; the first where none is known."""
    known = [pair for pair in pairs if pair[1].known]
    return max(known, key=lambda pair: pair[1].hi, default=pairs[0])
