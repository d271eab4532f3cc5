from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.exchange import pack
from bench.exchange.pack import Pack
from tests.report import fake_records as fake


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A result, one that leaks more, and one of other data."""
    records = [
        fake.trial("diabetes", "mlp", defense, attack, seed)
        for defense in ("none", "dropout")
        for attack in ("imputer", "neuron")
        for seed in range(6)
    ]
    worse = [
        r.model_copy(
            update={
                "score": r.score.model_copy(
                    update={"L": (r.score.L or 0.0) + 0.4 + r.cell.seed / 100}
                ),
                "trial_id": f"{r.trial_id}-b",
            }
        )
        if r.score and (r.cell.attack, r.cell.defense) == ("neuron", "none")
        else r
        for r in records
    ]
    other = [
        r.model_copy(update={"data": r.data.model_copy(update={"facts": {"sha256": "0" * 64}})})
        for r in records
    ]
    base = Pack("fake", records, {"suite": "fake", "trials": {}})
    out = {}
    for name, made in (("a", records), ("b", worse), ("other", other)):
        out[name] = tmp_path / f"{name}.zip"
        pack.write(replace(base, records=made), out[name])
    return out


def test_the_exit_code_says_whether_something_leaks_more(verb, files) -> None:
    code, out, _ = verb("compare", files["a"], files["b"])
    assert code == 1
    assert "1 leak more" in out
    assert any("none" in line and line.endswith("leaks more") for line in out.splitlines())
    code, out, _ = verb("compare", files["b"], files["a"])
    assert code == 0
    assert "0 leak more, 1 leak less" in out
    assert verb("compare", files["b"], files["a"], "--fail-on", "any")[0] == 1


def test_other_data_is_refused_unless_asked_for(verb, files) -> None:
    code, out, err = verb("compare", files["a"], files["other"])
    assert code == 2
    assert out == ""
    assert "cannot be compared" in err
    assert "data (sha256) of data set diabetes" in err
    code, out, _ = verb("compare", files["a"], files["other"], "--anyway")
    assert code == 0
    assert out.startswith("NOT COMPARABLE: data (sha256)")


def test_formats(verb, files) -> None:
    _, out, _ = verb("compare", files["a"], files["b"], "--json")
    assert json.loads(out)["sentence"].startswith("2 rows on 1 board compared: 1 leak more")
    _, out, _ = verb("compare", files["a"], files["b"], "--markdown")
    assert out.startswith("**")
    code, _, err = verb("compare", files["a"], files["b"], "--json", "--markdown")
    assert code == 2
    assert "exclude each other" in err


def test_what_is_no_result_is_a_mistake(verb, files, tmp_path: Path) -> None:
    code, _, err = verb("compare", files["a"], "nothing", f"store={tmp_path / 'none'}")
    assert code == 2
    assert "'nothing' is no pack" in err


def test_a_result_against_itself_is_the_same_and_exit_code_0(verb, files) -> None:
    code, out, err = verb("compare", files["a"], files["a"], "--fail-on", "any")
    assert (code, err) == (0, "")
    assert "2 stay the same, 0 are unclear." in " ".join(out.split())
    assert out.count(".") == 1, "one sentence"


def test_without_a_board_in_common_nothing_is_compared(verb, files, tmp_path: Path) -> None:
    records = fake.build(3, ("baskets",))
    pack.write(Pack("other", records, {"suite": "other", "trials": {}}), tmp_path / "o.zip")
    code, out, err = verb("compare", files["a"], tmp_path / "o.zip")
    assert (code, out) == (2, "")
    assert "have no board in common" in err
    assert "diabetes/mlp/attribute/weights" in err
    assert "baskets/mlp/output_reconstruction/scores" in err
