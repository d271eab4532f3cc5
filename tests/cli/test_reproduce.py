from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.engine.store import Store
from bench.exchange import pack
from tests.cli.conftest import CONF

RUN = ("--config-dir", CONF, "progress=none")
CODE = ("--allow-code", "tests")
CELL = "toy/toy/toy_training/toy[does=work]/1"


@pytest.mark.slow
def test_a_trial_of_the_store_or_of_a_pack_is_reproduced_bit_for_bit(
    verb, stores, packed, tmp_path: Path
) -> None:
    keep = tmp_path / "keep"
    code, out, err = verb(
        "reproduce", CELL, f"store={stores['strong']}", "--keep", keep, "progress=none"
    )
    assert code == 0, err
    assert "Reproduced: the same bit for bit." in out
    assert "invbench run suite=toy" in out
    assert "--config-dir DIR_OF_YOUR_OPTIONS" in out
    assert len(Store(keep).ids("trial")) == 1
    code, out, err = verb("reproduce", CELL, "--from", packed("strong"), *RUN, *CODE)
    assert code == 0, err
    assert "Reproduced: the same bit for bit." in out
    code, _, err = verb("reproduce", CELL, f"store={stores['strong']}", "--keep", keep)
    assert code == 2
    assert "is not empty" in err


@pytest.mark.slow
def test_another_result_is_not_reproduced_and_what_changed_is_said(
    verb, packed, tmp_path: Path
) -> None:
    path, to = packed("strong"), tmp_path / "changed.zip"
    found = pack.read(path)
    records = [
        r.model_copy(update={"score": r.score.model_copy(update={"L": 0.5, "value": 0.5})})
        if r.cell.key() == CELL and r.score
        else r
        for r in found.records
    ]
    pack.write(replace(found, records=records), to)
    code, out, _ = verb("reproduce", CELL, "--from", to, *RUN, *CODE)
    assert code == 1
    assert "NOT reproduced: not the same (score): L differs by" in out
    code, out, _ = verb("reproduce", CELL, "--from", path, *RUN, *CODE, "victims=20")
    assert "It has changed since:" in out
    assert "attack: it was " in out


@pytest.mark.parametrize(
    ("name", "message"),
    [("toy/toy/none/toy/99", "There is no trial"), ("", "names "), ("zzz", "There is no trial")],
)
def test_mistakes(verb, packed, name: str, message: str) -> None:
    code, _, err = verb("reproduce", name, "--from", packed("weak"), *RUN)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_no_store_is_said_without_making_one(verb, tmp_path: Path) -> None:
    code, _, err = verb("reproduce", "abc", f"store={tmp_path / 'absent'}")
    assert code == 2
    assert "There is no store" in err
    assert not (tmp_path / "absent").exists()
