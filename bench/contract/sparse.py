"""Records that are mostly zeros, as matrices in compressed rows where dense ones would not fit.

A :class:`bench.contract.Split` holds either a dense tensor or a compressed one of two dimensions
(``torch.sparse_csr``). The functions here work on both; of a dense tensor they give what the plain
operation gives, bit for bit.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

ROWS = 2048
"""Rows of a compressed matrix that are made dense at a time."""
PARTS = ("starts", "columns", "values")
"""Names of the dense tensors that make up a compressed matrix."""


def is_sparse(x: Tensor) -> bool:
    """Whether the records are kept in compressed rows."""
    return x.layout == torch.sparse_csr


def compressed(matrix: Any) -> Tensor:
    """A compressed tensor of float32, from a SciPy matrix or from a dense tensor on the CPU."""
    from scipy.sparse import csr_matrix

    rows = csr_matrix(matrix.numpy() if isinstance(matrix, Tensor) else matrix)
    rows.sort_indices()
    starts, columns = (torch.from_numpy(part) for part in (rows.indptr, rows.indices))
    return _made(starts, columns, torch.from_numpy(rows.data.astype("float32")), rows.shape)


def _made(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch calls the layout a beta
        made: Tensor = torch.sparse_csr_tensor(
            starts.long(), columns.long(), values, shape, check_invariants=True
        )
        return made


def scipy_matrix(x: Tensor) -> Any:
    """The SciPy matrix (float32, compressed rows) that shares memory with a compressed tensor."""
    from scipy.sparse import csr_matrix

    parts = (x.values(), x.col_indices(), x.crow_indices())
    return csr_matrix(tuple(part.cpu().numpy() for part in parts), shape=tuple(x.shape))


def parts_of(x: Tensor) -> dict[str, Tensor]:
    """The dense tensors that make up a compressed one, by :data:`PARTS`."""
    return dict(zip(PARTS, (x.crow_indices(), x.col_indices(), x.values()), strict=True))


def from_parts(parts: Mapping[str, Tensor], width: int) -> Tensor:
    """The compressed tensor ``[n, width]`` that :func:`parts_of` took apart.

    Raises:
        RuntimeError: the parts do not belong together.
    """
    starts, columns, values = (parts[name] for name in PARTS)
    return _made(starts, columns, values, (len(starts) - 1, width))


def dense(x: Tensor) -> Tensor:
    """The same records as a dense tensor."""
    return x.to_dense() if is_sparse(x) else x


def take(x: Tensor, index: Tensor) -> Tensor:
    """The rows at ``index`` (int64 or bool), in that order and in the layout of ``x``."""
    if not is_sparse(x):
        return x[index]
    return compressed(scipy_matrix(x)[index.cpu().numpy()]).to(x.device)


def blocks(x: Tensor, rows: int = ROWS) -> Iterator[Tensor]:
    """``x`` in parts of at most ``rows`` rows, each in the layout of ``x``."""
    if not is_sparse(x):
        yield from torch.split(x, rows)
        return
    matrix = scipy_matrix(x)
    for start in range(0, len(x), rows):
        yield compressed(matrix[start : start + rows]).to(x.device)


def sums(x: Tensor, dim: int) -> Tensor:
    """Sums of records ``[n, d]`` over the rows (``dim=0``) or over the columns (``dim=1``)."""
    if not is_sparse(x):
        return x.sum(dim)
    totals = scipy_matrix(x).sum(axis=dim, dtype="float64")
    return torch.from_numpy(totals).flatten().float().to(x.device)


def stored(x: Tensor) -> Tensor:
    """The values that are kept: all of a dense tensor, those that are not 0 of a compressed one."""
    return x.values() if is_sparse(x) else x


def row_digests(x: Tensor) -> Iterator[bytes]:
    """A digest of every record: two records of one layout are equal where their digests are."""
    if not is_sparse(x):
        yield from (hashlib.sha256(row).digest() for row in x.cpu().contiguous().numpy())
        return
    matrix = scipy_matrix(x)
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        row = matrix.indices[start:stop].tobytes() + matrix.data[start:stop].tobytes()
        yield hashlib.sha256(row).digest()
