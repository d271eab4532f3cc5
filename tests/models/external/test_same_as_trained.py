"""A model that is given scores as it does where the harness has trained it itself (PROTOCOL 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from torch import nn

from bench.contract import Splits
from bench.models.mlp import Mlp
from bench.models.training import restore
from tests.models.external import functions
from tests.models.external.given import skl_onnx, torch_onnx
from tests.models.external.grids import Grid, by_attack, loaded, loans, written

CLOSE = 1e-3
SETTINGS = {
    "random_forest": ("trees=20", "max_depth=6"),
    "boosting": ("trees=20",),
    "mlp": ("epochs=30",),
}


def options(model: str) -> list[str]:
    return [f"model={model}", *(f"model.{model}.{word}" for word in SETTINGS[model])]


def forest(model: str, splits: Splits, seed: int) -> bytes:
    """The same trees, by scikit-learn itself."""
    from skl2onnx.common.data_types import FloatTensorType

    trees: Any = (
        RandomForestClassifier(20, max_depth=6, random_state=seed % 2**32)
        if model == "random_forest"
        else GradientBoostingClassifier(n_estimators=20, max_depth=3, random_state=seed % 2**32)
    )
    trees.fit(splits.train.x.numpy(), splits.train.y.numpy())
    width = splits.train.x.shape[1]
    shape = [("x", FloatTensorType([None, width]))]
    return skl_onnx(trees, shape, options={id(trees): {"zipmap": False}})


def network(grid: Grid, record: dict[str, Any], splits: Splits, seed: int) -> nn.Module:
    """The very network that the harness trained, with a softmax."""
    state = grid.tensors("target", record)
    trained = restore(Mlp(epochs=30), [], splits, seed, state, "cpu")
    return nn.Sequential(trained, nn.Softmax(1)).eval()


def agree(mine: list[dict[str, Any]], given: list[dict[str, Any]]) -> None:
    ours, theirs = by_attack(mine), by_attack(given)
    assert list(ours) == list(theirs)
    assert len(ours) >= 6
    for name, score in theirs.items():
        assert score["L"] == pytest.approx(ours[name]["L"], abs=CLOSE), name
        assert score["M"] == pytest.approx(ours[name]["M"], abs=CLOSE), name
        assert abs(ours[name]["L"] - score["L"]) <= 1.96 * score["L_error"], name
    for one, other in zip(mine, given, strict=True):
        for metric, value in one["utility"]["all"].items():
            # Calibration has bins, between which a last digit may move a record.
            if value is not None and metric != "ece":
                assert other["utility"]["all"][metric] == pytest.approx(value, abs=CLOSE), metric
    assert max(score["L"] for score in ours.values()) > 0.05, "there is something to agree on"


@pytest.mark.slow
@pytest.mark.parametrize("model", list(SETTINGS))
def test_an_exported_model_leaks_as_the_trained_one(model: str, tmp_path: Path) -> None:
    grid = Grid(tmp_path, written(tmp_path))
    trained = grid.run(*options(model))
    splits = loaded(grid.card)
    (seed,) = {
        n.payload["seed"] for n in grid.plan(*options(model)).nodes.values() if n.kind == "target"
    }
    if model == "mlp":
        content = torch_onnx(network(grid, trained[0], splits, seed), splits.train.x[:2].numpy())
    else:
        content = forest(model, splits, seed)
    file = tmp_path / "any.onnx"
    file.write_bytes(content)
    given = grid.run(
        "model=external", f"model.external.path={file}", f"model.external.name={model}"
    )
    assert given[0]["target"]["given"]["answers"] == "probabilities"
    agree(trained, given)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["random_forest", "mlp"])
def test_a_model_with_preprocessing_of_its_own_leaks_as_the_trained_one(
    model: str, tmp_path: Path
) -> None:
    """The harness trains on its encoding; the given model reads rows and encodes them itself."""
    grid = Grid(tmp_path, written(tmp_path, preprocessing="model"))
    trained = grid.run(*options(model))
    splits = loaded(grid.card)
    plan = grid.plan(*options(model))
    (seed,) = {n.payload["seed"] for n in plan.nodes.values() if n.kind == "target"}
    built: Any = RandomForestClassifier(20, max_depth=6, random_state=seed % 2**32)
    if model == "mlp":
        module = network(grid, trained[0], splits, seed)
    else:
        built.fit(splits.train.x.numpy(), splits.train.y.numpy())
    fields = splits.card.fields

    def encoded(rows: pd.DataFrame) -> np.ndarray:
        blocks = []
        for column in fields:
            own = rows[column.name]
            if column.kind == "number":
                blocks.append((own.to_numpy(float)[:, None] - column.mean) / column.scale)
            else:
                blocks.append(own.astype(str).to_numpy()[:, None] == np.array(column.values))
        return np.concatenate(blocks, 1).astype(np.float32)

    def answers(rows: pd.DataFrame) -> np.ndarray:
        x = encoded(rows)
        if model == "mlp":
            with torch.no_grad():
                return module(torch.from_numpy(x)).numpy()
        return built.predict_proba(x)

    functions.GIVEN["model"] = answers
    given = grid.run(
        "model=external",
        "model.external.function=tests.models.external.functions:answers",
        f"model.external.name={model}",
    )
    agree(trained, given)


@pytest.mark.slow
def test_lightgbm_on_raw_rows_leaks_alike_as_a_file_and_as_a_function(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    onnxmltools = pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType

    numbers = {"age": "number", "income": "number", "code": "number", "ill": "category"}
    frames = {
        part: loans(240, seed).drop(columns="job")
        for seed, part in enumerate(("members", "holdout", "public"))
    }
    # The secret is a number in the file, so that the whole row is one matrix.
    for frame in frames.values():
        frame["ill"] = frame["ill"].map({"no": 0, "flu": 1, "cold": 2})
    card = written(tmp_path, frames=frames, columns=numbers, preprocessing="model")
    grid = Grid(tmp_path, card)
    read = pd.read_csv(tmp_path / "members.csv")
    order = list(numbers)
    model = lightgbm.LGBMClassifier(
        n_estimators=15, num_leaves=8, min_child_samples=5, verbose=-1, n_jobs=1, random_state=0
    ).fit(read[order].to_numpy(float), read["y"])
    exported = onnxmltools.convert_lightgbm(
        model, initial_types=[("x", FloatTensorType([None, 4]))], zipmap=False
    )
    file = tmp_path / "lgbm.onnx"
    file.write_bytes(exported.SerializeToString())
    same = ("model=external", "model.external.name=lgbm")
    by_file = grid.run(*same, f"model.external.path={file}")
    functions.GIVEN["model"] = lambda rows: model.booster_.predict(rows[order].to_numpy(float))
    by_function = grid.run(*same, "model.external.function=tests.models.external.functions:answers")
    agree(by_file, by_function)
    assert by_file[0]["target"]["given"]["class_names"] == ["n", "p"]


@pytest.mark.slow
def test_several_records_of_a_person_widen_the_interval(tmp_path: Path) -> None:
    """The same records, as of 60 people with four each and as of nobody in particular."""
    frames = {}
    for seed, part in enumerate(("members", "holdout", "public")):
        own = loans(60, seed).loc[np.repeat(np.arange(60), 4)].reset_index(drop=True)
        own["income"] = np.round(own["income"] + np.random.default_rng(seed).random(240), 2)
        frames[part] = own.assign(who=np.repeat(np.arange(60), 4) + 60 * seed)
    functions.GIVEN["model"] = lambda rows: np.where(rows["ill"] == "flu", 0.8, 0.3)
    scores = []
    for name, person in (("people", "who"), ("records", None)):
        folder = tmp_path / name
        keys = {} if person is None else {"person": person}
        grid = Grid(folder, written(folder, frames=frames, preprocessing="model", **keys))
        records = grid.run(
            "model=external",
            "model.external.function=tests.models.external.functions:answers",
            "victims=1000",
            "attack=csmia",
        )
        scores.append(by_attack(records)["csmia"])
    assert scores[0]["L_error"] > 1.4 * scores[1]["L_error"]
    assert [score["victims"] for score in scores] == [60, 240], "people are counted, not records"


@pytest.mark.slow
def test_given_weights_of_pictures_are_inverted_as_the_trained_ones(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    grid = Grid(tmp_path, tmp_path)
    words = [
        "dataset=faces",
        "dataset.faces.people_private=10",
        "dataset.faces.people_public=20",
        "attack=miface",
        "attack.miface.sweep=null",
        "attack.miface.alpha=15",
    ]
    own = ["model=cnn", "model.cnn.epochs=3", "model.cnn.channels=[8,16]"]
    trained = grid.run(*words, *own)
    file = tmp_path / "any.safetensors"
    save_file(grid.tensors("target", trained[0]), file)
    architecture = "{_target_: bench.models.cnn.Cnn, epochs: 3, channels: [8, 16]}"
    given = grid.run(
        *words,
        "model=external",
        "model.external.name=cnn",
        "model.external.access=weights",
        f"model.external.path={file}",
        f"model.external.architecture={architecture}",
    )
    ours, theirs = by_attack(trained), by_attack(given)
    assert list(ours) == list(theirs) == ["miface"]
    assert theirs["miface"]["L"] == pytest.approx(ours["miface"]["L"], abs=CLOSE)
    assert 0 < theirs["miface"]["L_error"] < 1, "classes are drawn together with the baseline's"
    assert trained[0]["attack"]["sha256"] == given[0]["attack"]["sha256"]
    assert trained[0]["utility"]["all"] == pytest.approx(given[0]["utility"]["all"], abs=CLOSE)
