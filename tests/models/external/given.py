"""Models as a user would export them, small and trained in no time."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch import nn

COLUMNS = {"age": "number", "hours per week": "number", "job": "category"}


def table(rows: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    """Raw records with gaps in both kinds of columns, and their labels."""
    rng = np.random.default_rng(1)
    jobs = np.array(["baker", "clerk", "NA", "007"], dtype=object)[rng.integers(4, size=rows)]
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, size=rows).astype(float),
            "hours per week": rng.normal(40, 10, size=rows),
            "job": pd.Series(jobs, dtype=object),
        }
    )
    labels = np.where(frame["age"] + 10 * (frame["job"] == "baker") > 50, "yes", "no")
    frame.loc[3, "age"] = np.nan
    frame.loc[5, "job"] = None
    return frame, labels


def forest(numbers: Any = "passthrough", texts: Any = None) -> Any:
    """A random forest on raw columns, unfitted."""
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["age", "hours per week"]),
            ("texts", texts or OneHotEncoder(handle_unknown="ignore"), ["job"]),
        ]
    )
    return make_pipeline(columns, RandomForestClassifier(8, max_depth=4, random_state=0))


def fitted_forest() -> tuple[Any, pd.DataFrame]:
    """A forest that fills the gaps of its numbers, and the table that it was fitted on."""
    frame, labels = table()
    model = forest(SimpleImputer())
    return model.fit(frame.fillna({"job": ""}), labels), frame


def skl_onnx(model: Any, types: Any, **options: Any) -> bytes:
    """A scikit-learn model as ONNX."""
    from skl2onnx import to_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return to_onnx(model, initial_types=types, **options).SerializeToString()


def network() -> nn.Module:
    """A small convolutional network in evaluation mode."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 16, 3),
    )
    with torch.no_grad():
        layers(torch.randn(32, 1, 6, 6))
    return layers.eval()


def images(count: int = 5) -> np.ndarray:
    """Encoded pictures of the shape that :func:`network` reads."""
    return np.random.default_rng(2).random((count, 1, 6, 6), dtype=np.float32)


def right(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """What torch answers itself."""
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


def torch_onnx(model: nn.Module, x: np.ndarray, dynamic: bool = True) -> bytes:
    """A torch model as ONNX, by the exporter that needs no other package."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (torch.from_numpy(x),),
            written,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}} if dynamic else None,
            dynamo=False,
        )
    return written.getvalue()


def program(model: nn.Module, x: np.ndarray, dynamic: bool = True) -> bytes:
    """A torch model as an archive of torch.export."""
    written = io.BytesIO()
    shapes = ({0: torch.export.Dim("n")},) if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(model, (torch.from_numpy(x),), dynamic_shapes=shapes)
        torch.export.save(exported, written)
    return written.getvalue()
