from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.contract import Splits, UserError
from bench.data.adult_mehnaz import AdultMehnaz
from bench.data.gss import Gss
from bench.data.mehnaz import MehnazTable
from bench.data.steak import Steak

REAL = os.environ.get("INVBENCH_DATA_ROOT")
real = pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
TABLES: tuple[type[MehnazTable], ...] = (AdultMehnaz, Gss, Steak)


def table(cls: type[MehnazTable], n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {c: rng.integers(1, 8, n) for c in cls.numeric}
    columns |= {c: rng.choice(v, n) for c, v in cls.categories.items()}
    columns[cls.target] = rng.choice(list(cls.classes), n)
    if cls.person is not None:
        columns[cls.person] = np.arange(n) + 10000 * seed
    return pd.DataFrame(columns)


def write(root: Path, cls: type[MehnazTable], *parts: pd.DataFrame) -> Path:
    (root / "mehnaz_attr_inference").mkdir()
    for file, part in zip(cls.names, parts, strict=True):
        part.to_csv(root / "mehnaz_attr_inference" / file, index=False)
    return root


def load(root: Path, cls: type[MehnazTable], seed: int = 0, **options: str) -> Splits:
    return cls(sha256=None, **options).load(seed, root)  # type: ignore[arg-type]


@pytest.fixture(params=TABLES, ids=lambda cls: cls.name)
def cls(request: pytest.FixtureRequest) -> type[MehnazTable]:
    return request.param  # type: ignore[no-any-return]


def test_paper_trains_on_the_papers_file(cls: type[MehnazTable], tmp_path: Path) -> None:
    first, second = table(cls, 400, 1), table(cls, 200, 2)
    root = write(tmp_path, cls, first, second)
    splits, other = (load(root, cls, seed, split="paper") for seed in (0, 1))
    assert splits.train.person.tolist() == list(range(400))
    y = [list(cls.classes).index(v) for v in first[cls.target]]
    assert splits.train.y.tolist() == y
    dropped = splits.facts.get("copies_dropped", 0)
    assert len(splits.test) + len(splits.public) == 200 - dropped
    assert not set(splits.test.person.tolist()) & set(splits.public.person.tolist())
    assert abs(len(splits.test) - len(splits.public)) <= 5
    assert not torch.equal(splits.test.person, other.test.person), "the seed cuts the other file"


def test_random_mixes_both_files(cls: type[MehnazTable], tmp_path: Path) -> None:
    root = write(tmp_path, cls, table(cls, 400, 1), table(cls, 300, 2))
    splits = load(root, cls, split="random")
    assert splits.facts["n_train"] == 280
    assert (splits.train.person >= 400).any()
    assert splits.card.name == cls.name


def test_every_sensitive_option_loads(cls: type[MehnazTable], tmp_path: Path) -> None:
    root = write(tmp_path, cls, table(cls, 600, 1), table(cls, 400, 2))
    for name, (column, codes) in cls.sensitives.items():
        sensitive = load(root, cls, sensitive=name, split="random").card.sensitive
        assert sensitive is not None
        assert (sensitive.name, set(sensitive.values)) == (name, set(codes.values()))
        assert sensitive.columns == (0, len(set(codes.values())))
        assert column in cls.categories


def test_codes_for_no_answer_are_gaps(tmp_path: Path) -> None:
    first = table(Gss, 400, 1)
    first.loc[:4, "age"] = 99
    splits = load(write(tmp_path, Gss, first, table(Gss, 200, 2)), Gss)
    assert splits.facts["gaps_filled"] == {"age": 5}
    assert splits.train.x.abs().max() < 20, "99 is no age"


def test_who_stands_in_both_files_is_a_member_once(tmp_path: Path) -> None:
    first, second = table(Steak, 400, 1), table(Steak, 200, 2)
    second.loc[:49] = first.loc[:49].to_numpy()
    second.loc[60:, "income"] = None
    second.loc[60:69, "age"] = None
    root = write(tmp_path, Steak, first, second)
    splits = load(root, Steak, split="paper")
    assert (len(splits.train), len(splits.test) + len(splits.public)) == (400, 150)
    aged = load(root, Steak, split="paper", sensitive="age")
    assert aged.facts["sensitive_unknown_dropped"] == 10


def test_copies_of_members_are_dropped_or_counted(tmp_path: Path) -> None:
    for i, (cls, key) in enumerate(
        ((AdultMehnaz, "copies_dropped"), (Gss, "duplicates_across_splits"))
    ):
        first, second = table(cls, 400, 1), table(cls, 200, 2)
        second.loc[:9] = first.loc[:9].to_numpy()
        (tmp_path / str(i)).mkdir()
        splits = load(write(tmp_path / str(i), cls, first, second), cls)
        assert splits.facts[key] >= 10
        assert len(splits.train) == 400


@pytest.mark.parametrize("change", ["column", "target", "value", "number"])
def test_altered_copies_are_refused(change: str, cls: type[MehnazTable], tmp_path: Path) -> None:
    first, column = table(cls, 400, 1), next(iter(cls.categories))
    if change == "column":
        first, words = first.drop(columns=column), f"no column '{column}'"
    elif change == "number":
        if not cls.numeric:
            pytest.skip("it has no numbers")
        column = cls.numeric[0]
        first[column] = first[column].astype(object)
        first.loc[3, column], words = "x", f"'{column}', record 4 holds 'x'"
    else:
        column = cls.target if change == "target" else column
        first.loc[3, column], words = "zz", f"'{column}' holds .'zz'"
    root = write(tmp_path, cls, first, table(cls, 200, 2))
    with pytest.raises(UserError, match=words):
        load(root, cls)


def test_fixed_splits_and_missing_files(cls: type[MehnazTable], tmp_path: Path) -> None:
    assert cls(split="paper").fixed_split and not cls(split="random").fixed_split
    assert cls.names[0] in (cls().missing(tmp_path) or "")
    root = write(tmp_path, cls, table(cls, 100, 1), table(cls, 100, 2))
    with pytest.raises(UserError, match="sha256"):
        cls().load(0, root)


@real
@pytest.mark.parametrize(
    ("cls", "members", "others"),
    [(AdultMehnaz, 35222, 9861), (Gss, 15235, 5079), (Steak, 331, 70)],
)
def test_the_real_files(cls: type[MehnazTable], members: int, others: int) -> None:
    assert REAL is not None
    splits = cls(split="paper").load(0, Path(REAL))
    assert len(splits.train) == members
    assert len(splits.test) + len(splits.public) == others
    assert splits.facts["sensitive_imputer_auc"] < 0.85
    assert "no_headroom" not in splits.facts
