"""The option files of the data sets."""

from __future__ import annotations

import importlib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from bench.contract import Dataset

FILES = sorted((Path(__file__).parents[2] / "conf/dataset").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_option_file_builds_its_data_set(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(content) == [path.stem]
    options = content[path.stem]
    module, name = options.pop("_target_").rsplit(".", 1)
    cls = getattr(importlib.import_module(module), name)
    assert issubclass(cls, Dataset)
    assert set(options) <= {field.name for field in fields(cls)}
    dataset = cls(**options)
    assert dataset.n_classes >= 2 or dataset.tasks == ("regression",)
    assert (dataset.missing(None) is None) == dataset.embedded
    if dataset.embedded:
        splits = dataset.load(0, None)
        assert splits.card.name == path.stem
        assert splits.card.n_classes == dataset.n_classes
        assert splits.card.sector == dataset.sector
        assert splits.card.modality == dataset.modality
