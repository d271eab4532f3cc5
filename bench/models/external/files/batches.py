"""Asking a model in batches: some accept only one number of records at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

MOST = 4096
"""Most records a model is asked for at once, so that memory does not grow with the data."""


@dataclass(frozen=True)
class Batch:
    """Which records are asked together.

    Attributes:
        rows: their indices as the model gets them; the last one is repeated where the model wants
            more records than are left.
        real: how many of the answers count.
    """

    rows: npt.NDArray[np.int64]
    real: int


def batches(count: int, fixed: int | None) -> Iterator[Batch]:
    """The batches in which ``count`` records are asked.

    Args:
        count: number of records, at least 1.
        fixed: how many records the model wants at a time; None: any number.
    """
    size = fixed or MOST
    for start in range(0, count, size):
        stop = min(start + size, count)
        last = start + size if fixed else stop
        yield Batch(np.minimum(np.arange(start, last), stop - 1), stop - start)


class Batched(nn.Module):
    """A module that is asked in batches of the size it was written down with.

    ``train`` changes nothing: the file holds the model as it predicts, and a graph that was written
    down has no other mode.
    """

    def __init__(self, inner: nn.Module, fixed: int | None, dtype: torch.dtype) -> None:
        """Wrap ``inner``.

        Args:
            inner: reads ``[n, *shape]`` of ``dtype`` and returns one tensor.
            fixed: how many records it wants at a time; None: any number.
            dtype: of what it reads.
        """
        super().__init__()
        self.inner = inner
        self.fixed = fixed
        self.dtype = dtype
        self.training = False

    def train(self, mode: bool = True) -> Batched:
        """Leave it as it is."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Float32 answers ``[n, k]`` of records ``[n, *shape]``."""
        x = x.to(self.dtype)
        if self.fixed is None:
            outputs = self.inner(x)
        else:
            outputs = torch.cat(
                [
                    self.inner(x[torch.from_numpy(batch.rows)])[: batch.real]
                    for batch in batches(len(x), self.fixed)
                ]
            )
        return columns(outputs).float()


def columns(outputs: Tensor) -> Tensor:
    """Answers as ``[n, k]``, without trailing dimensions of size 1."""
    while outputs.ndim > 2 and outputs.shape[-1] == 1:
        outputs = outputs.squeeze(-1)
    return outputs.unsqueeze(1) if outputs.ndim == 1 else outputs
