from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench.contract import Splits, UserError
from bench.data.credit_default import NAMES, CreditDefault

REAL = os.environ.get("INVBENCH_DATA_ROOT")


def write(root: Path, n: int = 400) -> Path:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 9999, (n, len(NAMES)))
    for name, values in (("X2", (1, 2)), ("X3", range(7)), ("X4", range(4)), ("Y", (0, 1))):
        rows[:, list(NAMES).index(name)] = rng.choice(list(values), n)
    lines = [",".join(map(str, (i, *row))) for i, row in enumerate(rows)]
    path = root / "credit_default/credit_default.csv"
    path.parent.mkdir()
    path.write_text("\n".join([",".join(("ID", *NAMES)), *lines]), encoding="utf-8-sig")
    return root


def people(splits: Splits) -> set[int]:
    return {int(one) for part in (splits.train, splits.test, splits.public) for one in part.person}


def of(root: Path, repeat: int = 0, seed: int = 0, **options: object) -> Splits:
    made = CreditDefault(sha256=None, **options)  # type: ignore[arg-type]
    return made.of_repeat(repeat).load(seed, root)


def test_the_file_is_read(tmp_path: Path) -> None:
    splits = of(write(tmp_path), records=None)
    assert [len(s) for s in (splits.train, splits.test, splits.public)] == [160, 120, 120]
    assert splits.card.sensitive is not None
    assert splits.card.sensitive.values == ("not married", "married")
    assert splits.facts["records_in_files"] == 400


def test_every_repeat_has_people_of_its_own_where_it_has_its_own_table(tmp_path: Path) -> None:
    root = write(tmp_path)
    tables = [of(root, k, seed=k, records=100, table="each") for k in range(4)]
    together = [one for splits in tables for one in people(splits)]
    assert len(together) == len(set(together)) == 400
    assert [splits.facts["disjoint_table"] for splits in tables] == [0, 1, 2, 3]
    with pytest.raises(UserError, match="at most 4 seeds"):
        of(root, 4, records=100, table="each")


def test_a_named_table_is_the_same_for_every_seed_and_is_split_anew(tmp_path: Path) -> None:
    root = write(tmp_path)
    first, second = (of(root, k, seed=k, records=100, table=2) for k in range(2))
    assert people(first) == people(second)
    assert set(first.train.person.tolist()) != set(second.train.person.tolist())
    each = of(root, 2, seed=2, records=100, table="each")
    assert people(each) == people(first)


@pytest.mark.skipif(REAL is None, reason="INVBENCH_DATA_ROOT names no folder of data sets")
def test_the_real_file() -> None:
    splits = CreditDefault(records=1000, table="each").of_repeat(28).load(0, Path(str(REAL)))
    assert splits.facts["records_in_files"] == 30000
    assert sum(len(s) for s in (splits.train, splits.test, splits.public)) == 1000
