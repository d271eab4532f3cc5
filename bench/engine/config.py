"""One Hydra compose is one grid: options become plain dicts, variants and stacks are expanded."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from bench.contract.errors import UserError, nearest, require
from bench.contract.identity import fits
from bench.engine.conf import config_dir, importable, list_options
from bench.engine.overrides import (
    AXES,
    first_line,
    label_of,
    one_value,
    quoted,
    readable,
    split_sweeps,
)
from bench.engine.settings import Settings
from bench.engine.variants import flat, layers_of, members, merged, shown_value, variants

_GROUPS = (*AXES, "suite", "backend", "tracking")


@dataclass(frozen=True)
class Option:
    """One row of an axis.

    Attributes:
        name: row name, variants included: ``dp_sgd[epsilon=3]``.
        file: option it came from: ``dp_sgd``.
        layers: component configs; more than one for a stack of defenses.
        where: how messages name it.
        group: the axis: ``defense``.
    """

    name: str
    file: str
    layers: tuple[Mapping[str, Any], ...]
    where: str
    group: str


@dataclass(frozen=True)
class Grid:
    """A composed suite: settings, and the rows of every axis."""

    settings: Settings
    options: Mapping[str, tuple[Option, ...]]
    overrides: tuple[str, ...]

    def excluded(self, cell: Mapping[str, str]) -> bool:
        """Whether ``exclude`` leaves this cell out."""
        return any(
            all(fits(cell[axis], pattern) for axis, pattern in rule.items())
            for rule in self.settings.exclude
        )


def compose_grid(overrides: Sequence[str], extra_dir: Path | None = None) -> Grid:
    """Compose a suite from Hydra overrides.

    Args:
        overrides: ``key=value`` words in Hydra's grammar.
        extra_dir: a user's own options, searched besides the built-in ones; packages in it can be
            imported from then on.

    Raises:
        UserError: anything wrong with the overrides or the options.
    """
    require(
        extra_dir is None or extra_dir.is_dir(),
        f"--config-dir: there is no folder '{extra_dir}'; name one holding dataset/, attack/ ...",
    )
    sys.path.extend(folder for folder in importable(extra_dir) if folder not in sys.path)
    # Group choices first: a stack may name options that the grid does not list, and they must be
    # composed too, or an override of one of their keys would find nothing to override.
    overrides, sweeps = split_sweeps([readable(word) for word in overrides])
    choices = [o for o in overrides if "." not in o.partition("=")[0]]
    base = _plain(_compose(choices, extra_dir))
    listed = {group: _listed(group, base.get(group) or {}, extra_dir) for group in AXES}
    stacked = _stacked(base["defense"] or {}, listed["defense"], choices, extra_dir)
    words = [_addable(o, {**listed, "defense": [*listed["defense"], *stacked]}) for o in overrides]
    if stacked:
        words = _without(words, "defense")
        words.append(f"defense=[{','.join([*listed['defense'], *stacked])}]")
    plain = base if words == choices else _plain(_compose(words, extra_dir))
    groups = {group: plain.pop(group, None) or {} for group in AXES}
    for word, (group, name, sweep) in sweeps.items():
        _listed_or_refused(word, group, name, listed[group])
        groups[group][name] = {**groups[group][name], "sweep": sweep}
    options = {
        group: tuple(
            option
            for name in listed[group]
            if name in groups[group]
            for option in expand(group, name, groups[group])
        )
        for group in AXES
    }
    for group in AXES:
        require(bool(options[group]), f"'{group}' lists no option; name at least one.")
    words = [*overrides, *sweeps]
    plain["label"] = plain.get("label") or label_of(str(plain.get("suite")), words)
    return Grid(_settings(plain), options, tuple(words))


def _listed_or_refused(word: str, group: str, name: str, listed: Sequence[str]) -> None:
    require(name in listed, f"'{word}': the grid has no {group} '{name}'.{nearest(name, listed)}")


def _listed(group: str, options: Mapping[str, Any], extra_dir: Path | None) -> list[str]:
    """Names the grid lists; a suite may also adjust options that an override then left out.

    What is left of such an option is the adjustment, without the file's ``_target_``.
    """
    folder = "attack" if group == "baseline" else group

    def left_out(name: str, option: Any) -> bool:
        if not isinstance(option, Mapping) or {"_target_", "stack"} & set(option):
            return False
        files = (r / folder / f"{name}.yaml" for r in (config_dir(), extra_dir) if r is not None)
        texts = (path.read_text(encoding="utf-8") for path in files if path.is_file())
        return any(re.search(r"^  (_target_|stack):", text, re.MULTILINE) for text in texts)

    return [name for name, option in options.items() if not left_out(name, option)]


def _addable(word: str, names: Mapping[str, list[str]]) -> str:
    """Let an override set any key of an option, ``sweep`` and defaults left unsaid included.

    Whether the component has the key is checked when it is built, with the nearest name.
    """
    group, _, rest = word.partition("=")[0].partition(".")
    option = rest.partition(".")[0]
    if group not in AXES or not rest:
        return word
    _listed_or_refused(word, group, option, names[group])
    return f"++{word}"


def _stacked(
    options: Mapping[str, Any], listed: list[str], choices: Sequence[str], extra_dir: Path | None
) -> list[str]:
    """Names that stacks of the listed defenses use and the grid does not list."""
    found: list[str] = []
    todo = [
        name
        for option, config in options.items()
        if isinstance(config, Mapping) and config.get("stack")
        for name, _ in members(config["stack"], f"defense '{option}'")
    ]
    while todo:
        name = todo.pop(0)
        if name in listed or name in found:
            continue
        found.append(name)
        extra = _plain(_compose([*_without(choices, "defense"), f"defense=[{name}]"], extra_dir))
        inner = (extra["defense"][name] or {}).get("stack")
        todo += [n for n, _ in members(inner, f"defense '{name}'")] if inner else []
    return found


def _without(words: Sequence[str], key: str) -> list[str]:
    return [w for w in words if w.partition("=")[0] != key]


_ONE_AT_A_TIME = threading.RLock()
"""Hydra keeps what it composes in one place for the whole process."""


def _compose(overrides: Sequence[str], extra_dir: Path | None) -> Any:
    words = list(overrides)
    folders = [config_dir()]
    if extra_dir is not None:
        folders.append(extra_dir.resolve())
        words.append(f"hydra.searchpath=[{quoted(f'file://{folders[-1]}')}]")
    parts = [folder / group for folder in folders for group in _GROUPS]
    files = [*folders[0].glob("*.yaml"), *(path for part in parts for path in part.rglob("*.yaml"))]
    stamps = tuple(
        (str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in sorted(files)
    )
    try:
        with _ONE_AT_A_TIME:
            return _composed(tuple(words), stamps)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(_sentence(error, overrides, extra_dir)) from error


@lru_cache(maxsize=16)
def _composed(words: tuple[str, ...], stamps: tuple[tuple[str, int, int], ...]) -> Any:
    """What Hydra makes of ``words``, references unresolved; nobody may change it.

    A command asks for its settings at several places and composing takes a quarter of a second,
    so it is done once as long as the option files keep their ``stamps``.
    """
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("config", overrides=list(words))


def _plain(config: Any) -> dict[str, Any]:
    try:
        out = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"Configuration: {first_line(error)}; give that key a value.") from error
    assert isinstance(out, dict)
    return {str(k): v for k, v in out.items()}


def _sentence(error: Exception, overrides: Sequence[str], extra_dir: Path | None) -> str:
    """Hydra's error as one sentence with the nearest valid name."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"'{mark.name}', line {mark.line + 1} cannot be read as YAML: {error.problem}."
    text = str(error)
    several = re.search(r"Ambiguous value for argument '(([^=']+)=([^']*))'", text)
    if several:
        return one_value(*(text.lstrip("+") for text in several.groups()))
    missing = re.search(r"Could not (?:find|load) '([\w@]+)/([^']+)'", text)
    if missing:
        group, name = missing.group(1).split("@")[0], missing.group(2)
        own = f" To give a run a name of your own, write label={name}." if group == "suite" else ""
        hint = nearest(name, list_options(group, extra_dir))
        return f"There is no {group} option '{name}'.{hint}{own}"
    key = re.search(r"Could not override '([^']+)'", text)
    if key is None:
        unknown = re.search(r"Key '([^']+)' is not in struct", text)
        return (
            f"Unknown setting '{unknown.group(1)}'."
            if unknown
            else f"Configuration: {first_line(error)} (in: {' '.join(overrides) or 'none'})."
        )
    path = key.group(1).split("@")[0]
    head, _, last = path.rpartition(".")
    valid = _valid_keys(head, extra_dir, overrides)
    where = f"Option '{head}'" if head else "Settings"
    return (
        f"{where}: unknown key '{last}'.{nearest(last, valid)} "
        f"Put a + before it to add a key such as 'sweep'."
    )


def _valid_keys(head: str, extra_dir: Path | None, overrides: Sequence[str]) -> list[str]:
    chosen = [o for o in overrides if o.partition("=")[0].partition("@")[0] in _GROUPS]
    node: Any = _plain(_compose(chosen, extra_dir))
    for part in head.split(".") if head else []:
        node = node.get(part) if isinstance(node, dict) else None
    return [str(k) for k in node] if isinstance(node, dict) else []


def _settings(plain: Mapping[str, Any]) -> Settings:
    try:
        settings = Settings.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        words = first["msg"].removeprefix("Value error, ")
        raise UserError(
            f"Setting '{where}': {words[:1].lower()}{words[1:]} (got {first['input']!r})."
        ) from error
    for name in ("timeout_s", "resources"):
        require(
            "default" in getattr(settings, name),
            f"Setting '{name}' needs the key 'default'.",
        )
    return settings


def expand(group: str, name: str, options: Mapping[str, Any]) -> list[Option]:
    """The rows of one option: one per variant of its ``sweep``."""
    where = f"{group} '{name}'"
    config = options[name]
    require(
        isinstance(config, Mapping),
        f"{where}: its file must hold one key, '{name}', with the option's keys below it.",
    )
    body = {k: v for k, v in config.items() if k != "sweep"}
    if "stack" in body:
        require(group == "defense", f"{where}: only a defense may be a stack.")
        layers = tuple(
            layer
            for part, keys in members(body["stack"], where)
            for layer in layers_of(part, keys, options, where, (name,))
        )
        return [Option(name, name, layers, where, group)]
    rows: list[Option] = []
    for variant in variants(config.get("sweep"), where):
        label = ",".join(f"{k}={shown_value(v)}" for k, v in flat(variant))
        row = f"{name}[{label}]" if variant else name
        layer = merged(body, variant)
        rows.append(Option(row, name, (layer,), f"{group} '{row}'", group))
    return rows
