"""The option files of the data sets."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from annotated_types import Ge, Gt, Le, Lt

from bench.contract import Dataset, UserError
from bench.contract.options import type_hints
from bench.data.stored_table import StoredTable

OUTSIDE = {
    Ge: lambda bound: bound.ge - 1,
    Gt: lambda bound: bound.gt,
    Le: lambda bound: bound.le + 1,
    Lt: lambda bound: bound.lt,
}
"""A number that a bound does not allow."""
FILES = sorted((Path(__file__).parents[2] / "conf/dataset").glob("*.yaml"))


def component(path: Path) -> tuple[type[Dataset], dict[str, Any]]:
    """The class of an option file and the options in it."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(content) == [path.stem]
    options = content[path.stem]
    module, name = options.pop("_target_").rsplit(".", 1)
    return getattr(importlib.import_module(module), name), options


def refused(hint: Any) -> Iterator[Any]:
    """Values that a type does not allow."""
    if typing.get_origin(hint) is Literal:
        yield "no such word"
    elif typing.get_origin(hint) is Annotated:
        kind, *bounds = typing.get_args(hint)
        yield from (OUTSIDE[type(bound)](bound) for bound in bounds)
        if kind is float:
            yield float("nan")
    elif typing.get_origin(hint) is tuple:
        yield from ((value, value) for value in refused(typing.get_args(hint)[0]))
    else:
        for part in typing.get_args(hint):
            yield from refused(part)


BAD = {
    f"{cls.__name__}-{option}-{value}": (cls, option, value)
    for cls, _ in map(component, FILES)
    for option, hint in type_hints(cls).items()
    for value in (["no hash"] if option == "sha256" else refused(hint))
    if option in {field.name for field in fields(cls)}
}
TOGETHER = [
    ("german", {"train": 0.6, "public": 0.4}),
    ("groceries", {"train": 0.5, "public": 0.5}),
    ("baskets", {"items": 150, "mean_size": 60.0}),
    ("faces", {"variation": 0.0, "noise": 0.0}),
    ("orl", {"people_private": 40}),
    ("olivetti", {"people_private": 39}),
    ("medmnist", {"flag": "chestmnist"}),
    ("medmnist", {"classes": ("one",)}),
    ("table", {"file": "a.xlsx"}),
    ("adult", {"table": "each", "records": None}),
]
"""Options that are refused for what other options are."""


@pytest.mark.parametrize(("cls", "option", "value"), BAD.values(), ids=BAD)
def test_a_bad_value_is_refused_and_named(cls: type[Dataset], option: str, value: Any) -> None:
    with pytest.raises(UserError, match=option) as error:
        cls(**{option: value})
    assert str(value) in str(error.value)


@pytest.mark.parametrize(("name", "options"), TOGETHER)
def test_options_that_do_not_fit_together_are_refused(name: str, options: dict[str, Any]) -> None:
    cls, _ = component(next(path for path in FILES if path.stem == name))
    with pytest.raises(UserError, match=next(iter(options))):
        cls(**options)


def test_the_sensitive_attributes_are_those_of_the_option() -> None:
    for cls, _ in map(component, FILES):
        if issubclass(cls, StoredTable):
            assert typing.get_args(type_hints(cls)["sensitive"]) == tuple(cls.sensitives)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_option_file_states_only_what_differs(path: Path) -> None:
    cls, options = component(path)
    defaults = {field.name: field.default for field in fields(cls)}
    assert [name for name, value in options.items() if defaults[name] == value] == []
    assert MISSING not in defaults.values()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_option_file_builds_its_data_set(path: Path) -> None:
    cls, options = component(path)
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
