"""Every option of every defense, detector and model refuses a value just outside its range."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from annotated_types import Ge, Gt, Le, Lt, MinLen

from bench.contract import UserError
from bench.contract.options import attribute_texts, type_hints
from bench.engine.components import TARGET, locate, normalise
from bench.models import controls
from defenses.common.detectors import DETECTORS

CONF = Path(__file__).parents[2] / "conf"


def configs() -> Mapping[str, Mapping[str, Any]]:
    """Every option of ``conf/defense`` and ``conf/model`` that names a class."""
    return {
        f"{group}-{name}": config
        for group in ("defense", "model")
        for path in sorted((CONF / group).glob("*.yaml"))
        for name, config in yaml.safe_load(path.read_text()).items()
        if TARGET in config
    }


def components() -> Mapping[str, type[Any]]:
    """All classes that these options name, and their helpers that have options."""
    targets = {config[TARGET] for config in configs().values()}
    classes = [locate(target, "test") for target in sorted(targets)]
    classes += [controls.Overfit, controls.EarlyStopped, controls.Temperature, *DETECTORS.values()]
    return {f"{cls.__module__}.{cls.__name__}": cls for cls in classes}


def outside(hint: Any) -> Iterator[Any]:
    """Values just outside what a type allows; none where it allows everything of its kind."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        yield from outside(args[0])
        for bound in args[1:]:
            yield from beyond(bound, args[0])
    elif origin in (typing.Union, types.UnionType):
        for kind in args:
            yield from outside(kind)
    elif origin is Literal:
        yield "no such word"
    elif origin is tuple:
        yield from ((value,) for value in outside(args[0]))
    elif hint is float:
        yield from (math.inf, math.nan)


def beyond(bound: Any, kind: Any) -> Iterator[Any]:
    """The nearest value that a bound refuses."""

    def step(limit: float, towards: float) -> float:
        if kind is int:
            return int(limit + math.copysign(1, towards))
        return math.nextafter(limit, towards)

    match bound:
        case Ge(ge=limit):
            yield step(limit, -math.inf)
        case Le(le=limit):
            yield step(limit, math.inf)
        case Gt(gt=limit):
            yield limit
        case Lt(lt=limit):
            yield limit
        case MinLen(min_length=length):
            yield ("a",) * (length - 1) if typing.get_args(kind)[0] is str else (1,) * (length - 1)


CASES = [
    pytest.param(cls, name, value, id=f"{label}-{name}-{value}")
    for label, cls in components().items()
    for name, hint in type_hints(cls).items()
    if typing.get_origin(hint) is not typing.ClassVar
    for value in outside(hint)
]


@pytest.mark.parametrize(("cls", "name", "value"), CASES)
def test_a_value_outside_its_range_is_refused_and_named(
    cls: type[Any], name: str, value: Any
) -> None:
    with pytest.raises(UserError, match=rf"\b{name} is "):
        cls(**{name: value})


@pytest.mark.parametrize("cls", components().values(), ids=components())
def test_the_defaults_are_allowed(cls: type[Any]) -> None:
    cls()


@pytest.mark.parametrize("cls", components().values(), ids=components())
def test_every_option_is_documented(cls: type[Any]) -> None:
    assert {field.name for field in dataclasses.fields(cls)} <= attribute_texts(cls).keys()


@pytest.mark.parametrize("config", configs().values(), ids=configs())
def test_a_file_repeats_no_default(config: Mapping[str, Any]) -> None:
    default = normalise({TARGET: config[TARGET]}, "test")
    assert all(config[name] != default[name] for name in config.keys() - {TARGET, "sweep"})
