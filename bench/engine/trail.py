"""The audit trail of an exposure as a file."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor


def parquet(columns: Mapping[str, Tensor]) -> bytes:
    """A Parquet file with one row per query, in the order they were sent.

    Args:
        columns: :meth:`bench.contract.serving.Trail.columns`.
    """
    out = io.BytesIO()
    pq.write_table(pa.table({name: values.numpy() for name, values in columns.items()}), out)
    return out.getvalue()
