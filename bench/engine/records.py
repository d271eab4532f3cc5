"""Records as the store keeps them: JSON text without credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel
from pydantic_core import to_json

from bench.contract.record import Failure, Status, TrialRecord
from bench.contract.secrets import clean_text
from bench.engine import join
from bench.engine.graph import Node, Trial

M = TypeVar("M", bound=BaseModel)
_MOST_KEPT = 4096


def node_text(node: Node, facts: Mapping[str, Any]) -> str:
    """The record of a node; a number that is not finite becomes null.

    Args:
        node: the node.
        facts: what it says of the run: ``status``, ``attempt``, ``seconds``, ``created_utc``,
            ``env``, and ``output`` or ``error``.
    """
    values = {"kind": node.kind, "id": node.id, "label": node.label, **facts}
    text = clean_text(to_json(values, inf_nan_mode="null").decode())
    # What repeats share of it was encoded and cleaned when the first of them was recorded.
    identity = node.series.shown.text((*node.numbers, *node.above))
    return f'{text[:-1]},"identity":{identity}}}'


class Joiner:
    """Joins trials, and makes what they share once: for one run and one thread."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[Sequence[object], BaseModel]] = {}

    def join(self, trial: Trial, nodes: Mapping[str, Mapping[str, Any]]) -> tuple[TrialRecord, str]:
        """The record of a trial whose nodes are all done, and its text.

        Args:
            trial: the cell.
            nodes: as :func:`bench.engine.join.join`; what is made of the same objects for several
                trials is made once.
        """
        if len(self._kept) > _MOST_KEPT:
            self._kept.clear()
        return _written(join.join(trial, nodes, self._once))

    def _once(self, name: str, made_of: Sequence[object], make: Callable[[], M]) -> M:
        key = (name, *map(id, made_of))
        if key not in self._kept:
            # What it is made of is kept as well, so that no other object can get its number.
            self._kept[key] = (made_of, make())
        return cast(M, self._kept[key][1])


def unfinished(
    trial: Trial, status: Status, failure: Failure, created_utc: str, facts: Mapping[str, Any]
) -> tuple[TrialRecord, str]:
    """The record of a trial that did not end in ``done``, and its text.

    Args:
        trial: the cell.
        status: how it ended.
        failure: why.
        created_utc: when.
        facts: output of its ``data`` node, as far as there is one.
    """
    return _written(join.unfinished(trial, status, failure, created_utc, facts))


def _written(record: TrialRecord) -> tuple[TrialRecord, str]:
    text = record.model_dump_json()
    kept = clean_text(text)
    return (record if kept is text else TrialRecord.model_validate_json(kept)), kept
