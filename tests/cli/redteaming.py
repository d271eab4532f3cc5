"""What the tests of ``invbench redteam`` share: people, models that leak or do not, a caller."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import yaml

from bench.cli import main

COLUMNS = {
    "age": "number",
    "income": "number",
    "city": "category",
    "job": "category",
    "ill": "category",
}
SENSITIVE = "ill"
CONF = Path(__file__).parents[2] / "conf" / "policy"
BARS = ("--tau", "0.3", "--mu", "0.3", "--loss", "0.1")
PARTS = ("members", "holdout", "public")


def people(rows: int, seed: int) -> pd.DataFrame:
    """Records whose secret nothing tells anything of."""
    rng = np.random.default_rng(seed)
    ill = rng.choice(["no", "flu"], rows)
    age = rng.integers(18, 90, rows).astype(float)
    return pd.DataFrame(
        {
            "age": age,
            "income": np.round(rng.normal(40, 10, rows), 2),
            "city": rng.choice(["Bern", "Rome"], rows),
            "job": rng.choice(["baker", "clerk"], rows),
            SENSITIVE: ill,
            "y": np.where(rng.random(rows) < 0.15 + 0.7 * (age > 50), "yes", "no"),
        }
    )


def secretive(records: Any) -> np.ndarray:
    """Scores that the secret does not change."""
    older = np.asarray(records["age"], dtype=float) > 50
    return np.stack([np.where(older, 0.15, 0.85), np.where(older, 0.85, 0.15)], 1)


def memory(frame: pd.DataFrame) -> Any:
    """A model that is sure of the records it was trained on, and of no others."""
    known = dict(zip(_keys(frame), frame["y"] == "yes", strict=True))

    def scores(records: pd.DataFrame) -> np.ndarray:
        answers = secretive(records)
        for place, key in enumerate(_keys(records)):
            if key in known:
                answers[place] = (0.01, 0.99) if known[key] else (0.99, 0.01)
        return answers

    return scores


def _keys(frame: pd.DataFrame) -> list[str]:
    ages = frame["age"].round().astype(int).astype(str)
    return list(ages + " " + frame["income"].round(2).astype(str) + " " + frame[SENSITIVE])


@dataclass(frozen=True)
class Said:
    """How a verb ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """Its output as JSON."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def refused(self, *words: str) -> None:
        """It must be one sentence to the user that holds these words, and no fault of ours."""
        assert self.code == 2, self.err
        assert "Traceback" not in self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("invbench: ")]
        for word in words:
            assert word.lower() in line.lower(), line


def call(*words: object) -> Said:
    """Run invbench in this process."""
    out, err = io.StringIO(), io.StringIO()
    clean = {"commit": "0" * 40, "dirty": False}  # nobody should have to commit to run tests
    with (
        mock.patch("bench.engine.manifest.git_state", lambda: clean),
        mock.patch.object(sys, "argv", ["invbench", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Said(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Place:
    """A folder with the tables and the card of some people, a store and a folder of reports."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, rows: int = 120, **keys: Any) -> Place:
        """Write the tables and the card."""
        for seed, part in enumerate(PARTS):
            people(rows, seed).to_csv(folder / f"{part}.csv", index=False)
        card = {
            "name": "people",
            "sector": "other",
            "source": "made up",
            "terms": "none",
            "target": "y",
            "sensitive": SENSITIVE,
            "columns": COLUMNS,
            "repeats": True,
            "preprocessing": "model",
        }
        (folder / "card.yaml").write_text(yaml.safe_dump({**card, **keys}))
        return cls(folder)

    def records(self, part: str = "members") -> pd.DataFrame:
        """A table as a user has it."""
        return pd.read_csv(self.folder / f"{part}.csv")

    def words(
        self,
        model: object,
        *more: object,
        parts: Sequence[str] = PARTS,
        bars: Sequence[str] = BARS,
        attacks: str = "attribute_map",
        controls: str = "[untrained,repeat]",
        retries: str = "",
    ) -> list[str]:
        """A command with few trials."""
        return [
            "redteam",
            f"--model={model}",
            f"--card={self.folder / 'card.yaml'}",
            *(f"--{part}={self.folder / part}.csv" for part in parts),
            *bars,
            "--seeds=1",
            "--victims=40",
            *map(str, more),
            "defense=[none,rounding]",
            "defense.rounding.sweep={decimals:[1]}",
            f"attack=[{attacks}]",
            "standard=false",
            f"controls={controls}",
            f"store={self.folder / 'store'}",
            f"report_dir={self.folder / 'report'}",
            "backend=local",
            "tracking=none",
            "progress=none",
            *([retries] if retries else []),
        ]

    def redteam(self, model: object, *more: object, **ways: Any) -> Said:
        """Attack a model."""
        return call(*self.words(model, *more, **ways))

    def shared(self, campaign: str) -> Path:
        """The folder that its owner may show to others."""
        return self.folder / "report" / "redteam" / campaign

    def private(self, campaign: str) -> Path:
        """The folder that is for its owner alone."""
        return self.folder / "report" / "redteam-private" / campaign

    def transcript(self, campaign: str) -> Path:
        """What a server was asked and answered."""
        return self.folder / "report" / "redteam-work" / campaign / "transcript.sqlite"


def texts(folder: Path) -> dict[Path, bytes]:
    """What all files below a folder hold, but for the programs of a page."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".js"]
    return {path: path.read_bytes() for path in files}


def revealing(place: Place, content: bytes) -> bool:
    """Whether a text holds an income beside the age of who has it."""
    numbers = re.compile(rb"\d+(?:\.\d+)?")
    told = list(map(float, numbers.findall(content)))
    near = {(one, other) for i, one in enumerate(told) for other in told[i + 1 : i + 4]}
    people = [place.records(part) for part in PARTS[:2]]
    return any(
        pair in near for table in people for pair in zip(table["age"], table["income"], strict=True)
    )


def policy(folder: Path) -> Path:
    """The default policy, but for how often and on how many people attacks must have been run."""
    content = yaml.safe_load((CONF / "default.yaml").read_text())
    content["one_target"] = {"seeds": 1, "victims": 40}
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump({**content, "name": "small"}))
    return path
