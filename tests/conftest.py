"""What tests share: the toy grid, and a store in a temporary folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CONF = Path(__file__).parent / "conf"

# One thread, as a task has: before anything imports BLAS.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Ray and MLflow must not report home, and no test may find a cluster of somebody else's.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.pop("RAY_ADDRESS", None)


@pytest.fixture(autouse=True)
def _forgotten_faults() -> Iterator[None]:
    """What one test has damaged is nothing to the next."""
    yield
    if (store := sys.modules.get("bench.engine.store")) is not None:
        store.FAULTS.clear()


@pytest.fixture
def toy_conf() -> Path:
    """Options of the toy components."""
    return CONF


@pytest.fixture
def toy_words(tmp_path: Path) -> Callable[..., list[str]]:
    """Overrides of the toy suite in a temporary store, in process and untracked."""

    def words(*more: str, backend: str = "local") -> list[str]:
        return [
            "suite=toy",
            "label=toy",
            f"store={tmp_path / 'store'}",
            f"report_dir={tmp_path / 'report'}",
            f"backend={backend}",
            "tracking=none",
            "progress=none",
            *more,
        ]

    return words
