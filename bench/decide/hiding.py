"""Which attributes a defense acts on, where it says that it acts on no others.

A defense declares it (:class:`bench.contract.Defense`, ``hides``). The declaration is read from the
source, because importing a defense loads PyTorch.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_OURS = re.compile(r"defenses\.(\w+)\.(\w+)")


def hidden(layers: Iterable[Mapping[str, Any]], sensitive: str) -> tuple[str, ...]:
    """The attributes on which all layers act, if each acts on attributes that it names.

    Args:
        layers: ``_target_`` and options, as records have them.
        sensitive: the attribute that was attacked.

    Returns:
        Their names; nothing where a layer acts on whole records, or says nothing of it.
    """
    names: list[str] = []
    for layer in layers:
        option, null = _declared(str(layer.get("_target_", ""))) or ("", "")
        value = layer.get(option) if option else None
        if value is None and null == "sensitive":
            value = [sensitive or "the attacked attribute"]
        if not isinstance(value, list | tuple):
            return ()
        names += map(str, value)
    return tuple(dict.fromkeys(names))


@cache
def _declared(target: str) -> tuple[str, str] | None:
    """``hides`` of one of our own classes."""
    ours = _OURS.fullmatch(target)
    path = Path(__file__).parents[2] / "defenses" / f"{ours[1]}.py" if ours else None
    if ours is None or path is None or not path.is_file():
        return None
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name == ours[2]:
            for line in node.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "hides":
                    option, null = ast.literal_eval(line.value)
                    return str(option), str(null)
    return None
