"""What a worker runs: one pure function per kind of node, one module each, from data to data.

A stage reads its node's payload and the results of its parents, and returns JSON, tensors and
pictures. It writes nothing. Everything random follows from the payload's seed. The code a node
rests on is its stage's module, what that imports, and its components: so each stage imports what
shapes its own result, and no more.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.engine.stages.result import Machine, Parents, Result


def run(kind: str, payload: Mapping[str, Any], parents: Parents, machine: Machine) -> Result:
    """Run the stage of ``kind``."""
    result: Result = importlib.import_module(module_of(kind)).run(payload, parents, machine)
    return replace(result, output=plain(result.output))


def run_many(
    kind: str, payloads: Sequence[Mapping[str, Any]], parents: Sequence[Parents], machine: Machine
) -> list[Result | Exception]:
    """Run several nodes of a ``kind`` whose stage can run them in one program.

    Returns:
        Of each its result, or the exception that it ended with.
    """
    module = importlib.import_module(module_of(kind))
    results: list[Result | Exception] = module.run_many(payloads, parents, machine)
    return [r if isinstance(r, Exception) else replace(r, output=plain(r.output)) for r in results]


def module_of(kind: str) -> str:
    """Name of the module that runs nodes of ``kind``."""
    return f"{__name__}.{kind}"


def plain(value: Any) -> Any:
    """``value`` as JSON: tuples to lists, NumPy scalars to numbers, non-finite numbers to None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
