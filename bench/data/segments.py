"""Classes for customers who have none: segments found by k-means."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize
from torch import Tensor

from bench.contract import require, sparse
from bench.data.common import Ints


def segment(name: str, x: Tensor, public: Ints, segments: int, seed: int) -> Tensor:
    """The nearest cluster of each basket.

    As Shokri et al. 2017 made Purchase-100's classes, segments are the clusters of a k-means,
    here fitted on the *public* rows alone and on rows of unit length, so that what is bought
    decides and not how much.

    Args:
        name: the data set, for the error message.
        x: baskets, 0/1 ``[n, n_items]``, dense or in compressed rows.
        public: rows the clusters are fitted on.
        segments: number of clusters.
        seed: of the k-means.

    Returns:
        int64 ``[n]`` in ``[0, segments)``.

    Raises:
        UserError: fewer different public baskets than segments.
    """
    unit = normalize(sparse.scipy_matrix(x) if sparse.is_sparse(x) else x.numpy())
    if sparse.is_sparse(x):
        distinct = len(set(sparse.row_digests(sparse.take(x, torch.from_numpy(public)))))
    else:
        distinct = len(np.unique(unit[public], axis=0))
    require(
        distinct >= segments,
        f"Data set '{name}' has {distinct} different public baskets, too few for "
        f"segments={segments}; lower dataset.{name}.segments, or keep more baskets.",
    )
    clusters = KMeans(segments, n_init=4, random_state=seed).fit(unit[public])
    return torch.as_tensor(clusters.predict(unit).astype(np.int64))


def segment_names(segments: int) -> tuple[str, ...]:
    """Names of the classes, in label order."""
    return tuple(f"segment {i + 1}" for i in range(segments))
