"""Variants of options: the rows of a sweep, the layers of a stack, and how they are named."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from bench.contract.errors import nearest, require


def flat(variant: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{prior: {n_aux: 50}}`` as ``prior.n_aux``, 50."""
    for key, value in variant.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def merged(body: Mapping[str, Any], variant: Mapping[str, Any]) -> dict[str, Any]:
    """``body`` with the variant's values; what both hold as mappings is merged in turn."""
    out = dict(body)
    for key, value in variant.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if both else value
    return out


def layers_of(
    part: str,
    keys: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    where: str,
    above: tuple[str, ...],
) -> tuple[Mapping[str, Any], ...]:
    """The components that one member of a stack stands for.

    Args:
        part: name of the member.
        keys: what the stack sets of it; None: nothing.
        options: every option that was composed, by its name.
        where: the stack, as messages name it.
        above: the stacks that contain it, the outermost first.

    Raises:
        UserError: the member is unknown, has a sweep, or contains itself.
    """
    require(
        part not in above, f"{where}: the stack contains itself ({' > '.join((*above, part))})."
    )
    require(
        part in options,
        f"{where}: the stack names '{part}'; a stack given on the command line may use defenses "
        f"that the grid lists only, so list it in 'defense=[...]'.{nearest(part, options)}",
    )
    config = dict(options[part])
    if keys is not None:
        config = merged({k: v for k, v in config.items() if k != "sweep"}, keys)
    require(
        "sweep" not in config,
        f"{where}: '{part}' has a sweep and a stack takes one variant; say which, as in "
        f"'{{{part}: {{key: value}}}}', or '{{{part}: {{}}}}' for the file's own.",
    )
    if "stack" in config:
        return tuple(
            layer
            for sub, inner in members(config["stack"], where)
            for layer in layers_of(sub, inner, options, where, (*above, part))
        )
    return (dict(config),)


def members(stack: Any, where: str) -> list[tuple[str, Mapping[str, Any] | None]]:
    """Names of a stack's layers, each with the keys that pick its variant; None: as it is."""
    wrong = (
        f"{where}: 'stack' must be a list of defense names, such as [dp_sgd, top_k]; a member may "
        "set keys, as in [{dp_sgd: {epsilon: 3}}, top_k]."
    )
    require(isinstance(stack, list) and bool(stack), wrong)
    found: list[tuple[str, Mapping[str, Any] | None]] = []
    for item in stack:
        if isinstance(item, str):
            found.append((item, None))
            continue
        require(isinstance(item, Mapping) and len(item) == 1, wrong)
        [(name, keys)] = item.items()
        require(isinstance(name, str) and isinstance(keys, Mapping), wrong)
        found.append((name, keys))
    return found


def variants(sweep: Any, where: str) -> list[dict[str, Any]]:
    """What each row of a sweep sets; one row that sets nothing where there is no sweep.

    Raises:
        UserError: the sweep is neither a mapping of lists nor a list of mappings.
    """
    if not sweep:
        return [{}]
    if isinstance(sweep, Mapping):
        lists = [v if isinstance(v, list) else [v] for v in sweep.values()]
        empty = [key for key, values in zip(sweep, lists, strict=True) if not values]
        require(
            not empty,
            f"{where}: the sweep of '{next(iter(empty), '')}' has no value, which leaves no row; "
            "give at least one, or leave the sweep out.",
        )
        return [dict(zip(sweep, values, strict=True)) for values in itertools.product(*lists)]
    require(
        isinstance(sweep, list) and all(isinstance(v, Mapping) for v in sweep),
        f"{where}: 'sweep' must be a mapping of lists or a list of mappings.",
    )
    return [dict(v) for v in sweep]


def shown_value(value: Any) -> str:
    """A value as it stands in a row's name."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list | tuple):
        return "(" + " ".join(shown_value(v) for v in value) + ")"
    if isinstance(value, Mapping):
        return "{" + " ".join(f"{k}:{shown_value(v)}" for k, v in value.items()) + "}"
    return str(value)
