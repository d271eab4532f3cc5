"""What every attack in conf/attack holds to: its ranges, what it reads, and its budget."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Literal

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf

from attacks.basket_decoder import BasketDecoder
from attacks.inverse_decoder import InverseDecoder
from attacks.score_classifier import ScoreClassifier
from bench.contract import Reconstruction, Task, UserError
from bench.contract.knowledge import READING
from bench.contract.options import type_hints
from tests.attacks.deployments import Option, deployment, options

CODES = {code for codes in READING.values() for code in codes}
"""Codes whose reading is metered."""
CASES: list[tuple[Option, Task]] = [
    (option, task) for option in options() for task in option.attack.tasks
]
ASKING = [case for case in CASES if case[0].attack.access in ("labels", "scores")]


def name(value: Any) -> str:
    return value.name if isinstance(value, Option) else str(value)


PLACES = pytest.mark.parametrize(
    "place", range(len(ASKING)), ids=["-".join(map(name, case)) for case in ASKING]
)


# ---------------------------------------------------------------- ranges
def outside(hint: Any) -> Iterator[Any]:
    """Values just outside of what a type declares."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        whole = args[0] is int
        for bound in args[1:]:
            if isinstance(bound, Ge):
                yield bound.ge - 1 if whole else math.nextafter(bound.ge, -math.inf)  # type: ignore[operator, arg-type]
            elif isinstance(bound, Gt):
                yield bound.gt
            elif isinstance(bound, Le):
                yield bound.le + 1 if whole else math.nextafter(bound.le, math.inf)  # type: ignore[operator, arg-type]
            elif isinstance(bound, Lt):
                yield bound.lt
            elif isinstance(bound, MultipleOf):
                yield bound.multiple_of + 1  # type: ignore[operator]
            elif isinstance(bound, MinLen):
                yield ()
        yield from outside(args[0])
    elif origin is Literal:
        yield "something else"
    elif origin in (typing.Union, types.UnionType):
        for kind in args:
            yield from outside(kind)
    elif origin is tuple:
        fixed = args[-1] is not Ellipsis
        for value in outside(args[0]):
            yield (value,) * (len(args) if fixed else 1)
        if fixed:
            yield ()
    elif hint is float:
        yield math.nan
        yield math.inf


def wrong_values() -> list[tuple[type[Any], str, Any]]:
    """Every class that conf/attack names, with each of its fields and values it cannot have."""
    classes = {type(part) for option in options() for part in (option.attack, option.prior) if part}
    return [
        (cls, field.name, value)
        for cls in sorted(classes, key=lambda cls: cls.__name__)
        for field in dataclasses.fields(cls)
        for value in outside(type_hints(cls)[field.name])
    ]


@pytest.mark.parametrize(("cls", "option", "value"), wrong_values())
def test_a_value_outside_of_its_range_is_refused_by_name(
    cls: type[Any], option: str, value: Any
) -> None:
    with pytest.raises(UserError, match=rf"^{option} is "):
        cls(**{option: value})


def test_numbers_without_a_range_are_few() -> None:
    """A number that may be anything is an exception, not an oversight."""
    free = {
        f"{type(option.attack).__name__}.{field.name}"
        for option in options()
        for field in dataclasses.fields(option.attack)
        if type_hints(type(option.attack))[field.name] in (int, float)
    }
    assert not free


# ---------------------------------------------------------------- knowledge
def test_what_is_read_is_declared_and_what_is_declared_is_read() -> None:
    declared: dict[str, set[str]] = {}
    read: dict[str, set[str]] = {}
    for option, task in CASES:
        kind = type(option.attack).__name__
        exposure, knowledge, codes = deployment(option, task)
        option.attack.run(exposure, knowledge, 0, "cpu")
        declared.setdefault(kind, set()).update(option.attack.knowledge & CODES)
        read.setdefault(kind, set()).update(codes)
        if option.prior is not None:
            assert option.prior.knowledge <= option.attack.knowledge, kind
            read[kind] |= option.prior.knowledge & CODES
    assert read == declared


# ---------------------------------------------------------------- budgets
@cache
def without_budget(place: int) -> tuple[Reconstruction, int]:
    """What the case of that place in ``ASKING`` gives where nothing binds, and its queries."""
    option, task = ASKING[place]
    exposure, knowledge, _ = deployment(option, task)
    result = option.attack.run(exposure, knowledge, 0, "cpu")
    return result, exposure.meter.queries


@pytest.mark.parametrize("budget", [0, 1, 7, 50, 400])
@PLACES
def test_a_budget_is_kept(place: int, budget: int) -> None:
    (option, task), (free, asked) = ASKING[place], without_budget(place)
    attack = option.attack
    exposure, knowledge, _ = deployment(option, task, budget)
    result = attack.run(exposure, knowledge, 0, "cpu")
    queries = exposure.meter.queries
    assert queries <= budget
    if attack.goal == "attribute" and not isinstance(attack, ScoreClassifier):
        assert queries > min(budget, asked) - 3, "less than a victim's values is left"
    if isinstance(attack, BasketDecoder | InverseDecoder) and budget >= 4:
        assert queries == min(budget, asked)
    assert result.values.shape == free.values.shape and bool(torch.isfinite(result.values).all())
    for value in result.info.values():
        for number in value if isinstance(value, list) else [value]:
            assert not isinstance(number, float) or math.isfinite(number)


@PLACES
def test_a_budget_that_suffices_changes_nothing(place: int) -> None:
    (option, task), (expected, asked) = ASKING[place], without_budget(place)
    exposure, knowledge, _ = deployment(option, task, 10**9)
    result = option.attack.run(exposure, knowledge, 0, "cpu")
    assert torch.equal(result.values, expected.values) and result.info == expected.info
    assert exposure.meter.queries == asked


@PLACES
def test_a_budget_of_what_is_asked_is_spent(place: int) -> None:
    """To the last query; in another order, so that numbers are rounded differently."""
    (option, task), (expected, asked) = ASKING[place], without_budget(place)
    exposure, knowledge, _ = deployment(option, task, asked)
    result = option.attack.run(exposure, knowledge, 0, "cpu")
    assert exposure.meter.queries == asked
    torch.testing.assert_close(result.values, expected.values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("option", "task"),
    [case for case in ASKING if case[0].attack.goal == "attribute"],
    ids=name,
)
def test_whom_an_attribute_attack_asks_about_does_not_depend_on_the_labels(
    option: Option, task: Task
) -> None:
    asked: list[list[torch.Tensor]] = []
    for turn in range(2):
        exposure, knowledge, _ = deployment(option, task, 30)
        victims = knowledge.partial
        assert victims is not None
        if turn:
            values = {"y": victims.y.flip(0) if task == "classification" else victims.y + 1}
            object.__setattr__(knowledge, "partial", replace(victims, **values))
        batches: list[torch.Tensor] = []
        for kind, answer in dict(exposure._ask).items():

            def noted(x: torch.Tensor, answer: Any = answer, to: Any = batches) -> torch.Tensor:
                to.append(x)
                return answer(x)

            exposure._ask[kind] = noted
        option.attack.run(exposure, knowledge, 0, "cpu")
        asked.append(batches)
    for first, second in zip(*asked, strict=True):
        assert torch.equal(first, second)
