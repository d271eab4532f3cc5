"""Records as the store keeps them: JSON text without credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic_core import to_json

from bench.contract.record import Failure, Status
from bench.contract.secrets import clean_text
from bench.engine import join
from bench.engine.graph import Node, Trial

M = TypeVar("M")
_MOST_KEPT = 4096


def node_text(node: Node, facts: Mapping[str, Any]) -> str:
    """The record of a node; a number that is not finite becomes null.

    Args:
        node: the node.
        facts: what it says of the run: ``status``, ``attempt``, ``seconds``, ``created_utc``,
            ``env``, and ``output`` or ``error``.
    """
    values = {"kind": node.kind, "id": node.id, "label": node.label, **facts}
    text = clean_text(_json(values))
    # What repeats share of it was encoded and cleaned when the first of them was recorded.
    identity = node.series.shown.text((*node.numbers, *node.above))
    return f'{text[:-1]},"identity":{identity}}}'


def _json(value: object) -> str:
    return to_json(value, inf_nan_mode="null").decode()


class Joiner:
    """Joins trials, and makes what they share once: for one run and one thread."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[Sequence[object], object]] = {}
        self._texts: dict[int, tuple[object, str]] = {}
        """By the number of a kept part, the part, so that its number stays its own, and its text
        once it was asked for."""

    def join(self, trial: Trial, nodes: Mapping[str, Mapping[str, Any]]) -> str:
        """The text of the record of a trial whose nodes are all done.

        The record as a whole is not checked against its schema: its parts are, and the rest is
        the plan's.

        Args:
            trial: the cell.
            nodes: as :func:`bench.engine.join.join`; what is made of the same objects for several
                trials is made once.
        """
        if len(self._kept) > _MOST_KEPT:
            self._kept.clear()
            self._texts.clear()
        shared, own = [], {}
        for name, value in join.fields(trial, nodes, self._once).items():
            if id(value) in self._texts:
                shared.append(f',"{name}":{self._text(id(value))}')
            else:
                own[name] = value
        text = clean_text(_json(own))
        return f"{text[:-1]}{''.join(shared)}}}"

    def _text(self, number: int) -> str:
        part, text = self._texts[number]
        if not text:
            text = clean_text(_json(part))
            self._texts[number] = part, text
        return text

    def _once(self, name: str, made_of: Sequence[object], make: Callable[[], M]) -> M:
        key = (name, *map(id, made_of))
        kept = self._kept.get(key)
        if kept is None:
            # What it is made of is kept as well, so that no other object can get its number.
            kept = self._kept[key] = (made_of, make())
            self._texts[id(kept[1])] = kept[1], ""
        return cast(M, kept[1])


def unfinished(
    trial: Trial, status: Status, failure: Failure, created_utc: str, facts: Mapping[str, Any]
) -> str:
    """The text of the record of a trial that did not end in ``done``.

    Args:
        trial: the cell.
        status: how it ended.
        failure: why.
        created_utc: when.
        facts: output of its ``data`` node, as far as there is one.
    """
    record = join.unfinished(trial, status, failure, created_utc, facts)
    return clean_text(record.model_dump_json())
