from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from bench.contract import UserError
from bench.models.external.files.skops_file import open_skops
from tests.models.external.given import table


class Doubled(StandardScaler):
    """A type that skops cannot know."""


def test_a_pipeline_answers_raw_columns_like_scikit_learn() -> None:
    frame, labels = table()
    columns = ColumnTransformer(
        [("numbers", SimpleImputer(), ["age", "hours per week"]), ("job", OneHotEncoder(), ["job"])]
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=5000)).fit(frame, labels)
    opened = open_skops(skops.io.dumps(model), "m.skops", ["numpy.dtype"], True)
    answered = opened.ask(frame[["job", "hours per week", "age"]])
    np.testing.assert_allclose(answered.scores, model.predict_proba(frame), atol=1e-4)
    assert list(answered.labels) == list(model.predict(frame))
    assert opened.classes == ("no", "yes")
    assert opened.facts["columns"] == list(frame.columns)
    with pytest.raises(UserError, match="job"):
        opened.ask(frame.drop(columns="job"))


def test_types_that_nobody_allowed_are_listed_and_not_built() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = (x[:, 0] > 0).astype(int)
    model = make_pipeline(Doubled(), Perceptron()).fit(x, y)
    content = skops.io.dumps(model)
    name = f"{Doubled.__module__}.Doubled"
    with pytest.raises(UserError, match="Doubled"):
        open_skops(content, "m.skops", [], False)
    with pytest.raises(UserError, match="Doubled"):
        open_skops(content, "m.skops", ["another.Type"], False)
    opened = open_skops(content, "m.skops", [name], False)
    answered = opened.ask(x.astype(np.float32))
    assert answered.scores.shape == (40, 1)
    np.testing.assert_allclose(answered.scores[:, 0], model.decision_function(x), atol=1e-4)
    assert opened.facts["trusted"] == [name]


def test_a_tree_answers_once_its_type_is_trusted() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    model = DecisionTreeClassifier(max_depth=3).fit(x, x[:, 0] > 0)
    opened = open_skops(skops.io.dumps(model), "m.skops", ["sklearn.tree._tree.Tree"], False)
    np.testing.assert_allclose(opened.ask(x).scores, model.predict_proba(x))
    assert opened.classes == ("False", "True")


def test_functions_of_the_file_are_not_called() -> None:
    model = FunctionTransformer(func=np.savetxt)
    pipeline = make_pipeline(model, LinearSVC())
    with pytest.raises(UserError):
        open_skops(skops.io.dumps(pipeline), "m.skops", [], False)


def test_regressors_and_models_without_scores() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    regressor = LinearRegression().fit(x, x[:, 0])
    answered = open_skops(skops.io.dumps(regressor), "m.skops", [], False).ask(x)
    np.testing.assert_allclose(answered.scores[:, 0], x[:, 0], atol=1e-4)
    assert answered.labels is None
    several = RidgeClassifier().fit(x, np.digitize(x[:, 0], [-0.5, 0.5]))
    opened = open_skops(skops.io.dumps(several), "m.skops", [], False)
    assert opened.ask(x).scores.shape == (40, 3)
    assert opened.classes == ("0", "1", "2")
    with pytest.raises(UserError, match="3"):
        opened.ask(x[:, :2])


def test_no_value_of_a_record_is_in_an_error() -> None:
    frame, labels = table()
    columns = ColumnTransformer([("job", OneHotEncoder(), ["job"])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, labels)
    opened = open_skops(skops.io.dumps(model), "m.skops", ["numpy.dtype"], False)
    with pytest.raises(UserError, match=r"m\.skops") as caught:
        opened.ask(frame.assign(job="imprisoned"))
    assert "imprisoned" not in str(caught.value)


def test_labels_are_asked_for_only_where_they_are_meant() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    content = skops.io.dumps(LogisticRegression().fit(x, x[:, 0] > 0))
    assert open_skops(content, "m.skops", [], False).ask(x).labels is None
    assert open_skops(content, "m.skops", [], True).ask(x).labels is not None


def test_what_is_no_model_is_refused() -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("schema.json", "{}")
    for content in (skops.io.dumps([1, 2]), written.getvalue(), b"PK\x03\x04"):
        with pytest.raises(UserError, match=r"m\.skops"):
            open_skops(content, "m.skops", [], False)
    with pytest.raises(UserError, match="records"):
        open_skops(skops.io.dumps(DecisionTreeClassifier()), "m.skops", [], False).ask(
            np.zeros((2, 2))
        )
