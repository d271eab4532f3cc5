"""YAML that people write and JSON that strangers send, read strictly: one reader for each.

A key that is given twice, an alias that multiplies what is read, nesting that exhausts the stack
and a document beyond its size are refused, with the line where that is known.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from bench.contract.errors import UserError, require

MOST_BYTES = 1 << 20
"""Most that a YAML document may take: none of ours takes a hundredth of it."""
DEEPEST = 40
"""Most levels of nesting."""


class _Strict(yaml.SafeLoader):
    """PyYAML's safe loader without what makes a document say other than it shows."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                problem="aliases ('*name') are not read; write the value out",
                problem_mark=self.get_event().start_mark,  # type: ignore[no-untyped-call]
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, Hashable) and lines.setdefault(key, line) != line:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key '{key}' is given twice, first in line {lines[key]}; keep one",
                    key_node.start_mark,
                )
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML document.

    Args:
        text: the document.
        where: the file, as messages name it, such as ``"Table card 'loans.yaml'"``.

    Raises:
        UserError: it is no YAML, gives a key twice, uses aliases, or is too long or too deep.
    """
    require(
        len(text) <= MOST_BYTES,
        f"{where} has {len(text)} characters, {MOST_BYTES} are allowed; shorten it.",
    )
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
            depth -= isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent))
            require(
                depth <= DEEPEST,
                f"{where} is nested deeper than {DEEPEST} levels; flatten it.",
            )
        return yaml.load(text, Loader=_Strict)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{where}{line} cannot be read as YAML: {error.problem}.") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # A date such as 2026-02-30 and a number of 5,000 digits are ValueErrors.
        raise UserError(f"{where} cannot be read as YAML: {_reason(error)}.") from error


def read_yaml(path: Path, what: str = "") -> Any:
    """The value of a YAML file; see :func:`parse_yaml`.

    Args:
        path: the file, in UTF-8.
        what: what the file is, to begin messages with, such as ``"Table card"``.

    Raises:
        UserError: it cannot be read, or as :func:`parse_yaml`.
    """
    where = f"{what} '{path}'".strip()
    return parse_yaml(read_text(path, where), where)


def read_text(path: Path, where: str) -> str:
    """The text of a file in UTF-8.

    Args:
        path: the file.
        where: the file, as messages name it.

    Raises:
        UserError: it cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text ({error.reason}); save it so.") from error
    except OSError as error:
        raise UserError(
            f"{where} cannot be read ({error.strerror or error}); name a file that can."
        ) from error


def parse_json(data: bytes | str, where: str, deepest: int = DEEPEST) -> Any:
    """The value of a JSON document of somebody else's.

    Args:
        data: the document, in UTF-8; its caller has bounded its size.
        where: the file, as messages name it.
        deepest: most levels of nesting.

    Raises:
        UserError: it is no JSON, gives a key twice or nests too deeply.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise UserError(f"{where}: the key '{twice}' is given twice; get it again.")
        return members

    try:
        value = json.loads(data, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} cannot be read as JSON: {_reason(error)}.") from error
    require(
        _depth(value) <= deepest,
        f"{where} is nested deeper than {deepest} levels; get it again.",
    )
    return value


def _reason(error: Exception) -> str:
    """What a parser says, in one line."""
    reason = " ".join(str(error).split())[:200]
    # Python tells programmers how to lift its limit; no document of ours needs such a number.
    return "it holds a number of thousands of digits" if "int_max_str_digits" in reason else reason


def _depth(value: Any) -> int:
    """Levels of lists and objects, without recursion: the stack is what is being protected."""
    deepest, level = 0, [value]
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        deepest += any(isinstance(item, (dict, list)) for item in level)
        level = below
    return deepest
