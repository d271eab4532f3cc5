"""Figures of one defense on one board, as a rule judges them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.contract.names import words
from bench.goals import goal_named
from bench.report.text import allowed


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
    model: str = ""
    """Name of the model, where it is not the one that the board is of."""

    def by(self, attack: str) -> str:
        """The attack, and that it needed no more."""
        of = f" on {self.model}" if self.model else ""
        return f"{attack} (measured with {self.access} only{of})"


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
        n_seeds: independently trained targets that were attacked; where there is one target that
            was given, how often the attacks were run on it.
        flags: of the row.
        planned: trials that were planned for the row.
        lost: how many of them have no record.
        lessens: whether it is clear of chance that it leaks less than the undefended target.
        withheld: no attack of the board's own access could run: the defense gives less away.
        unmet: attacks that ran against the undefended target there, but not against this.
        members: the attack that tells members apart best, and the largest M of all attacks.
        met: every attack.
        weaker: what the same evidence says of the defense with less access.
        model: that was attacked, in the evidence's words. defense: the row, likewise.
        single: whether it is one target that was given, so that intervals are over people.
        victims: fewest members that one of the attacks was tried on in one run.
        members_known: whether anybody knows whom the target was trained on.
        known_as: digests and addresses by which a target that was given can be told.
        itself: whether the target is the deployed model itself; the gate finds that out.
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
    model: str = ""
    defense: str = ""
    single: bool = False
    victims: int = 0
    members_known: bool = True
    known_as: frozenset[str] = frozenset()
    itself: bool = False

    @property
    def where(self) -> str:
        """The board in words: ``attribute with scores, at most 1,000 queries``."""
        return f"{words(self.goal)} with {allowed(self.access, self.budget)}"

    @property
    def targets(self) -> str:
        """What the figures are of: ``10``, or ``1 (3 runs of 200 people)``."""
        runs = f"{self.n_seeds} run{'' if self.n_seeds == 1 else 's'}"
        return f"1 ({runs} of {self.victims:,} people)" if self.single else f"{self.n_seeds}"

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


def over(measured: Sequence[Measured]) -> str:
    """What intervals of some rows are over."""
    kinds = {m.single for m in measured}
    people, targets = "people, as there is one model only", "independently trained targets"
    if kinds == {True, False}:
        return f"{people}, where figures are of one given model, else over {targets}"
    return people if True in kinds else targets


def highest(pairs: Sequence[tuple[str, Estimate]]) -> tuple[str, Estimate]:
    """The pair whose upper end is highest; the first where none is known."""
    known = [pair for pair in pairs if pair[1].known]
    return max(known, key=lambda pair: pair[1].hi, default=pairs[0])
