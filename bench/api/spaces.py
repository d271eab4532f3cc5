"""Which values of an option a search tries: those that are given, or a range around the default."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from bench.contract.errors import nearest, require

if TYPE_CHECKING:
    from bench.engine.config import Grid

Words = Sequence[str]
Space = Mapping[str, Sequence[Any]]

_SMALL = 1e-3  # how far a search stays from a bound that may not be reached
_DIGITS = 4  # a value is pasted as it was run


@dataclass(frozen=True)
class Range:
    """Values of one option that are searched."""

    low: float = 0
    high: float = 0
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def ask(self, trial: Any, name: str) -> Any:
        """The value that a trial of Optuna tries."""
        if self.choices:
            return self.choices[trial.suggest_categorical(name, list(range(len(self.choices))))]
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high))
        value = trial.suggest_float(name, self.low, self.high, log=True)
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def mark(self, value: Any) -> Any:
        """How the sampler knows a value; None: it is not among those searched."""
        if self.choices:
            return self.choices.index(value) if value in self.choices else None
        return value if self.low <= value <= self.high else None


def composed(words: Words, config_dir: Path | None) -> Grid:
    """The grid of some overrides."""
    from bench.engine.config import compose_grid

    return compose_grid(words, config_dir)


def space_of(
    grid: Grid, group: str, name: str, space: Space, config_dir: Path | None
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Range], tuple[str, ...]]:
    """What stays, the defaults, what is searched, and what has no range."""
    from bench.contract.options import type_hints
    from bench.engine.components import CORE_PACKAGES, locate

    row = next(option for option in grid.options[group] if option.file == name)
    require(
        len(row.layers) == 1 and "_target_" in row.layers[0],
        f"{group} '{name}' is a stack; tune one of its layers.",
    )
    bare = composed([*grid.overrides, f"{group}.{name}.sweep=null"], config_dir)
    body = next(option for option in bare.options[group] if option.file == name).layers[0]
    packages = (*CORE_PACKAGES, *grid.settings.plugins)
    cls = locate(row.layers[0]["_target_"], f"{group} '{name}'", packages)
    hints, defaults, fixed = type_hints(cls), {}, {}
    fields = [field for field in dataclasses.fields(cls) if field.init]
    for field in fields:
        if field.name in body:
            defaults[field.name] = body[field.name]
        elif field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
        elif field.name in row.layers[0]:  # only the file's own sweep says it
            defaults[field.name] = fixed[field.name] = row.layers[0][field.name]
    names = [field.name for field in fields]
    for key, values in space.items():
        require(
            key in names,
            f"space: {group} '{name}' has no option '{key}'.{nearest(str(key), names)}",
        )
        require(
            isinstance(values, list | tuple) and bool(values),
            f"space: '{key}' must list the values to try, as in '{{{key}: [1, 2]}}'.",
        )
    ranges: dict[str, Range] = {}
    skipped: list[str] = []
    for key in names:
        if space:
            if key in space:
                ranges[key] = Range(choices=tuple(space[key]))
        elif key != "access":
            near = around(defaults.get(key), hints[key])
            if near is None:
                skipped.append(key)
            else:
                ranges[key] = near
    require(
        bool(ranges),
        f"{group} '{name}' has no option with a range to search; "
        "give space='{OPTION: [VALUES]}'.",
    )
    return {k: v for k, v in fixed.items() if k not in ranges}, defaults, ranges, tuple(skipped)


def around(default: Any, hint: Any) -> Range | None:
    """The values around a default that its type allows; None where there is no scale to go by."""
    bounds = list(_bounds(hint))
    while typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is Literal:
        return Range(choices=typing.get_args(hint))
    if hint is bool:
        return Range(choices=(False, True))
    number = isinstance(default, int | float) and not isinstance(default, bool)
    if hint not in (int, float) or not number or default <= 0:
        return None
    by = 4 if hint is int else 10
    low, high = (default // by, default * by) if hint is int else (default / by, default * by)
    for bound in bounds:
        edge = 1.0 if hint is int else _SMALL
        if isinstance(bound, Ge):
            low = max(low, typing.cast(float, bound.ge))
        elif isinstance(bound, Gt):
            limit = typing.cast(float, bound.gt)
            low = max(low, limit + edge * (1 if hint is int else abs(limit)))
        elif isinstance(bound, Le):
            high = min(high, typing.cast(float, bound.le))
        elif isinstance(bound, Lt):
            limit = typing.cast(float, bound.lt)
            high = min(high, limit - edge * (1 if hint is int else abs(limit)))
    return Range(low, high, hint is int) if low <= high else None


def _bounds(hint: Any) -> Iterator[Any]:
    if typing.get_origin(hint) is Annotated:
        inner, *bounds = typing.get_args(hint)
        yield from bounds
        yield from _bounds(inner)
