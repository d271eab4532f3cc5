from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.contract import Splits, UserError
from bench.data import iwpc
from bench.data.iwpc import ENZYME_INDUCERS, Iwpc

REAL = os.environ.get("INVBENCH_DATA_ROOT")
real = pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
VKORC1, CYP2C9 = "VKORC1 -1639 consensus", "CYP2C9 consensus"


def patients(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {
        "PharmGKB Subject ID": [f"PA{i}" for i in range(n)],
        "Race": rng.choice(Iwpc.categories["race"], n),
        "Age": rng.choice(["19-Oct", "60 - 69", "90+"], n),
        "Height (cm)": rng.normal(170, 10, n).round(2),
        "Weight (kg)": rng.normal(75, 10, n).round(2),
        VKORC1: rng.choice(Iwpc.categories["vkorc1"], n),
        CYP2C9: rng.choice(["*1/*1", "*1/*2", "*1/*3", "*2/*3", "*3/*3"], n),
        "Amiodarone (Cordarone)": rng.choice(["0", "1", "NA"], n),
        iwpc.STABLE: np.repeat("1", n),
        iwpc.DOSE: rng.uniform(5, 80, n).round(1),
    }
    columns |= {c: rng.choice(["0", "1", "NA"], n) for c in ENZYME_INDUCERS}
    return pd.DataFrame(columns).astype(object)


def write(root: Path, frame: pd.DataFrame) -> Path:
    (root / "iwpc").mkdir()
    frame.to_csv(root / "iwpc/warfarin.csv", index=False, encoding="utf-8-sig")
    return root


def load(root: Path, seed: int = 0, **options: object) -> Splits:
    return Iwpc(sha256=None, **options).load(seed, root)  # type: ignore[arg-type]


def test_the_dose_is_told_back(tmp_path: Path) -> None:
    frame = patients()
    splits = load(write(tmp_path, frame))
    assert splits.card.tasks == Iwpc.tasks == ("regression",)
    assert splits.card.n_classes == Iwpc().n_classes == 0
    outcome = splits.card.outcome
    assert outcome is not None and (outcome.unit, outcome.power) == ("mg/week", 2.0)
    for split in (splits.train, splits.test, splits.public):
        dose = frame[iwpc.DOSE].to_numpy(float)[split.person.numpy()]
        assert np.allclose(outcome.natural(split.y).numpy(), dose, rtol=1e-4)
    assert splits.public.y.mean().abs() < 1e-5
    assert splits.facts["outcome_std"] == pytest.approx(21.6, abs=3)


def test_inputs_are_those_of_the_algorithm(tmp_path: Path) -> None:
    frame = patients()
    splits = load(write(tmp_path, frame))
    fields = {f.name: f for f in splits.card.fields}
    assert set(fields) == {"age_decade", "height", "weight", *Iwpc.categories}
    row = frame.iloc[splits.train.person.numpy()]

    def told(name: str) -> list[str]:
        part = splits.train.x[:, slice(*fields[name].columns)]
        return [fields[name].values[i] for i in part.argmax(1)]

    induced = (row[list(ENZYME_INDUCERS)] == "1").any(axis=1)
    assert told("enzyme_inducer") == ["yes" if i else "no" for i in induced]
    assert told("cyp2c9") == [g if g in iwpc.CYP2C9 else "other" for g in row[CYP2C9]]
    age = splits.train.x[:, fields["age_decade"].columns[0]]
    youngest = age[torch.tensor((row["Age"] == "19-Oct").to_numpy())]
    assert (youngest == age.min()).all(), "19-Oct is 10 - 19"


def test_who_is_left_out_and_what_is_filled(tmp_path: Path) -> None:
    frame = patients()
    frame.loc[0, iwpc.STABLE] = "0"
    frame.loc[1, VKORC1] = "NA"
    frame.loc[2, CYP2C9] = "NA"
    frame.loc[3, iwpc.DOSE] = "NA"
    frame.loc[4:8, "Height (cm)"] = "NA"
    frame.loc[9, "Age"] = "NA"
    frame.loc[[20, 21]] = frame.loc[[22, 22]].to_numpy()
    splits = load(write(tmp_path, frame))
    assert splits.facts["n_rows"] == 394
    assert splits.facts["duplicates_dropped"] == 2
    assert splits.facts["gaps_filled"] == {"age_decade": 1, "height": 5}
    assert any(f.name == "height given" for f in splits.card.fields)


@pytest.mark.parametrize("sensitive", list(Iwpc.sensitives))
def test_sensitive_genotypes(sensitive: str, tmp_path: Path) -> None:
    splits = load(write(tmp_path, patients()), sensitive=sensitive)
    column, codes = Iwpc.sensitives[sensitive]
    attribute = splits.card.sensitive
    assert attribute is not None and attribute.values == tuple(dict.fromkeys(codes.values()))
    assert [f.name for f in splits.card.fields].count(column) == 1
    assert "sensitive_imputer_auc" in splits.facts


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("Age", "Jan-19", "'Age' holds .'Jan-19'"),
        (VKORC1, "C/C", "'vkorc1' holds .'C/C'"),
        (iwpc.DOSE, "much", "'dose', record 6 holds 'much'"),
        (iwpc.DOSE, "-3", "doses outside"),
        ("Race", "Elf", "'race' holds .'Elf'"),
    ],
)
def test_altered_copies_are_refused(column: str, value: str, words: str, tmp_path: Path) -> None:
    frame = patients()
    frame.loc[5, column] = value
    with pytest.raises(UserError, match=words):
        load(write(tmp_path, frame))


def test_missing_and_other_files(tmp_path: Path) -> None:
    assert "data_root=" in (Iwpc().missing(tmp_path) or "")
    root = write(tmp_path, patients().drop(columns=VKORC1))
    with pytest.raises(UserError, match="no column 'VKORC1 -1639 consensus'"):
        load(root)
    with pytest.raises(UserError, match="sha256"):
        Iwpc().load(0, root)


@real
def test_the_published_algorithm_fits_the_real_file() -> None:
    """NEJM 360:753, supplementary appendix S1e: the square root of the weekly dose."""
    assert REAL is not None
    splits = Iwpc().load(0, Path(REAL))
    assert splits.facts["n_rows"] == 3746
    assert splits.facts["sensitive_imputer_auc"] < 0.85 and "no_headroom" not in splits.facts
    frame = iwpc.read_patients(Path(REAL) / "iwpc/warfarin.csv")
    frame = frame[frame[["dose", "vkorc1", "cyp2c9"]].notna().all(axis=1)]
    frame = frame.dropna(subset=["age_decade", "height", "weight"])
    weights = {
        "vkorc1": {"A/G": -0.8677, "A/A": -1.6974},
        "cyp2c9": {"*1/*2": -0.5211, "*1/*3": -0.9357, "other": -1.5},
        "race": {"Asian": -0.1092, "Black or African American": -0.2760, "Unknown": -0.1032},
        "enzyme_inducer": {"yes": 1.1816},
        "amiodarone": {"yes": -0.5503},
    }
    root = 5.6044 - 0.2614 * frame["age_decade"] + 0.0087 * frame["height"]
    root = root + 0.0128 * frame["weight"]
    for column, values in weights.items():
        root = root + frame[column].map(values).fillna(0.0).astype(float)
    residual = np.sqrt(frame["dose"]) - root
    assert 1 - residual.var() / np.sqrt(frame["dose"]).var() > 0.4
    assert abs(residual.mean()) < 0.1
