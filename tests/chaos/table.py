"""What chaos has shown: fault, count, lost, doubled, wrong, hung."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.judge import Verdict

_COLUMNS = ("lost", "doubled", "wrong", "hung")
_SHOWN = 6


@dataclass
class _Row:
    count: int = 0
    rounds: int = 0
    starts: int = 0
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    skipped: str = ""


class Table:
    """Rounds by the fault that hit in them.

    Args:
        seed: from which everything was drawn.
        machines: how many there were.
    """

    def __init__(self, seed: int, machines: int) -> None:
        self.seed, self.machines, self.rounds = seed, machines, 0
        self._rows: dict[str, _Row] = {}
        self._last = ""

    def skip(self, faults: Iterable[str], reason: str) -> None:
        """Note what cannot be played here."""
        for fault in faults:
            self._rows[fault] = _Row(skipped=reason)

    def add(
        self, title: str, hits: Mapping[str, int], verdict: Verdict, seconds: float, starts: int
    ) -> None:
        """Note a round."""
        row = self._rows.setdefault(title, _Row())
        row.count += sum(hits.values())
        row.rounds += 1
        row.starts += starts
        row.seconds += seconds
        row.verdict.add(verdict)
        self.rounds += 1
        counts = ", ".join(f"{count} {name}" for name, count in verdict.counts().items())
        listed = "; ".join(f"{count} x {name}" for name, count in hits.items()) or "no hit"
        lines = [f"{title}: {listed}; {starts} starts, {seconds:.0f} s; {counts}"]
        sentences = verdict.sentences()
        self._last = "\n".join([*lines, *(f"    {line}" for line in sentences[:_SHOWN])])

    def last(self) -> str:
        """The last round in words."""
        return self._last

    def clean(self) -> bool:
        """Whether there are zeros only, in at least one round."""
        return self.rounds > 0 and not any(row.verdict.sentences() for row in self._rows.values())

    def markdown(self) -> str:
        """The table."""
        head = ["fault", "count", *_COLUMNS, "rounds", "starts of the command", "seconds"]
        lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
        total: Counter[str] = Counter()
        for name, row in self._rows.items():
            if row.skipped:
                lines.append(f"| {name} | not played: {row.skipped} |" + " |" * (len(head) - 2))
                continue
            counts = row.verdict.counts()
            total.update(counts | {"count": row.count})
            cells = [row.count, *counts.values(), row.rounds, row.starts, round(row.seconds)]
            lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
        sums = [total["count"], *(total[c] for c in _COLUMNS), self.rounds, "", ""]
        lines.append(f"| all | {' | '.join(map(str, sums))} |")
        notes = [
            f"- {name}: {sentence}"
            for name, row in self._rows.items()
            for sentence in list(dict.fromkeys(row.verdict.sentences()))[:_SHOWN]
        ]
        first = f"Seed {self.seed}, {self.machines} machines, {self.rounds} rounds."
        return "\n".join([first, "", *lines, *([""] if notes else []), *notes]) + "\n"

    def plain(self) -> dict[str, Any]:
        """The table as JSON."""
        rows = [
            {
                "fault": name,
                "count": row.count,
                **row.verdict.counts(),
                "rounds": row.rounds,
                "starts": row.starts,
                "seconds": round(row.seconds, 1),
                "skipped": row.skipped,
                "sentences": row.verdict.sentences(),
            }
            for name, row in self._rows.items()
        ]
        return {"seed": self.seed, "machines": self.machines, "rounds": self.rounds, "rows": rows}
