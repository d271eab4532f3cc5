"""What a stage gives, where it runs, and the files its result is kept in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from bench.engine.components import CORE_PACKAGES
from bench.engine.names import TENSORS


@dataclass(frozen=True)
class Result:
    """What a stage gives: JSON ``output``, named tensors, and files such as pictures.

    ``config`` is the payload of the node it came from; it is filled in for parents.
    """

    output: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """Where a stage runs: nothing here may change what it gives.

    Attributes:
        device: torch device granted to the task.
        data_root: folder of real data sets.
        packages: top-level packages that options may name.
    """

    device: str
    data_root: Path | None
    packages: tuple[str, ...] = CORE_PACKAGES


Parents = Mapping[str, Result]
"""Role to result."""


def encode(result: Result) -> dict[str, bytes]:
    """The files of a result besides its record."""
    files = dict(result.files)
    if result.tensors:
        files[TENSORS] = save_tensors(dict(result.tensors))
    return files


def decode(output: Mapping[str, Any], tensors: bytes | None) -> Result:
    """A result from the output in its record and the bytes of its tensors."""
    return Result(output, load_tensors(tensors) if tensors else {})


def kept(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they are stored: off the device, without history, in one piece."""
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
