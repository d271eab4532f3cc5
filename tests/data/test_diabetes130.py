from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.contract import Splits, UserError
from bench.data import diabetes130
from bench.data.diabetes130 import CATEGORIES, DRUGS, Diabetes130

REAL = os.environ.get("INVBENCH_DATA_ROOT")
real = pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")


def encounters(n: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {c: rng.integers(0, 40, n).astype(str) for c in Diabetes130.numeric}
    columns |= {c: rng.choice(v, n) for c, v in CATEGORIES.items()}
    columns |= {c: rng.choice(["250.01", "428", "V57", "?"], n) for c in diabetes130.DIAGNOSES}
    columns |= {
        "admission_type_id": rng.choice(["1", "3", "6"], n),
        "discharge_disposition_id": rng.choice(["1", "3", "18"], n),
        "admission_source_id": rng.choice(["1", "7", "4"], n),
        "medical_specialty": rng.choice(["?", "Surgery-Neuro", "Cardiology", "Dentistry"], n),
        "readmitted": rng.choice(["NO", ">30", "<30"], n),
        "encounter_id": rng.permutation(n).astype(str),
        "patient_nbr": np.arange(n).astype(str),
        "weight": np.repeat("?", n),
    }
    return pd.DataFrame(columns)


def write(root: Path, frame: pd.DataFrame) -> Path:
    (root / "diabetes130").mkdir()
    text = io.StringIO()
    frame.to_csv(text, index=False)
    with zipfile.ZipFile(root / "diabetes130/dataset_diabetes.zip", "w") as archive:
        archive.writestr("dataset_diabetes/diabetic_data.csv", text.getvalue())
    return root


def load(root: Path, seed: int = 0, **options: object) -> Splits:
    return Diabetes130(sha256=None, **options).load(seed, root)  # type: ignore[arg-type]


def test_chapters_of_icd9() -> None:
    chapters = {
        "diabetes": "250.83 250",
        "circulatory": "428 785",
        "respiratory": "486 786",
        "digestive": "574",
        "injury": "996",
        "musculoskeletal": "715",
        "genitourinary": "599 788",
        "neoplasms": "197",
        "other": "V57 E909 276 8",
    }
    for chapter, codes in chapters.items():
        assert set(diabetes130.chapter(pd.Series(codes.split()))) == {chapter}
    assert diabetes130.chapter(pd.Series(["428", np.nan])).isna().tolist() == [False, True]


def test_a_patient_counts_once_by_the_first_encounter(tmp_path: Path) -> None:
    frame = encounters()
    later = frame.iloc[:80].assign(
        encounter_id=[str(10000 + i) for i in range(80)], time_in_hospital="999"
    )
    earlier = frame.iloc[80:90].assign(
        encounter_id=[str(-i - 1) for i in range(10)], discharge_disposition_id="11"
    )
    splits = load(write(tmp_path, pd.concat([later, frame, earlier])), records=None)
    assert (splits.facts["encounters"], splits.facts["patients"]) == (690, 590)
    everybody = torch.cat([splits.train.person, splits.test.person, splits.public.person])
    assert len(everybody.unique()) == len(everybody) == 590
    assert splits.card.privacy_unit == "person"
    at = splits.card.columns.index("time_in_hospital")
    assert max(s.x[:, at].max() for s in (splits.train, splits.test, splits.public)) < 10


@pytest.mark.parametrize("sensitive", list(Diabetes130.sensitives))
def test_sensitive_attributes(sensitive: str, tmp_path: Path) -> None:
    frame = encounters()
    frame.loc[:9, "race"] = "?"
    frame.loc[10:12, "gender"] = "Unknown/Invalid"
    splits = load(write(tmp_path, frame), sensitive=sensitive)
    fields = {f.name for f in splits.card.fields}
    assert splits.facts["patients"] == (587 if sensitive == "race" else 597)
    assert ("change" in fields) == (sensitive != "insulin")
    assert set(DRUGS) <= fields
    codes = next(f for f in splits.card.fields if f.name == "medical_specialty")
    assert codes.values == (*CATEGORIES["medical_specialty"], "(missing)")


@pytest.mark.parametrize(("label", "counts"), [("any", 2), ("early", 2), ("when", 3)])
def test_labels(label: str, counts: int, tmp_path: Path) -> None:
    dataset = Diabetes130(label=label, sha256=None)
    splits = dataset.load(0, write(tmp_path, encounters()))
    assert dataset.n_classes == splits.card.n_classes == counts
    share = splits.facts["class_counts"][-1] / sum(splits.facts["class_counts"])
    assert share == pytest.approx(2 / 3 if label == "any" else 1 / 3, abs=0.06)


def test_records_are_drawn_by_the_seed(tmp_path: Path) -> None:
    root = write(tmp_path, encounters())
    a, b, c = (load(root, seed, records=200).train for seed in (0, 0, 1))
    assert len(a) == 80
    assert torch.equal(a.x, b.x)
    assert not torch.equal(a.person, c.person)


@pytest.mark.parametrize("column", ["readmitted", "race", "insulin", "num_medications"])
def test_altered_copies_are_refused(column: str, tmp_path: Path) -> None:
    frame = encounters()
    frame.loc[5, column] = "zz"
    with pytest.raises(UserError, match=f"'{column}'.*'zz'"):
        load(write(tmp_path, frame), sensitive="gender")


def test_bad_archives(tmp_path: Path) -> None:
    root = write(tmp_path, encounters().drop(columns="insulin"))
    with pytest.raises(UserError, match="no column 'insulin'"):
        load(root)
    path = root / "diabetes130/dataset_diabetes.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(UserError, match="no zip archive"):
        load(root)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(UserError, match="holds 0 files"):
        load(root)
    with pytest.raises(UserError, match="sha256"):
        Diabetes130().load(0, root)
    assert "data_root=" in (Diabetes130().missing(None) or "")


@real
def test_the_real_archive() -> None:
    assert REAL is not None
    facts = Diabetes130().load(0, Path(REAL)).facts
    assert (facts["encounters"], facts["n_train"]) == (101766, 3200)
    assert facts["sensitive_imputer_auc"] < 0.85 and "no_headroom" not in facts
