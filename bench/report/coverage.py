"""What a run planned and what is there of it: a planned trial without a record is never left out.

A board gets a stand-in for it, a trial that only says that it is absent, so that the row it belongs
to counts it and is flagged ``missing``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bench.contract.record import (
    CONTROLS,
    AttackInfo,
    Budget,
    Cell,
    Data,
    DefenseInfo,
    Failure,
    TrialRecord,
)

NOT_RUN = "NotRun"
"""Error of a stand-in for an attack that a row of its board did not meet."""
NO_RECORD = "NoRecord"
"""Error of a stand-in for a planned trial of which there is no record."""
LOST = "lost"
"""Status of the latter in tables."""
_SHOWN = 5


@dataclass(frozen=True)
class Coverage:
    """How much of what was planned is there.

    Attributes:
        planned: how many trials; 0 where no plan is known.
        lost: cells of those without a record, sorted.
        unplaced: those of them that stand on no board, since nothing is known of their attack or
            of their data.
    """

    planned: int = 0
    lost: tuple[str, ...] = ()
    unplaced: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What is there and what is not, in words; empty where everything is there."""
        if not self.lost:
            return ""
        counts: dict[str, int] = {}
        for cell in (*self.unplaced, *self.lost):  # first those that no board can show
            counts.setdefault(cell.rpartition("/")[0], 0)
        for cell in self.lost:
            counts[cell.rpartition("/")[0]] += 1
        named = [f"{name} ({n} seed{'s' * (n > 1)})" for name, n in counts.items()]
        more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        why = (
            "1 has no record, because it was not run yet or was lost"
            if len(self.lost) == 1
            else f"{len(self.lost)} have no record, because they were not run yet or were lost"
        )
        return (
            f"{self.planned - len(self.lost)} of {self.planned} planned trials are there; {why}: "
            f"{', '.join(named[:_SHOWN])}{more}. The same command runs them"
        )


EVERYTHING = Coverage()
"""Nothing that was planned is known to be absent."""


class Survey:
    """Holds records against a plan while they are read.

    Args:
        trials: identity to cell of every planned trial; empty where no plan is known.
    """

    def __init__(self, trials: Mapping[str, str]) -> None:
        self._planned = len(trials)
        self._absent = dict(trials)
        self._seen: dict[str, TrialRecord] = {}
        self._near: dict[tuple[str, ...], TrialRecord] = {}
        self._data: dict[tuple[str, int], Data] = {}
        self._there: set[str] = set()
        self._unplaced: list[str] = []
        self._lost: tuple[str, ...] = ()

    def through(self, records: Iterable[TrialRecord]) -> Iterator[TrialRecord]:
        """Every record, then a stand-in for each planned trial without one."""
        for record in records:
            if self._planned:
                self._add(record)
            yield record
        self._lost = tuple(sorted(self._absent.values()))
        for key, name in sorted(self._absent.items(), key=lambda item: item[1]):
            if name in self._there:
                continue  # a record of this cell under another identity stands in the row
            self._there.add(name)
            made = self._stand_in(key, name)
            if made is None:
                self._unplaced.append(name)
            else:
                yield made

    def coverage(self) -> Coverage:
        """What was found; to be asked when :meth:`through` has ended."""
        return Coverage(self._planned, self._lost, tuple(self._unplaced))

    def unplaced(self) -> Counter[tuple[str, str, str]]:
        """How many trials of each data set, model and defense are lost and on no board."""
        cells = (self._cell(name) for name in self._unplaced)
        return Counter((c.dataset, c.model, c.defense) for c in cells if c and not self._control(c))

    def _add(self, record: TrialRecord) -> None:
        cell = record.cell
        name = cell.key()
        self._there.add(name)
        self._absent.pop(record.trial_id, None)
        self._data.setdefault((cell.dataset, cell.seed), record.data)
        row = name.rpartition("/")[0]
        if row in self._seen:
            return
        self._seen[row] = record
        place = (cell.dataset, cell.model)
        for near in (
            (*place, "attack", cell.attack),
            ("attack", cell.attack),
            ("data", cell.dataset),
            (*place, cell.defense, record.access),
            (*place, cell.defense),
            (cell.defense,),
        ):
            self._near.setdefault(near, record)

    def _first(self, *nearest: tuple[str, ...]) -> TrialRecord | None:
        return next((self._near[name] for name in nearest if name in self._near), None)

    def _cell(self, name: str) -> Cell | None:
        """The cell of a name; by a record of another seed, else by where its slashes are."""
        row, _, seed = name.rpartition("/")
        if not seed.isdigit():
            return None
        if row in self._seen:
            return self._seen[row].cell.model_copy(update={"seed": int(seed)})
        parts = _split(row)
        if len(parts) != 4:
            return None
        dataset, model, defense, attack = parts
        return Cell(dataset=dataset, model=model, defense=defense, attack=attack, seed=int(seed))

    def _control(self, cell: Cell) -> str:
        """What the trials of a cell are a control of; empty: they belong to a row of a board."""
        like = self._seen.get(cell.key().rpartition("/")[0])
        if like is not None:
            return like.control
        heads = (cell.attack.partition("[")[0], cell.defense.partition("[")[0], cell.dataset)
        named = next((head for head in heads if head in CONTROLS), "")
        own = self._first((cell.dataset, cell.model, cell.defense))
        # A suite's own defense may be called as a control is.
        return "" if named == heads[1] and own is not None and not own.control else named

    def _stand_in(self, key: str, name: str) -> TrialRecord | None:
        cell = self._cell(name)
        if cell is None:
            return None
        place = (cell.dataset, cell.model)
        inner = cell.attack.partition("[")[2].removesuffix("]")  # of a control, what it controls
        attack = self._first(
            (*place, "attack", cell.attack),
            ("attack", cell.attack),
            (*place, "attack", inner),
            ("attack", inner),
        )
        known = self._first(("data", cell.dataset))
        if attack is None or known is None:
            return None
        data = self._data.get(
            (cell.dataset, cell.seed), known.data.model_copy(update={"facts": {}})
        )
        defense = self._first(
            (*place, cell.defense, attack.access), (*place, cell.defense), (cell.defense,)
        )
        error = Failure(type=NO_RECORD, message="It was planned, and there is no record of it.")
        return stand_in(key, cell, error, attack, defense, data, self._control(cell))


def stand_in(
    key: str,
    cell: Cell,
    error: Failure,
    attack: TrialRecord,
    defense: TrialRecord | None,
    data: Data,
    control: str = "",
) -> TrialRecord:
    """A trial that says of its row that it is not there.

    Args:
        key: its identity.
        cell: where it belongs.
        error: why it is not there.
        attack: a trial of the same attack.
        defense: a trial of the same defense; None: there is none, and nothing is known of it.
        data: what would have been attacked.
        control: what it is a control of.
    """
    known = attack.attack.model_dump(exclude={"info", "sha256", "knowledge_read"})
    idle = defense is not None and defense.access == attack.access and "no_effect" in defense.flags
    return TrialRecord(
        protocol_version=attack.protocol_version,
        benchmark_version=attack.benchmark_version,
        trial_id=key,
        cell=cell,
        goal=attack.goal,
        access=attack.access,
        status="skipped",
        control=control,
        error=error,
        data=data,
        defense=DefenseInfo(family=cell.defense.partition("[")[0])
        if defense is None
        else defense.defense,
        attack=AttackInfo(**known),
        budget=Budget(queries_cap=attack.budget.queries_cap),
        flags=["no_effect"] if idle else [],
        created_utc=attack.created_utc,
    )


def not_run(record: TrialRecord) -> bool:
    """Whether it says of a row that it did not meet an attack that joined its board."""
    return record.error is not None and record.error.type == NOT_RUN


def status(record: TrialRecord) -> str:
    """How a trial ended; ``lost`` where there is no record of it."""
    lost = record.error is not None and record.error.type == NO_RECORD
    return LOST if lost else record.status


def _split(row: str) -> list[str]:
    """The parts of a name between slashes; one within brackets belongs to a value."""
    parts, depth = [""], 0
    for letter in row:
        depth += (letter == "[") - (letter == "]")
        if letter == "/" and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
