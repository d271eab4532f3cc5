"""Who is most exposed: the same people over the seeds of a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.contract.record import TrialRecord
from bench.engine.exposed import exposed
from bench.engine.store import Store
from tests.models.external import functions
from tests.models.external.grids import Grid, loans, written

SEEDS = 3


def said(records: Any) -> Any:
    """Scores for rows of the table, or for what the harness makes of them."""
    if isinstance(records, pd.DataFrame):
        return np.where(records["ill"] == "flu", 0.8, 0.3)
    return 0.5 + np.tanh(records[:, 0]) / 3


def found(grid: Grid) -> Any:
    """The table of all victims of one attack."""
    functions.GIVEN["model"] = said
    records = grid.run(
        "model=external",
        "model.external.function=tests.models.external.functions:answers",
        "attack=csmia",
        f"seeds={SEEDS}",
        "victims=40",
    )
    mine = [TrialRecord.model_validate(r) for r in records if r["access"] != "none"]
    assert len(mine) == SEEDS
    return exposed(Store(grid.folder / "store"), mine)


@pytest.mark.slow
@pytest.mark.parametrize("preprocessing", ["model", "ours"])
def test_a_person_is_one_row_over_all_seeds(preprocessing: str, tmp_path: Path) -> None:
    """Without public records the seed halves the others, so that every seed encodes anew."""
    keys = {"preprocessing": "model"} if preprocessing == "model" else {}
    grid = Grid(tmp_path, written(tmp_path, 60, ("members", "holdout"), **keys))
    table = found(grid)
    members = table[table["part"] == "members"]
    assert members["attacked"].sum() == 30 * SEEDS, "as many as half of the others"
    assert len(members) <= 60, "there are no more people than the file holds"
    assert members["attacked"].max() == SEEDS
    assert members["certain"].between(0, 1).all()


@pytest.mark.slow
def test_records_of_one_person_stay_apart(tmp_path: Path) -> None:
    frames = {}
    for seed, part in enumerate(("members", "holdout", "public")):
        own = loans(60, seed)
        frames[part] = own.assign(who=np.repeat(np.arange(30), 2) + 30 * seed)
    table = found(
        Grid(tmp_path, written(tmp_path, frames=frames, person="who", preprocessing="model"))
    )
    members = table[table["part"] == "members"]
    assert 40 <= len(members) <= 60
    assert members["attacked"].max() == SEEDS


@pytest.mark.slow
def test_a_seed_without_two_records_of_anybody_splits_nobody(tmp_path: Path) -> None:
    """Three of 60 records are of one person, and often a seed attacks at most one of them."""
    frames = {}
    for seed, part in enumerate(("members", "holdout", "public")):
        who = np.minimum(np.arange(60), 57) + 60 * seed
        frames[part] = loans(60, seed).assign(who=who)
    card = written(tmp_path, frames=frames, person="who", preprocessing="model")
    table = found(Grid(tmp_path, card))
    assert 40 <= (table["part"] == "members").sum() <= 60
