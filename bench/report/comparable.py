"""What rows must have in common to stand on one board.

Facts are gathered record by record and only what was said first is kept, so that a hundred thousand
trials can be checked while they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.contract.errors import UserError
from bench.contract.identity import canonical
from bench.contract.likeness import TOLERANCE
from bench.contract.record import TrialRecord

ROUNDING = 1e-4
"""Most by which the mean of computed data may differ: processors round each value differently, by
about 1e-6, while another seed or a renderer that draws something else moves the mean by more."""

_SHOWN = 3
_HASH = 12

_FACTS: dict[str, tuple[str, str]] = {
    "protocol": (
        "protocol version",
        "report each protocol on its own or run the older trials again",
    ),
    "schema": ("major version of the record schema", "run the older trials again"),
    "data": ("data (sha256)", "run all of them on the same file"),
    "computed": ("mean of the computed data", "run all of them with the same benchmark version"),
    "split": ("data split", "run all of them with the same benchmark version and base_seed"),
    "evaluator": (
        "evaluator",
        "run all of them with the same benchmark version, base_seed and face_network",
    ),
    "base": (
        "success without the model",
        "run all of them with the same baselines, victims and base_seed",
    ),
    "ceiling": ("ceiling of the score", "run all of them with the same benchmark version"),
    "measure": ("metric of the score", "run all of them with the same benchmark version"),
    "usefulness": ("utility metric", "run all of them with the same benchmark version"),
    "model": ("settings of the model", "give the other model a name of its own"),
    "reference": ("plain baseline", "run all of them with the same benchmark version"),
    "attack": ("settings of the attack", "give the other attack a name of its own"),
    "knowledge": ("knowledge of the attack", "give the other attack a name of its own"),
    "aim": ("goal and access of the attack", "give the other attack a name of its own"),
    "cap": ("most queries of the attack", "attack every defense with the same budget"),
    "defense": ("settings of the defense", "give the other defense a name of its own"),
}
"""Every fact: what it is called, and what to do where it differs."""

_NEAR = {"base": TOLERANCE, "ceiling": TOLERANCE, "computed": ROUNDING}
"""Facts that are measured, each with the most by which they may differ."""

Place = tuple[str, ...]
"""What a fact is a fact of, such as ``("data set german", "seed 3")``; empty: of everything."""


@dataclass(frozen=True)
class Difference:
    """One fact in which trials differ that should not.

    Attributes:
        fact: which, a short name such as ``data`` or ``attack``.
        place: what it is a fact of.
        values: the two values.
        rows: up to three trials with each value, ``defense/attack``.
    """

    fact: str
    place: Place
    values: tuple[Any, Any]
    rows: tuple[tuple[str, ...], tuple[str, ...]]

    def __str__(self) -> str:
        name, remedy = _FACTS[self.fact]
        old, new = _worded(*self.values)
        of = f" of {', '.join(self.place)}" if self.place else ""
        return (
            f"{name}{of} is {old} in {', '.join(self.rows[0])} and {new} in "
            f"{', '.join(self.rows[1])}: {remedy}"
        )


@dataclass
class _Said:
    """A fact as it was first said, and the first that says otherwise."""

    value: Any
    rows: list[str]
    other: Any = None
    others: list[str] = field(default_factory=list)


class SharedFacts:
    """Gathers facts with :meth:`add`; :meth:`differences` and :meth:`check` judge them.

    ``add`` costs a few microseconds and keeps nothing of a record but its facts.
    """

    def __init__(self) -> None:
        self._said: dict[tuple[str, Place], _Said] = {}
        self._seen: dict[Place, dict[str, Any]] = {}

    def add(self, record: TrialRecord, source: str = "") -> None:
        """Take in a trial.

        Args:
            record: the trial.
            source: where it comes from, put before its name; empty: say nothing.
        """
        cell = record.cell
        row = f"{source}{cell.defense}/{cell.attack}"
        for place, facts in _facts(record).items():
            # Nearly every trial repeats what is known of its places.
            if self._seen.get(place) == facts:
                continue
            self._seen[place] = facts
            for fact, value in facts.items():
                if value is not None:
                    self._say(fact, place, value, row)

    def _say(self, fact: str, place: Place, value: Any, row: str) -> None:
        said = self._said.get((fact, place))
        if said is None:
            self._said[fact, place] = _Said(value, [row])
            return
        if _agree(fact, said.value, value):
            rows = said.rows
        else:
            said.other = value if said.other is None else said.other
            rows = said.others
        if len(rows) < _SHOWN and row not in rows:
            rows.append(row)

    def differences(self) -> list[Difference]:
        """Every fact that differs, the most general first."""
        order = list(_FACTS)
        found = [
            Difference(fact, place, (s.value, s.other), (tuple(s.rows), tuple(s.others)))
            for (fact, place), s in self._said.items()
            if s.others
        ]
        return sorted(found, key=lambda d: (order.index(d.fact), d.place))

    def check(self, suite: str) -> None:
        """Refuse trials that cannot share a board.

        Raises:
            UserError: they differ; names which facts, both values, whose they are and what to do.
        """
        found = self.differences()
        if found:
            shown = "; ".join(told(found))
            raise UserError(f"The trials of '{suite}' cannot share a board: {shown}.")


def gather(records: Iterable[TrialRecord]) -> SharedFacts:
    """The facts of all records."""
    facts = SharedFacts()
    for record in records:
        facts.add(record)
    return facts


def differences(records: Iterable[TrialRecord]) -> list[str]:
    """A sentence for every fact in which records differ that would share a board.

    Returns:
        Empty where all of them may stand together.
    """
    return [str(d) for d in gather(records).differences()]


def between(a: Iterable[TrialRecord], b: Iterable[TrialRecord]) -> list[Difference]:
    """In which facts two results differ that each is consistent in itself."""
    facts = SharedFacts()
    for records, source in ((a, "A: "), (b, "B: ")):
        for record in records:
            facts.add(record, source)
    return facts.differences()


def told(found: list[Difference], most: int = _SHOWN) -> list[str]:
    """Sentences, each fact once: further places and facts are counted."""
    first: dict[str, Difference] = {}
    for difference in found:
        first.setdefault(difference.fact, difference)
    lines = []
    for fact, difference in list(first.items())[:most]:
        more = sum(d.fact == fact for d in found) - 1
        lines.append(f"{difference}" + (f" (and {more} more like it)" if more else ""))
    hidden = [_FACTS[fact][0] for fact in list(first)[most:]]
    return lines + ([f"also different: {', '.join(hidden)}"] if hidden else [])


def _facts(record: TrialRecord) -> dict[Place, dict[str, Any]]:
    """What a trial says of each place it belongs to; None: it does not say."""
    cell, nodes = record.cell, record.nodes
    done = record.status == "done"
    score, utility = record.score, record.utility
    data = f"data set {cell.dataset}"
    scenario = (data, f"model {cell.model}")
    goal = (*scenario, f"goal {record.goal}")
    seed = f"seed {cell.seed}"
    attack = record.attack
    computed = record.data.facts.get("computed_mean")
    return {
        (): {
            "protocol": record.protocol_version,
            "schema": record.schema_version.split(".")[0],
        },
        (data, seed): {
            # Bits of what is computed in floating point are of the processor, not of the data.
            "data": record.data.facts.get("sha256") if computed is None else None,
            "computed": computed,
            "split": nodes.get("data"),
            "evaluator": nodes.get("evaluator"),
        },
        scenario: {
            "usefulness": utility.metric if utility else None,
            "model": dict(record.target.params) if done and record.target.params else None,
        },
        (*scenario, seed): {"reference": nodes.get("reference")},
        goal: {"measure": score.metric if score else None},
        (*goal, seed): {
            "base": score.s_base if score else None,
            "ceiling": score.s_ceil if score else None,
        },
        (*scenario, f"defense {cell.defense}"): {
            "defense": record.defense.layers if done else None,
        },
        (*scenario, f"attack {cell.attack}"): {
            "attack": attack.params or None,
            "knowledge": attack.knowledge or None,
            "aim": (record.goal, record.access),
            "cap": str(record.budget.queries_cap) if done else None,
        },
    }


def _agree(fact: str, one: Any, other: Any) -> bool:
    if fact in _NEAR:
        return abs(float(one) - float(other)) <= _NEAR[fact]
    return bool(one == other)


def _worded(old: Any, new: Any) -> tuple[str, str]:
    """Both values; of mappings what differs in them alone."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
        return _keys(old, keys), _keys(new, keys)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(o, n) for o, n in zip(old, new, strict=True) if o != n]
        if pairs and all(isinstance(v, Mapping) for v in pairs[0]):
            return _worded(*pairs[0])
    return _word(old), _word(new)


def _keys(value: Mapping[str, Any], keys: list[str]) -> str:
    return ", ".join(f"{k}={_word(value[k]) if k in value else 'absent'}" for k in keys)


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return " at ".join(map(str, value))
    if isinstance(value, str):
        return value if len(value) <= 2 * _HASH else f"{value[:_HASH]}..."
    text = canonical(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
