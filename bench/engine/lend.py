"""Components that are given as objects, from a notebook say, instead of being named in a config."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.contract import Component, UserError, require
from bench.contract.source import has_file
from bench.engine.components import CORE_PACKAGES, LENT, TARGET
from bench.engine.config import Option


@contextmanager
def lent(components: Sequence[Component]) -> Iterator[None]:
    """Let options name the classes of these components, wherever they were defined.

    The classes can be found in this process alone, so that what is run with them is run here.
    """
    names = {name_of(type(part)): type(part) for part in components}
    LENT.update(names)
    try:
        yield
    finally:
        for name in names:
            LENT.pop(name, None)


def name_of(kind: type[Any]) -> str:
    """The dotted name of a class, unique among those that exist at one time."""
    return f"{kind.__module__}.{kind.__qualname__}".replace("<locals>", "locals")


def kept(component: Component) -> bool:
    """Whether its results can be known by the text of its module.

    That has to be a file, and the class must stand at its top: what a function makes anew at every
    call may depend on more than the text.
    """
    kind = type(component)
    return kind.__qualname__ == kind.__name__ and has_file(kind.__module__)


def packages_of(components: Iterable[Component]) -> list[str]:
    """Top-level packages of their classes, whose code is then part of what results are known by."""
    modules = (type(part).__module__ for part in components if kept(part))
    return sorted({module.partition(".")[0] for module in modules} - {*CORE_PACKAGES})


def option(component: Component, group: str, prior: Component | None = None) -> Option:
    """The option that describes an object.

    Args:
        component: a data set, model, defense or attack.
        group: the axis it stands on.
        prior: of an attack.

    Raises:
        UserError: it is no component, or an option of it cannot stand in a config.
    """
    where = f"{group} {type(component).__name__}"
    layer = _config(component, where)
    if prior is not None:
        layer["prior"] = _config(prior, f"{where}, prior")
    name = type(component).__name__
    default = {f.name: f.default for f in _fields(component)}
    label = ",".join(
        f"{key}={value}" for key, value in layer.items() if key in default and value != default[key]
    )
    return Option(f"{name}[{label}]" if label else name, name, (layer,), where, group)


def _fields(component: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(component)


def _config(component: Any, where: str) -> dict[str, Any]:
    require(
        isinstance(component, Component) and dataclasses.is_dataclass(component),
        f"{where} is no component: give an object of a dataclass that subclasses one of the "
        "interfaces of bench.contract, or the name of an option.",
    )
    config: dict[str, Any] = {TARGET: name_of(type(component))}
    for field in _fields(component):
        value = getattr(component, field.name)
        if not _plain(value):
            raise UserError(
                f"{where}: its option '{field.name}' holds {type(value).__name__}; an option is a "
                "number, text, true, false, null, or a list or mapping of these."
            )
        config[field.name] = value
    return config


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and _plain(v) for k, v in value.items())
    return value is None or isinstance(value, bool | int | float | str)
