"""From an option's plain dict to a component: located by name, checked, normalised."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Mapping
from typing import Any

from bench.contract import Component, UserError, nearest, require

TARGET = "_target_"
CORE_PACKAGES = ("bench", "attacks", "defenses")
LENT: dict[str, type[Any]] = {}
"""Classes of components that were given as objects, by the name that options call them."""


def locate(target: str, where: str, packages: tuple[str, ...] = CORE_PACKAGES) -> type[Any]:
    """The class named by a ``_target_``.

    Args:
        target: dotted name of a class.
        where: the option it stands in, for messages.
        packages: top-level packages that may be imported.

    Raises:
        UserError: a name outside ``packages``, an unknown module or class.
    """
    if target in LENT:
        return LENT[target]
    module_name, _, name = target.rpartition(".")
    _require_package(target, where, packages)
    require(bool(module_name), f"{where}: '{target}' names no class in a module.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise UserError(f"{where}: importing '{module_name}' needs '{error.name}'.") from error
        parent = module_name.rpartition(".")[0]
        raise UserError(
            f"{where}: there is no module '{module_name}'.{nearest(module_name, _modules(parent))}"
        ) from error
    found = getattr(module, name, None)
    if not (inspect.isclass(found) and dataclasses.is_dataclass(found)):
        valid = [
            f"{module_name}.{key}"
            for key, value in vars(module).items()
            if inspect.isclass(value)
            and dataclasses.is_dataclass(value)
            and value.__module__ == module_name
        ]
        raise UserError(f"{where}: '{target}' is no component.{nearest(target, valid)}")
    return found


def _require_package(name: str, where: str, packages: tuple[str, ...]) -> None:
    """Refuse a dotted name outside the packages that options may name."""
    require(
        name.split(".", maxsplit=1)[0] in packages,
        f"{where}: '{name}' is outside the packages that options may name: "
        f"{', '.join(packages)}. Add its package to 'plugins=[...]' if you trust it.",
    )


def _modules(package: str) -> list[str]:
    try:
        path = importlib.import_module(package).__path__
    except (ImportError, AttributeError):
        return []
    return [f"{package}.{item.name}" for item in pkgutil.iter_modules(path)]


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(cls: type[Any]) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


def normalise(
    config: Mapping[str, Any], where: str, packages: tuple[str, ...] = CORE_PACKAGES
) -> dict[str, Any]:
    """The option with every field of its component, defaults included, in its declared type.

    An option that spells out a default, or writes ``1`` for ``1.0``, is the same component.

    Raises:
        UserError: no ``_target_``, an unknown key, a missing one or a value of the wrong type.
    """
    require(
        isinstance(config, Mapping) and isinstance(config.get(TARGET), str),
        f"{where}: an option needs a '{TARGET}' naming its class, such as attacks.miface.MIFace.",
    )
    cls = locate(config[TARGET], where, packages)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    for key in config:
        if key != TARGET and key not in fields:
            raise UserError(f"{where}: unknown key '{key}'.{nearest(key, fields)}")
    out: dict[str, Any] = {TARGET: config[TARGET]}
    for name, field in fields.items():
        if name in config:
            key = f"{where}, key '{name}'"
            value = config[name]
            if isinstance(value, Mapping) and _is_component(_hints(cls)[name]):
                value = normalise(value, key, packages)
            else:
                value = _coerce(value, _hints(cls)[name], key)
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise UserError(f"{where}: key '{name}' is missing; give it a value.")
        out[name] = _plain(value)
    return out


def build(config: Mapping[str, Any], where: str, packages: tuple[str, ...] = CORE_PACKAGES) -> Any:
    """The component an option describes.

    Raises:
        UserError: as :func:`normalise`, or a value its component refuses.
    """
    full = normalise(config, where, packages)
    cls = locate(full.pop(TARGET), where, packages)
    hints = _hints(cls)
    values = {}
    for name, value in full.items():
        key = f"{where}, key '{name}'"
        inner = isinstance(value, Mapping) and _is_component(hints[name])
        part = build(value, key, packages) if inner else value
        values[name] = _coerce(part, hints[name], key)
    try:
        made = cls(**values)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(where) else f"{where}: {text}") from error
    for module in made.imports:
        _require_package(module, where, packages)
    return made


def _is_component(hint: Any) -> bool:
    """Whether an option holds a component of its own, or null."""
    kinds = [k for k in typing.get_args(hint) if k is not type(None)] or [hint]
    return all(isinstance(kind, type) and issubclass(kind, Component) for kind in kinds)


def modules_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Modules of the class that an option names, and of those in its own options."""
    own = str(config[TARGET]).rpartition(".")[0]
    inner = (v for v in config.values() if isinstance(v, Mapping) and TARGET in v)
    return (own, *(module for value in inner for module in modules_of(value)))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """``value`` in the type ``hint``: int to float, list to tuple; everything else must match."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, args, where)
    if origin is typing.Literal:
        if value not in args:
            raise UserError(
                f"{where}: {value!r} is not allowed.{nearest(str(value), map(str, args))}"
            )
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin in (tuple, list) and isinstance(value, list | tuple):
        item = args[0] if args else Any
        return (tuple if origin is tuple else list)(_coerce(v, item, where) for v in value)
    base = origin or hint
    if hint is type(None):
        base = type(None)
    if base in (Mapping, dict) or (isinstance(base, type) and issubclass(base, Mapping)):
        base = Mapping
    if isinstance(base, type) and (
        not isinstance(value, base) or (base is int and isinstance(value, bool))
    ):
        raise UserError(f"{where}: {value!r} is {_name(type(value))}, it must be {_name(base)}.")
    return value


def _coerce_union(value: Any, args: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in args:
        return None
    kinds = [a for a in args if a is not type(None)]
    exact = [a for a in kinds if isinstance(a, type) and type(value) is a]
    problems: list[UserError] = []
    for kind in [*exact, *kinds]:
        try:
            return _coerce(value, kind, where)
        except UserError as error:
            problems.append(error)
    if len(kinds) == 1:
        raise problems[0]
    allowed = " or ".join(_name(a) for a in args)
    raise UserError(f"{where}: {value!r} is {_name(type(value))}, it must be {allowed}.")


def _name(kind: Any) -> str:
    return {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        type(None): "null",
        Mapping: "a mapping",
        list: "a list",
        tuple: "a list",
        dict: "a mapping",
    }.get(kind, str(kind))
