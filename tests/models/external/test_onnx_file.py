from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from torch import nn

from bench.contract import UserError
from bench.models.external.files.onnx_file import open_onnx
from tests.models.external.given import fitted_forest, images, network, right, skl_onnx, torch_onnx


def columns() -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    number, text = FloatTensorType([None, 1]), StringTensorType([None, 1])
    return [("age", number), ("hours per week", number), ("job", text)]


def matrix(width: int) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType

    return [("X", FloatTensorType([None, width]))]


def test_it_answers_raw_columns_like_scikit_learn_with_and_without_maps() -> None:
    model, frame = fitted_forest()
    theirs = model.predict_proba(frame.fillna({"job": ""}))
    for maps in (True, False):
        content = skl_onnx(model, columns(), options={"zipmap": maps})
        opened = open_onnx(content, "m.onnx", None, False)
        # The order of the table's columns is not that of the file.
        answered = opened.ask(frame[["job", "hours per week", "age"]])
        np.testing.assert_allclose(answered.scores, theirs, atol=1e-4)
        assert list(answered.labels) == list(model.predict(frame.fillna({"job": ""})))
        assert opened.classes == ("no", "yes")
        assert opened.module is None
        assert opened.facts["operators"]["TreeEnsembleClassifier"] == 1
        assert opened.facts["producer"].startswith("skl2onnx")
        assert len(opened.facts["inputs"]) == 3


def test_blanks_in_names_may_be_underscores() -> None:
    model, frame = fitted_forest()
    content = skl_onnx(model, columns(), options={"zipmap": False})
    graph = onnx.load_model_from_string(content)
    for node in graph.graph.node:
        node.input[:] = [name.replace(" ", "_") for name in node.input]
    for item in graph.graph.input:
        item.name = item.name.replace(" ", "_")
    opened = open_onnx(graph.SerializeToString(), "m.onnx", None, False)
    theirs = model.predict_proba(frame.fillna({"job": ""}))
    np.testing.assert_allclose(opened.ask(frame).scores, theirs, atol=1e-4)


def test_a_column_that_is_missing_or_of_another_kind_is_named() -> None:
    model, frame = fitted_forest()
    opened = open_onnx(skl_onnx(model, columns()), "m.onnx", None, False)
    with pytest.raises(UserError, match="job"):
        opened.ask(frame.rename(columns={"job": "jobs"}))
    with pytest.raises(UserError, match="age"):
        opened.ask(frame.assign(age="old"))
    with pytest.raises(UserError, match="job"):
        opened.ask(frame.assign(job=1.0))
    with pytest.raises(UserError, match="raw"):
        opened.ask(np.zeros((2, 3), dtype=np.float32))


def test_lightgbm_names_its_classes() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    onnxmltools = pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType

    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    y = np.array(["a", "b", "c"])[np.digitize(x[:, 0], [-0.5, 0.5])]
    model = lightgbm.LGBMClassifier(n_estimators=3, num_leaves=4, verbose=-1, n_jobs=1).fit(x, y)
    for maps in (True, False):
        graph = onnxmltools.convert_lightgbm(
            model, initial_types=[("x", FloatTensorType([None, 4]))], zipmap=maps
        )
        opened = open_onnx(graph.SerializeToString(), "m.onnx", None, False)
        answered = opened.ask(x)
        np.testing.assert_allclose(answered.scores, model.booster_.predict(x), atol=1e-4)
        assert list(answered.labels) == list(np.array(model.classes_)[answered.scores.argmax(1)])
        assert opened.classes == ("a", "b", "c")


def test_classes_are_found_behind_the_highest_score_too() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    y = np.where(x[:, 0] > 0, "up", "down")
    content = skl_onnx(GaussianNB().fit(x, y), matrix(3), options={"zipmap": False})
    assert open_onnx(content, "m.onnx", None, False).classes == ("down", "up")


def test_classes_are_found_where_the_labels_were_cut_away() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    model = LogisticRegression().fit(x, np.where(x[:, 0] > 0, "up", "down"))
    graph = onnx.load_model_from_string(skl_onnx(model, matrix(3), options={"zipmap": False}))
    graph.graph.output.remove(next(o for o in graph.graph.output if o.name == "label"))
    opened = open_onnx(graph.SerializeToString(), "m.onnx", None, False)
    assert opened.classes == ("down", "up")
    np.testing.assert_allclose(opened.ask(x).scores, model.predict_proba(x), atol=1e-4)


def test_a_matrix_takes_the_columns_of_numbers_in_order() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(30, 3)), columns=["b", "a", "c"])
    model = LinearRegression().fit(frame.to_numpy(), frame["b"] - frame["c"])
    opened = open_onnx(skl_onnx(model, matrix(3)), "m.onnx", None, False)
    answered = opened.ask(frame)
    assert answered.scores.shape == (30, 1)
    assert answered.labels is None
    assert opened.classes == ()
    np.testing.assert_allclose(answered.scores[:, 0], frame["b"] - frame["c"], atol=1e-4)
    with pytest.raises(UserError, match="a"):
        opened.ask(frame.assign(a="x"))
    with pytest.raises(UserError, match="shape"):
        opened.ask(frame[["a", "b"]])


@pytest.mark.parametrize("dynamic", [True, False])
def test_a_network_and_its_module_answer_like_torch(dynamic: bool) -> None:
    model = network()
    opened = open_onnx(torch_onnx(model, images(2), dynamic), "m.onnx", None, True)
    x = images(5)
    np.testing.assert_allclose(opened.ask(x).scores, right(model, x), atol=1e-4)
    assert opened.ask(x).labels is None
    assert opened.module is not None
    given = torch.from_numpy(x).requires_grad_()
    outputs = opened.module.train()(given)
    np.testing.assert_allclose(outputs.detach(), right(model, x), atol=1e-4)
    outputs.sum().backward()
    own = torch.from_numpy(x).requires_grad_()
    model(own).sum().backward()
    np.testing.assert_allclose(given.grad, own.grad, atol=1e-4)


def test_records_of_another_shape_are_refused() -> None:
    opened = open_onnx(torch_onnx(network(), images(2)), "m.onnx", None, False)
    for wrong in (np.zeros((2, 36), np.float32), np.zeros((2, 1, 6, 7), np.float32)):
        with pytest.raises(UserError, match="shape"):
            opened.ask(wrong)


def graph_of(nodes: list[Any], inputs: list[Any], outputs: list[Any], **more: Any) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, **more)
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def value(name: str, kind: int, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def two_outputs() -> bytes:
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"]),
        helper.make_node("Neg", ["x"], ["z"]),
        helper.make_node("ArgMax", ["x"], ["top"], axis=1, keepdims=0),
    ]
    outputs = [
        value("p", TensorProto.FLOAT, "n", 3),
        value("z", TensorProto.FLOAT, "n", 3),
        value("top", TensorProto.INT64, "n"),
    ]
    return graph_of(nodes, [value("x", TensorProto.FLOAT, "n", 3)], outputs)


def test_scores_are_named_where_there_are_several() -> None:
    x = np.array([[1.0, 2.0, 0.0]], dtype=np.float32)
    with pytest.raises(UserError, match=r"p.*z"):
        open_onnx(two_outputs(), "m.onnx", None, False)
    with pytest.raises(UserError, match="zz"):
        open_onnx(two_outputs(), "m.onnx", "zz", False)
    opened = open_onnx(two_outputs(), "m.onnx", "z", True)
    np.testing.assert_allclose(opened.ask(x).scores, -x)
    assert list(opened.ask(x).labels) == [1]
    assert opened.module is not None
    np.testing.assert_allclose(opened.module(torch.from_numpy(x)), -x)


def test_a_model_may_give_labels_alone() -> None:
    opened = open_onnx(two_outputs(), "m.onnx", "top", False)
    answered = opened.ask(np.eye(3, dtype=np.float32))
    assert answered.scores is None
    assert list(answered.labels) == [0, 1, 2]
    with pytest.raises(UserError, match="labels"):
        open_onnx(two_outputs(), "m.onnx", "top", True)


def test_whole_numbers_have_no_gaps_and_no_fractions() -> None:
    content = graph_of(
        [helper.make_node("Cast", ["count"], ["y"], to=TensorProto.FLOAT)],
        [value("count", TensorProto.INT64, "n", 1)],
        [value("y", TensorProto.FLOAT, "n", 1)],
    )
    opened = open_onnx(content, "m.onnx", None, False)
    assert opened.ask(pd.DataFrame({"count": [1.0, 2.0]})).scores.tolist() == [[1.0], [2.0]]
    for wrong in ([1.0, np.nan], [1.0, 2.5]):
        with pytest.raises(UserError, match="count"):
            opened.ask(pd.DataFrame({"count": wrong}))


def test_operators_that_cannot_be_converted_are_listed() -> None:
    model, _ = fitted_forest()
    content = skl_onnx(model.steps[-1][1], matrix(6), options={"zipmap": False})
    with pytest.raises(UserError, match="TreeEnsembleClassifier"):
        open_onnx(content, "m.onnx", None, True)


def test_names_in_a_graph_are_never_run_as_code(tmp_path: Any) -> None:
    mark = tmp_path / "ran"
    evil = f'a"), __import__("pathlib").Path("{mark}").touch(), getattr(self, "a'
    content = graph_of(
        [helper.make_node("Relu", ["x"], [evil], evil), helper.make_node("Neg", [evil], ["y"])],
        [value("x", TensorProto.FLOAT, "n", 3)],
        [value("y", TensorProto.FLOAT, "n", 3)],
    )
    opened = open_onnx(content, "m.onnx", None, True)
    assert opened.module is not None
    opened.module(torch.ones(1, 3))
    assert not mark.exists()


def test_weights_in_other_files_are_refused() -> None:
    weights = numpy_helper.from_array(np.ones((3,), np.float32), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    content = graph_of(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [value("x", TensorProto.FLOAT, "n", 3)],
        [value("y", TensorProto.FLOAT, "n", 3)],
        initializer=[weights],
    )
    with pytest.raises(UserError, match="other files"):
        open_onnx(content, "m.onnx", None, False)


def test_a_file_that_is_cut_off_is_refused() -> None:
    content = torch_onnx(network(), images(2))
    for part in (content[: len(content) // 2], b"\x08", b"nothing of the kind"):
        with pytest.raises(UserError, match=r"m\.onnx"):
            open_onnx(part, "m.onnx", None, False)


def test_gradients_go_through_a_mean_of_pictures_in_double_precision() -> None:
    content = graph_of(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3])],
        [value("x", TensorProto.DOUBLE, "n", 2, 4, 4)],
        [value("y", TensorProto.DOUBLE, "n", 2, 1, 1)],
    )
    opened = open_onnx(content, "m.onnx", None, True)
    x = np.random.default_rng(0).random((3, 2, 4, 4), dtype=np.float32)
    np.testing.assert_allclose(opened.ask(x).scores, x.mean((2, 3)), atol=1e-6)
    assert isinstance(opened.module, nn.Module)
    np.testing.assert_allclose(opened.module(torch.from_numpy(x)), x.mean((2, 3)), atol=1e-6)


def test_no_value_of_a_record_is_in_an_error() -> None:
    """The runtime quotes a place that it does not find."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "job"], ["y"])],
        "g",
        [value("job", TensorProto.INT64, [None, 1])],
        [value("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.zeros(3, np.float32), "table")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    opened = open_onnx(made.SerializeToString(), "m.onnx", None, False)
    with pytest.raises(UserError, match=r"m\.onnx") as caught:
        opened.ask(pd.DataFrame({"job": [77777]}))
    assert "77777" not in str(caught.value)
