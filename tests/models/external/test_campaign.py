"""A model behind HTTP in a grid: what it is asked, how often, and what happens if it cannot be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.api.campaigns.trying import TRIES, tried
from bench.models.external.http.transcript import Transcript
from tests.models.external.grids import Grid, written
from tests.models.external.served import CLASSES, Served, encoded, probabilities

PARTS = ("members", "holdout", "public")
QUIET = "attack=[attribute_map,csmia]"
"""Attacks that ask the same whatever is answered."""


def customers(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": np.round(rng.normal(0, 1.5, rows), 2),
            "income": np.round(rng.normal(0, 1.5, rows), 2),
            "city": rng.choice(["Bern", "Rome"], rows),
        }
    )
    shares = probabilities(encoded(frame.to_numpy().tolist()))
    drawn = [rng.choice(3, p=row) for row in shares**3 / (shares**3).sum(1, keepdims=True)]
    return frame.assign(y=np.array(CLASSES)[drawn])


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    frames = {part: customers(80, seed) for seed, part in enumerate(PARTS)}
    columns = {"age": "number", "income": "number", "city": "category"}
    return Grid(
        tmp_path,
        written(tmp_path, frames=frames, columns=columns, sensitive="city", preprocessing="model"),
    )


def words(served: Served, folder: Path, *more: str, budget: int = 100_000) -> list[str]:
    return [
        "model=external",
        f"model.external.url={served.url('/invocations')}",
        "model.external.name=served",
        f"model.external.budget={budget}",
        "model.external.retries=0",
        f"model.external.transcript={folder / 'asked.sqlite'}",
        "victims=40",
        QUIET,
        *more,
    ]


def statuses(records: list[dict[str, Any]]) -> Counter[str]:
    return Counter(record["status"] for record in records)


def failures(records: list[dict[str, Any]]) -> set[str]:
    """What is said of trials that were not done: sentences, never a fault of the program."""
    errors = [record["error"] for record in records if record["error"]]
    assert all(not error["traceback"] for error in errors)
    return {error["message"] for error in errors}


@pytest.mark.slow
def test_a_campaign_that_was_interrupted_goes_on_and_asks_nothing_twice(
    grid: Grid, tmp_path: Path
) -> None:
    with Served(dies_after=150) as served:
        broken = grid.run(*words(served, tmp_path))
        asked, port = served.asked, served.port
    assert statuses(broken)["failed"]
    assert failures(broken)
    before = asked.total()
    assert 0 < before <= 150
    with Served(port=port, asked=Counter(asked)) as again:
        done = grid.run(*words(again, tmp_path, "rerun=failed"))
        assert statuses(done) == {"done": len(done)}
        whole = Counter(again.asked)
        assert grid.run(*words(again, tmp_path, "rerun=failed")) == done
        assert again.asked == whole
    with Served() as other:
        free = Grid(tmp_path / "uninterrupted", grid.card)
        assert statuses(free.run(*words(other, free.folder))) == {"done": len(done)}
    assert whole == other.asked, "an interruption costs no record"
    counts = Transcript(tmp_path / "asked.sqlite").counts()
    assert counts["sent"] - whole.total() <= 64, "only the request that was cut off is lost"


@pytest.mark.slow
def test_what_does_not_adapt_asks_the_model_no_more_behind_a_defense(
    grid: Grid, tmp_path: Path
) -> None:
    with Served() as served:
        undefended = grid.run(*words(served, tmp_path))
        alone = Counter(served.asked)
        assert set(alone.values()) == {1}, "labels and scores are one answer"
        many = grid.run(*words(served, tmp_path, "defense=[none,rounding,label_only,top_k]"))
        assert statuses(many) == {"done": len(many)}
        assert len(many) > 2 * len(undefended)
        assert served.asked == alone


@pytest.mark.slow
def test_nothing_is_sent_beyond_the_budget(grid: Grid, tmp_path: Path) -> None:
    with Served() as served:
        records = grid.run(*words(served, tmp_path, budget=100))
        assert served.total <= 100
        assert statuses(records)["failed"]
        told = failures(records)
        assert told
        assert all("budget" in text for text in told)
        # With more, the same campaign goes on.
        done = grid.run(*words(served, tmp_path, "rerun=failed", budget=5000))
        assert statuses(done) == {"done": len(done)}


def test_who_answers_labels_alone_is_attacked_with_labels(grid: Grid, tmp_path: Path) -> None:
    with Served(labels=True) as served:
        records = grid.run(*words(served, tmp_path))
        assert "done" not in statuses(records)
        assert all("'labels'" in text for text in failures(records))
        assert served.total == 80, "the members were tried, and nothing was attacked"
        done = grid.run(*words(served, tmp_path, "model.external.access=labels"))
        assert statuses(done) == {"done": len(done)}
        assert {r["access"] for r in done} == {"labels", "none"}


@pytest.mark.slow
def test_another_campaign_asks_anew(grid: Grid, tmp_path: Path) -> None:
    with Served() as served:
        grid.run(*words(served, tmp_path))
        once = served.total
        grid.run(*words(served, tmp_path, "model.external.campaign=autumn"))
        assert served.total == 2 * once
        grid.run(*words(served, tmp_path, "model.external.campaign=autumn"))
        assert served.total == 2 * once


@pytest.mark.parametrize("noise", [False, True])
def test_what_is_tried_before_a_plan_is_sent_twice(noise: bool, grid: Grid, tmp_path: Path) -> None:
    with Served(noise=noise) as served:
        model = {
            "url": served.url("/invocations"),
            "budget": 100,
            "transcript": str(tmp_path / "asked.sqlite"),
        }
        facts, *_ = tried(model, grid.words(), [], None)
        assert facts["repeats"] == (not noise)
        assert served.total == TRIES
