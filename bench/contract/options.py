"""Options of components: their types say which values are allowed, one function checks them all.

A field of a component is declared with its range, as in ``steps: Count = 100`` or
``rate: Annotated[float, Ge(0), Lt(1)] = 0.5`` (metadata of the package ``annotated-types``). A
``Literal`` lists the allowed words. Numbers must be finite.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf

from bench.contract.errors import UserError

Count = Annotated[int, Ge(1)]
"""A whole number of at least 1."""
CountOrZero = Annotated[int, Ge(0)]
"""A whole number of at least 0."""
Positive = Annotated[float, Gt(0)]
"""A number above 0."""
NonNegative = Annotated[float, Ge(0)]
"""A number of at least 0."""
Probability = Annotated[float, Ge(0), Le(1)]
"""A number from 0 to 1."""
Share = Annotated[float, Ge(0), Lt(1)]
"""A number of at least 0 and below 1."""
Fraction = Annotated[float, Gt(0), Lt(1)]
"""A number above 0 and below 1."""

_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list",
    list: "a list",
}


@dataclass(frozen=True)
class OptionDoc:
    """What a user must know of one option.

    Attributes:
        name: the key in a YAML file and on the command line.
        type: ``whole number``, ``number``, ``text``, ``true or false``, ``list`` ...
        default: as YAML writes it; empty where a value must be given.
        allowed: the range in words; empty where the type says everything.
        text: its line in the class docstring.
    """

    name: str
    type: str
    default: str
    allowed: str
    text: str


_HINTS: dict[type[Any], dict[str, Any]] = {}


def type_hints(cls: type[Any]) -> Mapping[str, Any]:
    """The declared types of a component's fields, with their ranges."""
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls, include_extras=True)
    return _HINTS[cls]


def check_options(component: Any) -> None:
    """Refuse a value outside the range that the type of its field declares.

    Args:
        component: an instance of a dataclass.

    Raises:
        UserError: names the option, its value and what is allowed.
    """
    hints = type_hints(type(component))
    for field in dataclasses.fields(component):
        value = getattr(component, field.name)
        if not _fits(value, hints[field.name]):
            raise UserError(f"{field.name} is {_shown(value)}; give {allowed(hints[field.name])}.")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value keeps the range of its type; of other types than declared nothing is said."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _fits(value, args[0]) and all(_keeps(value, bound) for bound in args[1:])
    if origin is Literal:
        return value in args
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, kind) for kind in args if _is_of(value, kind))
    if origin is tuple and isinstance(value, tuple | list):
        if args and args[-1] is not Ellipsis:
            return len(value) == len(args) and all(map(_fits, value, args))
        return all(_fits(item, args[0]) for item in value)
    return not (isinstance(value, float) and not math.isfinite(value))


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value could be meant by one kind of a union."""
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    origin = typing.get_origin(hint) or hint
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(origin, type) or isinstance(
        value, (origin, list) if origin is tuple else origin
    )


_HOLDS: Mapping[type, Callable[[Any, Any], bool]] = {
    Ge: operator.ge,
    Gt: operator.gt,
    Le: operator.le,
    Lt: operator.lt,
    MultipleOf: lambda value, step: value % step == 0,
    MinLen: lambda value, length: len(value) >= length,
}


def _keeps(value: Any, bound: Any) -> bool:
    """Whether a value keeps one bound; a bound that is not known here says nothing."""
    holds = _HOLDS.get(type(bound))
    return holds is None or holds(value, _limit(bound))


def _limit(bound: Any) -> Any:
    """The number in a bound."""
    [field] = dataclasses.fields(bound)
    return getattr(bound, field.name)


def _shown(value: Any) -> str:
    return "null" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def allowed(hint: Any) -> str:
    """What a type allows, in words: ``a whole number of at least 1, or null``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        gap = ", " if typing.get_origin(args[0]) is tuple else " "
        return f"{allowed(args[0])}{gap}{' and '.join(map(_in_words, args[1:]))}"
    if origin is Literal:
        words = f"one of {', '.join(map(str, args))}"
    elif origin in (typing.Union, types.UnionType):
        words = " or ".join(allowed(kind) for kind in args if kind is not type(None))
        words += ", or null" if type(None) in args else ""
    elif origin is tuple and args:
        size = "" if args[-1] is Ellipsis else f" of {len(args)}"
        words = f"a list{size}, each {allowed(args[0])}"
    else:
        words = _named(hint)
    return words


def _named(hint: Any) -> str:
    """The kind of a type in words."""
    origin = typing.get_origin(hint) or hint
    if origin in _WORDS:
        return _WORDS[origin]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    return "anything" if hint is Any else str(getattr(hint, "__name__", hint))


_BOUNDS: Mapping[type, str] = {
    Ge: "of at least",
    Gt: "above",
    Le: "at most",
    Lt: "below",
    MultipleOf: "divisible by",
    MinLen: "of length at least",
}


def _in_words(bound: Any) -> str:
    return f"{_BOUNDS[type(bound)]} {_limit(bound):g}"


def options_of(cls: type[Any]) -> Iterator[OptionDoc]:
    """Every option of a component, in the order of its fields."""
    hints, texts = type_hints(cls), attribute_texts(cls)
    for field in dataclasses.fields(cls):
        if field.init:
            hint = hints[field.name]
            yield OptionDoc(
                field.name,
                _kind(hint),
                _default(field),
                allowed(hint) if _kind(hint) != allowed(hint).removeprefix("a ") else "",
                texts.get(field.name, ""),
            )


def _kind(hint: Any) -> str:
    """The plain kind of a type: ``whole number``, ``list``, ``text or null``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _kind(args[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if kind is type(None) else _kind(kind) for kind in args)
    return "word" if origin is Literal else _named(hint).removeprefix("a ")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return shown_default(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return shown_default(field.default_factory())
    return ""


def shown_default(value: Any) -> str:
    """The value of an option as YAML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(shown_default, value))}]"
    return "null" if value is None else str(value)


def attribute_texts(cls: type[Any]) -> dict[str, str]:
    """What the ``Attributes:`` sections of a class and of its bases say of each name."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        section = re.search(
            r"^Attributes:\n((?:[ \t]+.*\n?|\n)*)", inspect.cleandoc(base.__doc__ or ""), re.M
        )
        name = ""
        for line in section.group(1).splitlines() if section else ():
            entry = re.match(r"    (\w+)(?: \([^)]*\))?: (.*)", line)
            if entry:
                name, texts[entry.group(1)] = entry.group(1), entry.group(2)
            elif name and line.strip():
                texts[name] += f" {line.strip()}"
    return texts
