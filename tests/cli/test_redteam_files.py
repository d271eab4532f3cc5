"""``invbench redteam`` on files: an ONNX model with copies of it, tables of answers, mistakes."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from bench.api.campaigns import companions
from bench.api.campaigns.order import Order
from bench.decide import evidence
from tests.cli.redteaming import Place, call, revealing, secretive, texts
from tests.models.external import functions
from tests.models.external.given import skl_onnx

LOOSE = ("--tau=1", "--mu=1", "--loss=1")
FUNCTION = "tests.models.external.functions:answers"
RETRAIN = """
import shutil, sys
seed, out = sys.argv[1:]
if seed == sys.argv[0] or "fail" in sys.argv[0]:
    raise SystemExit("no data today")
shutil.copy(sys.argv[0].replace("again.py", "model.onnx"), out)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    made = Place.made(tmp_path_factory.mktemp("files"))
    frame = made.records()
    columns = ColumnTransformer(
        [
            ("numbers", "passthrough", ["age", "income"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["city", "job", "ill"]),
        ]
    )
    trees = RandomForestClassifier(10, bootstrap=False, max_features=1, random_state=0)
    model = make_pipeline(columns, trees).fit(frame.drop(columns="y"), frame["y"])
    kinds = [(name, FloatTensorType([None, 1])) for name in ("age", "income")]
    kinds += [(name, StringTensorType([None, 1])) for name in ("city", "job", "ill")]
    (made.folder / "model.onnx").write_bytes(skl_onnx(model, kinds))
    (made.folder / "again.py").write_text(RETRAIN)
    (made.folder / "fail-again.py").write_text(RETRAIN)
    functions.GIVEN["model"] = secretive
    return made


@pytest.mark.slow
def test_a_file_and_copies_of_it(place: Place) -> None:
    command = f"{sys.executable} {place.folder / 'again.py'} {{seed}} {{out}}"
    said = place.redteam(
        place.folder / "model.onnx",
        "--campaign=onnx",
        f"--retrain={command}",
        "--copies=2",
        "--json",
        controls="[]",
    )
    assert said.code in (0, 1), said.err
    rows = {(row["access"], row["attack"]): row["L"] for row in said.data["rows"]}
    assert rows
    assert said.data["copies"]
    for row in said.data["copies"]:
        # The copies are the model itself, attacked by the same seeds.
        assert row["L"] == [pytest.approx(rows[row["access"], row["attack"]])] * 2
        assert row["sd"] == pytest.approx(0)
    assert "retrained copies" in (place.shared("onnx") / "redteam.html").read_text()
    failing = command.replace("again.py", "fail-again.py")
    said = place.redteam(
        place.folder / "model.onnx",
        "--campaign=onnx",
        f"--retrain={failing}",
        *LOOSE,
        "--json",
        controls="[]",
        bars=(),
    )
    assert said.code == 1, said.err
    assert "no data today" in said.data["failed"]["copies"]
    assert said.data["rows"]
    page = (place.shared("onnx") / "redteam.html").read_text()
    assert "no data today" in page
    assert "Over retrained copies" in page


def test_copies_are_made_anew_where_what_makes_them_changed(tmp_path: Path) -> None:
    for name in ("model.onnx", "train.py", "members.csv", "other.csv", "card.yaml"):
        (tmp_path / name).write_text("as it was")
    model, command = tmp_path / "model.onnx", f"python {tmp_path / 'train.py'} {{seed}} {{out}}"
    order = Order(
        str(model), str(tmp_path / "card.yaml"), tmp_path / "members.csv", retrain=command
    )
    seen = [companions.state(order, model)]
    (tmp_path / "other.csv").write_text("changed")
    assert companions.state(order, model) == seen[0]
    for name in ("model.onnx", "train.py", "members.csv", "card.yaml"):
        (tmp_path / name).write_text("changed")
        seen.append(companions.state(order, model))
    assert len(set(seen)) == 5


@pytest.mark.slow
def test_a_model_that_is_not_here_answers_by_a_table(place: Place, tmp_path: Path) -> None:
    """And of another table of the same campaign, nothing of the first is left."""
    asks, answers = tmp_path / "asks.csv", tmp_path / "answers.csv"
    said = place.redteam("-", "--campaign=table", f"--asks={asks}", controls="[]")
    assert said.code == 0, said.err
    frame = pd.read_csv(asks)
    scores = secretive(frame)
    frame = frame.assign(no=scores[:, 0], yes=scores[:, 1])
    frame.to_csv(answers, index=False)
    with mock.patch("bench.decide.evidence.read", wraps=evidence.read) as read:
        said = place.redteam(answers, "--campaign=table", "--json", controls="[]")
    assert read.call_count == 1
    assert said.code in (0, 1), said.err
    assert said.data["rows"]
    assert not said.data["unfinished"]
    written = [place.shared("table") / f"redteam.{end}" for end in ("json", "html", "md")]
    written += [place.private("table") / name for name in ("redteam.html", "exposed.csv")]
    assert all(path.exists() for path in written)
    frame.iloc[:-60].to_csv(answers, index=False)
    said = place.redteam(answers, "--campaign=table", controls="[]")
    assert said.code == 1
    assert "no attack ended" in said.err
    assert not any(path.exists() for path in written)
    for path, content in texts(place.shared("table")).items():
        assert not revealing(place, content), path


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_asked(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object) -> None:
        raise AssertionError("the model was tried")

    monkeypatch.setattr("bench.api.campaigns.planning.tried", ask)
    (tmp_path / "file").write_text("")
    place.redteam("-", f"--asks={tmp_path / 'file' / 'asks.csv'}").refused("file")
    words = place.words(FUNCTION)
    words = [word for word in words if not word.startswith("report_dir=")]
    call(*words, f"report_dir={tmp_path / 'file'}").refused("file")
    place.redteam("http://[::1/score", "--budget=9", "--i-am-authorised").refused("URL", "::1")


@pytest.mark.parametrize("word", ["label=x", "suite=small", "seeds=4", "+victims=9"])
def test_words_that_a_campaign_sets_itself(place: Place, word: str) -> None:
    call(*place.words(FUNCTION), word).refused(word, "campaign")


def test_the_model_as_it_is_must_be_attacked(place: Place) -> None:
    functions.GIVEN["model"] = secretive
    words = [word for word in place.words(FUNCTION, "--plan") if not word.startswith("defense=")]
    call(*words, "defense=[rounding]").refused("none")


def test_a_file_that_cannot_be_opened(place: Place, tmp_path: Path) -> None:
    place.redteam(tmp_path / "no.onnx").refused("no.onnx")
    (tmp_path / "model.onnx").write_bytes(pickle.dumps([1, 2]))
    place.redteam(tmp_path / "model.onnx").refused("pickle")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps([1, 2]))
    place.redteam(tmp_path / "model.pkl").refused("pickle")
    place.redteam("no_such_package.module:function").refused("no_such_package")
    place.redteam("nothing").refused("--model")


def test_a_model_of_another_shape(place: Place, tmp_path: Path) -> None:
    functions.GIVEN["model"] = lambda records: np.zeros((len(records) + 1, 2))
    place.redteam(FUNCTION, "--campaign=shape").refused("records")
    functions.GIVEN["model"] = lambda records: np.full((len(records), 7), 1 / 7)
    place.redteam(FUNCTION, "--campaign=shape").refused("7")
    functions.GIVEN["model"] = secretive


def test_a_card_or_tables_that_do_not_fit(place: Place, tmp_path: Path) -> None:
    other = Place.made(tmp_path, 120, columns={"age": "number", "wage": "number"})
    other.redteam(FUNCTION).refused("wage")
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(["a list"]))
    other.redteam(FUNCTION).refused("card")
    shared = Place.made(tmp_path, repeats=False)
    shared.records("members").to_csv(tmp_path / "holdout.csv", index=False)
    shared.redteam(FUNCTION, "--campaign=same").refused("repeat")
    (tmp_path / "holdout.csv").unlink()
    shared.redteam(FUNCTION).refused("holdout.csv")


@pytest.mark.parametrize("name", ["--like", "--architecture", "--stand-in"])
def test_options_that_are_not_known(place: Place, name: str) -> None:
    place.redteam(FUNCTION, f"{name}=mpl").refused("mpl")


def test_what_can_only_fail_at_the_end_is_refused_at_the_beginning(place: Place) -> None:
    place.redteam(FUNCTION, bars=("--tau", "0.2")).refused("--mu")
    place.redteam(FUNCTION, bars=("--tier", "T9")).refused("T9")
    place.redteam(FUNCTION, "--tier=T2").refused("--tier")
    place.redteam(FUNCTION, bars=()).refused("--tier")
    place.redteam(FUNCTION, "--policy=none").refused("none")
    place.redteam(FUNCTION, "--against=never").refused("--against")
    (place.folder / "old.json").write_text('{"rows": [1], "name": "x"}')
    place.redteam(FUNCTION, f"--against={place.folder / 'old.json'}").refused("--against")
    place.redteam(FUNCTION, "--retrain=x {seed} {out}").refused("file")
    onnx = place.folder / "model.onnx"
    place.redteam(onnx, "--retrain=x {seed}").refused("{out}")
    place.redteam(onnx, "--retrain=x '{seed} {out}").refused("--retrain")
    place.redteam("-").refused("--asks")
