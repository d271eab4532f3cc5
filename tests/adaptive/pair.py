"""What a pair of attacks is that shows adaptivity (PROTOCOL 3.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bench.contract import Attack, Defense


class Case(Protocol):
    def success(self, attack: Attack, defense: object, seed: int) -> float: ...


@dataclass(frozen=True)
class Pair:
    """One row.

    Attributes:
        option: of ``conf/defense``.
        defense: that option with the setting of the case; a stack is a tuple.
        naive: the attack that the defense stops.
        adaptive: the attack that it does not stop.
        case: where both are measured.
        naive_case: where the naive one is measured; None: in the same.
        low: most that the naive attack may reach.
        high: least that the adaptive one must reach, and the naive one without the defense.
        seeds: over which success is averaged.
        slow: whether it takes more than some seconds.
    """

    option: str
    defense: Defense | tuple[Defense, ...]
    naive: Attack
    adaptive: Attack
    case: Case
    naive_case: Case | None = None
    low: float = 0.5
    high: float = 0.8
    seeds: tuple[int, ...] = (0, 1, 2)
    slow: bool = False

    @property
    def name(self) -> str:
        return f"{self.option}-{type(self.adaptive).__name__}-{self.adaptive.access}"
