"""A table of loans as CSV files with a card, and small grids run on it from the first word on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from bench.contract import Splits
from bench.data.table import Table
from bench.engine.execution import execute, prepare
from bench.engine.graph import Plan
from bench.engine.store import Store

COLUMNS = {
    "age": "number",
    "income": "number",
    "code": "category",
    "job": "category",
    "ill": "category",
}
ATTACKS = "attack=[attribute_map,csmia,lomia,membership]"


def loans(rows: int, seed: int) -> pd.DataFrame:
    """Records whose label says much of the secret ``ill`` to who knows the rest."""
    rng = np.random.default_rng(seed)
    ill = rng.choice(["no", "flu", "cold"], rows, p=[0.5, 0.25, 0.25])
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "income": np.round(rng.lognormal(7.5, 0.8, rows), 2),
            "ill": ill,
            "job": rng.choice(["a", "b,c", 'say "q"'], rows),
            "code": rng.integers(1, 5, rows),
        }
    )
    odds = (frame["age"] - 50) / 15 + 1.5 * (frame["code"] - 2.5) + 2.5 * (ill == "flu") - 1
    frame["y"] = np.where(odds + rng.logistic(0, 0.7, rows) > 0, "p", "n")
    return frame


def written(
    folder: Path,
    rows: int = 240,
    parts: tuple[str, ...] = ("members", "holdout", "public"),
    frames: Mapping[str, pd.DataFrame] | None = None,
    **keys: Any,
) -> Path:
    """The card of a table in ``folder``, with a file for each part."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, part in enumerate(parts):
        frame = loans(rows, seed) if frames is None else frames[part]
        frame.to_csv(folder / f"{part}.csv", index=False)
    card = {
        "name": "Loans",
        "sector": "credit",
        "source": "made up",
        "terms": "none",
        "target": "y",
        "sensitive": "ill",
        "files": {part: f"{part}.csv" for part in parts},
        "columns": COLUMNS,
        "repeats": True,
        **keys,
    }
    path = folder / "card.yaml"
    path.write_text(yaml.safe_dump(card, sort_keys=False))
    return path


def loaded(card: Path) -> Splits:
    """The data as every repeat has it."""
    return Table(card=str(card)).load(0, None)


@dataclass
class Grid:
    """Grids on one table, in one store.

    Attributes:
        folder: of card, store and reports.
        card: of the table.
    """

    folder: Path
    card: Path

    def words(self, *more: str) -> list[str]:
        """Overrides of a small suite of tables."""
        return [
            "suite=credit",
            *(
                []
                if any(w.startswith("dataset=") for w in more)
                else ["dataset=table", f"dataset.table.card={self.card}"]
            ),
            "defense=none",
            ATTACKS,
            "seeds=1",
            "victims=120",
            "controls=[]",
            "standard=false",
            "exclude=[]",
            "reported=[]",
            f"store={self.folder / 'store'}",
            f"report_dir={self.folder / 'report'}",
            "backend=local",
            "tracking=none",
            "progress=none",
            "label=loans",
            "plugins=[tests]",
            *more,
        ]

    def plan(self, *more: str) -> Plan:
        """What a grid means."""
        return prepare(self.words(*more), None)[1]

    def run(self, *more: str) -> list[dict[str, Any]]:
        """Records of the trials of a grid."""
        plan = execute(*prepare(self.words(*more), None)).plan
        return trials(Store(self.folder / "store"), plan)

    def tensors(self, kind: str, record: dict[str, Any]) -> dict[str, Any]:
        """What a node of a trial has kept."""
        from safetensors.torch import load

        store = Store(self.folder / "store")
        key = record["nodes"][kind]
        (name,) = [n for n in store.files(kind, key) if n.endswith(".safetensors")]
        content = store.file(kind, key, name)
        assert content is not None
        return load(content)


def trials(store: Store, plan: Plan) -> list[dict[str, Any]]:
    """Records of trials as the store has them."""
    wanted = [trial.id for trial in plan.trials]
    found = dict(store.records("trial", wanted))
    return [found.get(key) or store.failure("trial", key) or {} for key in wanted]


def by_attack(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Scores of the attacks that asked a model, by their names."""
    return {r["cell"]["attack"]: r["score"] for r in records if r["access"] != "none"}
