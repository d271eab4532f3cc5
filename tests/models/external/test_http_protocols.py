"""Requests and answers of the protocols, without a server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.contract import UserError
from bench.models.external.detected import detected
from bench.models.external.http import paths, protocols, tensors
from bench.models.external.http.readings import reading
from bench.models.external.opened import Answered

NaN = float("nan")
X = np.arange(6, dtype=np.float32).reshape(2, 3)
TABLE = pd.DataFrame({"age": [1.0, None], "city": ["Bern", None]})


@pytest.mark.parametrize(
    ("answers", "scores", "labels", "classes"),
    [
        ([[0.1, 0.9], [1, 0]], [[0.1, 0.9], [1, 0]], None, ()),
        ([["0.1", "0.9"], ["1", "0"]], [[0.1, 0.9], [1, 0]], None, ()),
        ([[[0.1, 0.9]], [[1, 0]]], [[0.1, 0.9], [1, 0]], None, ()),
        ([0.5, 1], [[0.5], [1]], None, ()),
        (["0.5", "2e-1"], [[0.5], [0.2]], None, ()),
        ([[0.5], [0.25]], [[0.5], [0.25]], None, ()),
        ([1, 0], None, (1, 0), ()),
        (["1", "0"], None, (1, 0), ()),
        (["9" * 5000, "b"], None, ("9" * 5000, "b"), ()),
        (["007", "b"], None, ("007", "b"), ()),
        ([["a"], ["b"]], None, ("a", "b"), ()),
        ([True, False], None, (1, 0), ()),
        ([{"a": 0.1, "b": 0.9}, {"b": 1}], [[0.1, 0.9], [NaN, 1]], None, ("a", "b")),
        ([{"prediction": 1}, {"prediction": 0}], None, (1, 0), ()),
        ([{"label": "a", "score": 0.9}] * 2, None, ("a", "a"), ()),
        (
            [[{"label": "b", "score": 0.9}, {"label": "a", "score": 0.1}]],
            [[0.9, 0.1]],
            None,
            ("b", "a"),
        ),
        ([{"label": "a", "probabilities": [0.1, 0.9]}], [[0.1, 0.9]], None, ()),
    ],
)
def test_answers_of_every_form(
    answers: list[Any], scores: Any, labels: Any, classes: tuple[str, ...]
) -> None:
    found = reading(answers)
    assert (found.scores is None) == (scores is None)
    if scores is not None:
        np.testing.assert_array_equal(found.scores, scores)
    assert found.labels == labels
    assert found.classes == classes


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [None],
        [[]],
        [[0.1, None]],
        [["0.1", "NaN"]],
        [float("nan")],
        ["nan", "1"],
        [{"a": 0.1, "b": "x"}],
        [{"a": [1], "b": [2]}],
        [0.1, [0.2, 0.3]],
        [{"error": "no"}],
        [[10**400, 1]],
        [10**400, 10**400],
        [0.5, "9" * 5000],
        [[{"x": 1}, {"x": 2}]],
    ],
)
def test_answers_that_are_none(answers: list[Any]) -> None:
    with pytest.raises(UserError):
        reading(answers)


def test_the_output_is_taken_that_is_named() -> None:
    answers = [{"p": [0.1, 0.9], "q": [0.2, 0.8]}]
    np.testing.assert_array_equal(reading(answers, "q").scores, [[0.2, 0.8]])
    whole = {"predictions": {"p": [[0.1, 0.9]], "probabilities": [[0.2, 0.8]]}}
    np.testing.assert_array_equal(protocols.mlflow_answers(whole).scores, [[0.2, 0.8]])
    np.testing.assert_array_equal(protocols.mlflow_answers(whole, "p").scores, [[0.1, 0.9]])
    with pytest.raises(UserError):
        protocols.mlflow_answers(whole, "r")


def test_templates_hold_records_where_they_say() -> None:
    many = protocols.template_request('{"a": [1, {"b": "$records"}]}', TABLE)
    assert many == {"a": [1, {"b": [{"age": 1.0, "city": "Bern"}, {"age": None, "city": None}]}]}
    assert protocols.template_request('{"x": "$record"}', X[:1]) == {"x": [0.0, 1.0, 2.0]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$", [{"a": {"b c": [{"d": 1}, {"d": 2}]}}]),
        ("$.a['b c'][*].d", [1, 2]),
        ('$["a"]["b c"][0].d', [1]),
        ("$.a['b c'][-1]", [{"d": 2}]),
        ("$.*['b c'][1]['d']", [2]),
    ],
)
def test_paths_lead_to_values(path: str, expected: list[Any]) -> None:
    assert paths.values({"a": {"b c": [{"d": 1}, {"d": 2}]}}, path) == expected


@pytest.mark.parametrize(
    "path", ["a.b", "$..a", "$.a[?(@.x)]", "$.a[1:2]", "$.b", "$.a[5]", "$.a.b", "$.a[0][0]", "$."]
)
def test_paths_that_lead_nowhere(path: str) -> None:
    with pytest.raises(UserError, match="path"):
        paths.values({"a": [1]}, path)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/v2/models/m/infer",
        "http://h/v2/models/m",
        "http://h/v2/models/m/",
        "http://h/v2/",
        "http://h",
    ],
)
def test_urls_of_the_open_inference_protocol(url: str) -> None:
    assert tensors.infer_url(url, "m") == "http://h/v2/models/m/infer"
    assert tensors.metadata_url(tensors.infer_url(url, "m")) == "http://h/v2/models/m"


def about(*inputs: tuple[str, str, Any], **more: Any) -> tensors.Metadata:
    body = {"inputs": [{"name": n, "datatype": kind, "shape": shape} for n, kind, shape in inputs]}
    found = tensors.metadata(body | more)
    assert tensors.metadata(found.plain()) == found
    return found


def test_arrays_become_the_tensors_that_the_model_names() -> None:
    unknown = tensors.kserve_request(X, tensors.Metadata())["inputs"]
    assert unknown == [{"name": "input-0", "datatype": "FP32", "shape": [2, 3], "data": X.tolist()}]
    flat = tensors.kserve_request(X.reshape(2, 1, 3), about(("x", "INT64", [-1, 3])))["inputs"]
    assert flat[0]["shape"] == [2, 3]
    assert flat[0]["data"] == [[0, 1, 2], [3, 4, 5]]
    columns = tensors.kserve_request(X, about(*((n, "FP64", [-1, 1]) for n in "abc")))["inputs"]
    assert [(one["name"], one["data"]) for one in columns] == [
        ("a", [0, 3]),
        ("b", [1, 4]),
        ("c", [2, 5]),
    ]


def test_lengths_that_are_free_may_be_named() -> None:
    for free in ("batch", None, "-1"):
        known = about(("x", "FP32", [free, 3]))
        assert known.inputs[0].shape == (-1, 3)
        assert tensors.kserve_request(X, known)["inputs"][0]["shape"] == [2, 3]
    assert about(("x", "FP32", "any")).inputs[0].shape == ()


def test_tables_become_a_tensor_for_each_column() -> None:
    known = about(
        ("city", "BYTES", [-1, 1]), ("age", "INT64", [-1, 1]), parameters={"content_type": "pd"}
    )
    body = tensors.kserve_request(TABLE, known, "predict_proba")
    assert body == {
        "inputs": [
            {"name": "city", "datatype": "BYTES", "shape": [2, 1], "data": ["Bern", None]},
            {"name": "age", "datatype": "INT64", "shape": [2, 1], "data": [1, None]},
        ],
        "parameters": {"content_type": "pd"},
        "outputs": [{"name": "predict_proba"}],
    }
    assert "parameters" not in tensors.kserve_request(TABLE, tensors.Metadata())


@pytest.mark.parametrize(
    ("inputs", "known"),
    [
        (X, about(("x", "FP32", [-1, 4]))),
        (X + 0.5, about(("x", "INT64", [-1, 3]))),
        (X, about(("a", "FP32", [-1, 1]), ("b", "FP32", [-1, 1]))),
        (TABLE, about(("salary", "FP32", [-1, 1]), ("age", "FP32", [-1, 1]))),
        (TABLE, about(("city", "FP32", [-1, 1]), ("age", "FP32", [-1, 1]))),
    ],
)
def test_records_that_do_not_fit(inputs: Any, known: tensors.Metadata) -> None:
    with pytest.raises(UserError):
        tensors.kserve_request(inputs, known)


def tensor(name: str, kind: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": kind, "shape": shape, "data": data}


def test_tensors_are_scores_or_labels() -> None:
    label = tensor("label", "INT64", [2], [1, 0])
    scores = tensor("probabilities", "FP32", [2, 2], [0.1, 0.9, 1, 0])
    both = tensors.kserve_answers({"outputs": [label, scores]})
    np.testing.assert_array_equal(both.scores, [[0.1, 0.9], [1, 0]])
    assert both.labels == (1, 0)
    text = tensors.kserve_answers({"outputs": [tensor("y", "BYTES", [2, 1], ["a", "b"])]})
    assert text.labels == ("a", "b")
    nested = tensors.kserve_answers({"outputs": [tensor("y", "FP32", [2, 1], [[0.5], [0.25]])]})
    np.testing.assert_array_equal(nested.scores, [[0.5], [0.25]])
    columns = [tensor(name, "FP64", [2, 1], [0.5, 0.5]) for name in ("no", "yes")]
    named = tensors.kserve_answers({"outputs": columns, "parameters": {"content_type": "pd"}})
    assert named.classes == ("no", "yes")
    several = {"outputs": [tensor(name, "FP32", [1, 2], [0.5, 0.5]) for name in "ab"]}
    assert len(tensors.kserve_answers(several, "b")) == 1
    with pytest.raises(UserError, match="`output`"):
        tensors.kserve_answers(several)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"outputs": []},
        {"predictions": [1]},
        {"outputs": [tensor("y", "FP32", [2, 2], [0.1])]},
        {"outputs": [tensor("y", "FP32", [1, 2], [0.1, None])]},
        {"error": "no"},
    ],
)
def test_tensors_that_cannot_be_read(body: Any) -> None:
    with pytest.raises(UserError):
        tensors.kserve_answers(body)


def softmax(n: int = 300, k: int = 5) -> Any:
    powers = np.exp(np.random.default_rng(0).normal(size=(n, k)))
    return powers / powers.sum(axis=1, keepdims=True)


def test_what_is_done_to_scores_is_detected() -> None:
    plain = detected(Answered(scores=softmax()))
    assert plain == {
        "records": 300,
        "labels_only": False,
        "classes": 5,
        "digits": None,
        "top_k": None,
        "sums_to_one": True,
        "all_equal": False,
    }
    single = softmax().round(3).astype(np.float32)
    assert detected(Answered(scores=single))["digits"] == 3
    assert detected(Answered(scores=single))["sums_to_one"]
    left_out = np.where(softmax() > 0.3, softmax(), NaN)
    said = detected(Answered(scores=left_out, classes=tuple("abcde")))
    assert said == detected(Answered(scores=np.nan_to_num(left_out)))
    cut = np.where(softmax() >= np.sort(softmax(), axis=1)[:, -2][:, None], softmax(), 0)
    assert detected(Answered(scores=cut))["top_k"] == 2
    assert not detected(Answered(scores=cut))["sums_to_one"]
    assert detected(Answered(scores=np.full((9, 2), 0.5)))["all_equal"]
    labels = detected(Answered(labels=np.array(["a", "b", "a"])))
    assert (labels["labels_only"], labels["classes"], labels["all_equal"]) == (True, 2, False)
    one = detected(Answered(scores=softmax()[:, :1]))
    assert (one["classes"], one["sums_to_one"]) == (None, None)
