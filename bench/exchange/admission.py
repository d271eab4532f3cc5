"""What the overrides of a pack may say: they are data of a stranger's, until they are composed.

One pure check for each of two questions. May a pack with these overrides be read at all
(:func:`readable`)? May they be composed and run on this machine (:func:`runnable`)? The second is
an allow-list: what is not named here is refused. Overrides are read by Hydra's own parser, so that
no way of writing one slips through.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, QuotedString, Sweep
from hydra.errors import HydraException

from bench.contract.errors import UserError
from bench.contract.names import path_fault, unseen
from bench.engine.components import CORE_PACKAGES
from bench.engine.conf import config_dir
from bench.engine.overrides import AXES, first_line

MOST_WORDS = 500
"""Most overrides of a pack."""
MOST_CHARACTERS = 4_000
"""Most characters of an override."""
MOST_TEXT = 20_000
"""Most characters of all overrides of a pack together: reading 4,000 may take a second."""
MOST_VALUES = 2_000
"""Most values that an override holds."""
MOST_VARIANTS = 1_000
"""Most rows that a sweep makes."""
MOST_CELLS = 2_000_000
"""Most cells of the grid that a pack's overrides give, those that cannot work included: the
largest shipped suite has 720,000."""
_DEEPEST = 20
_LARGEST = 10_000_000
_MOST = {"seeds": 1_000, "control_seeds": 1_000, "victims": 1_000_000, "retries": 10}
_SEEDS = "base_seed"  # any number will do: nothing grows with it
_SETTINGS = frozenset(
    {
        "suite",
        "label",
        "seeds",
        "base_seed",
        "victims",
        "face_network",
        "controls",
        "control_seeds",
        "streams",
        "tuned",
        "standard",
        "budgets",
        "exclude",
        "retries",
        "timeout_s",
        "reported",
    }
)
"""Settings, besides the axes of the grid, that a pack may change."""
_TARGET = "_target_"


class RefusedError(UserError):
    """A pack asks for what no pack may have; nothing of it is judged, read or run."""


def readable(words: Sequence[str], where: str) -> None:
    """Refuse overrides that no honest pack has; what is left may be shown, not yet composed.

    Interpolations (``${...}``) read the machine that composes them, ``hydra.`` settings change what
    Hydra does there, and absurd sizes never end.

    Args:
        words: the overrides of a pack.
        where: the pack, for messages.

    Raises:
        RefusedError: names the override, what is wrong with it and what is allowed.
    """
    if len(words) > MOST_WORDS:
        raise RefusedError(
            f"'{where}' has {len(words)} overrides, {MOST_WORDS} are allowed; get it again."
        )
    if sum(map(len, words)) > MOST_TEXT:
        raise RefusedError(
            f"'{where}' has overrides of more than {MOST_TEXT} characters; get it again."
        )
    for word in words:
        why = next(_unreadable(word), "")
        if why:
            raise RefusedError(f"'{where}' has the override {_shown(word)}, which {why}.")


def runnable(words: Sequence[str], where: str, allowed: Collection[str] = ()) -> None:
    """Refuse overrides that may not be composed and run on this machine.

    Args:
        words: the overrides of a pack, without those that say where it ran.
        where: the pack, for messages.
        allowed: packages of others whose code the user lets run.

    Raises:
        RefusedError: as :func:`readable`, and for settings that are of the machine alone, code of
            packages that are not allowed, and paths out of the data folder.
    """
    readable(words, where)
    for word in words:
        why = next(_unrunnable(word, allowed), "")
        if why:
            raise RefusedError(f"'{where}' has the override {_shown(word)}, which {why}.")


def packages(words: Sequence[str]) -> list[str]:
    """Packages of others that overrides name as plugins or in a ``_target_``, each once."""
    names: dict[str, None] = {}
    for word in words:
        override = _parsed(word)
        names |= dict.fromkeys(_plugins(override))
        for target in _targets(override):
            head = target.partition(".")[0]
            if head not in CORE_PACKAGES:
                names[head] = None
    return list(names)


def _unreadable(word: str) -> Iterator[str]:
    """Why an override cannot stand in a pack, in words that follow "which"; the first counts."""
    if len(word) > MOST_CHARACTERS:
        yield f"has {len(word)} characters: {MOST_CHARACTERS} are allowed"
    if not word.isprintable():
        yield "holds control characters or marks of writing direction"
    try:
        override = _parsed(word)
    except UserError as error:
        yield f"cannot be read ({error})"
        return
    key, place, value = _key(override), str(override.package or ""), override._value
    if _head(key) == "hydra" or "hydra" in place:
        yield "changes Hydra itself: a pack may only say which suite, options and settings it ran"
    if isinstance(value, (Sweep, Glob)):
        yield "gives several values to one key: a pack is one grid"
        return
    if _depth(value) > _DEEPEST:
        yield f"is nested deeper than {_DEEPEST} levels"
    leaves = [*_leaves(override)]
    if len(leaves) > MOST_VALUES:
        yield f"holds {len(leaves)} values: {MOST_VALUES} are allowed"
    texts = [word, key, place, *(str(text) for path, leaf in leaves for text in (*path, leaf))]
    if any("${" in text for text in texts):
        yield (
            "holds an interpolation, ${...}, that would read this machine's settings or "
            "environment: write the value out"
        )
    yield from (why for path, leaf in leaves if (why := _too_large(path, leaf)))
    for name, inner in _nodes(override):
        if name == "sweep" and _variants(inner) > MOST_VARIANTS:
            yield f"makes {_variants(inner)} rows by its sweep: {MOST_VARIANTS} are allowed"


def _unrunnable(word: str, allowed: Collection[str]) -> Iterator[str]:
    """Why an override cannot be composed here, likewise."""
    override = _parsed(word)
    key, place = _key(override), override.package
    yield from (needs_code(name) for name in _plugins(override) if name not in allowed)
    if _head(key) == "plugins":
        return
    if "/" in key or _head(key) not in (*AXES, *_SETTINGS):
        yield (
            "is a setting of the machine it ran on, or unknown: a pack may change "
            f"{', '.join(sorted((*AXES, *_SETTINGS)))}"
        )
    if place is not None and (key, place) != ("attack", "baseline"):
        yield f"puts '{key}' to another place, '@{place}'"
    for target in _targets(override):
        package = target.partition(".")[0]
        if package not in (*CORE_PACKAGES, *allowed):
            yield needs_code(package)
        elif package in CORE_PACKAGES and target not in _shipped():
            yield f"names the class '{target}', which no shipped option names"
    chosen = key in (*AXES, "suite", "label")
    for text in (leaf for _, leaf in _leaves(override) if isinstance(leaf, str)):
        if chosen and text and path_fault(text):
            yield f"names '{text[:80]}', which is no name of an option"
        if _leads_out(text):
            yield (
                f"names the place '{text[:80]}': of a pack, files are named from the data folder "
                f"down; give your own place, {key}=..., after the command"
            )


def needs_code(package: str) -> str:
    """That code of others is asked for, and how to allow it, in words that follow the pack."""
    return (
        f"needs code of the package '{package}', which is not ours and is not run for a pack; if "
        f"you trust it, give --allow-code {package}, which shows its files and their sha256 first"
    )


def _parsed(word: str) -> Override:
    """An override as Hydra reads it.

    Raises:
        UserError: it is none.
    """
    try:
        return OverridesParser.create().parse_override(word)
    except (HydraException, RecursionError, ValueError, OverflowError) as error:
        raise UserError(first_line(error)[:120] if str(error).strip() else "no override") from error


def _nodes(override: Override) -> Iterator[tuple[str, Any]]:
    """Every value of an override with the last part of its key, mappings and lists included."""

    def walk(name: str, value: Any) -> Iterator[tuple[str, Any]]:
        yield name, value
        if isinstance(value, Mapping):
            for key, inner in value.items():
                yield from walk(str(_plain(key)), inner)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                yield from walk(name, inner)

    if override.value_type is not None and not isinstance(override._value, (Sweep, Glob)):
        yield from walk(_key(override).rpartition(".")[2], override._value)


def _leaves(override: Override) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that holds no other, with the path of keys to it."""

    def walk(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                yield from walk((*path, str(_plain(key))), inner)
            return
        if isinstance(value, (list, tuple)):
            for inner in value:
                yield from walk(path, inner)
            return
        yield path, _plain(value)

    if override.value_type is not None and not isinstance(override._value, (Sweep, Glob)):
        yield from walk(tuple(_key(override).split(".")), override._value)


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, QuotedString) else value


def _key(override: Override) -> str:
    return str(override.key_or_group)


def _head(key: str) -> str:
    return re.split(r"[./@]", key)[0]


def _plugins(override: Override) -> list[str]:
    """Packages that an override names as plugins."""
    if _head(_key(override)) != "plugins":
        return []
    return [str(leaf) for _, leaf in _leaves(override) if leaf is not None]


def _targets(override: Override) -> list[str]:
    return [str(leaf) for path, leaf in _leaves(override) if path[-1] == _TARGET]


@functools.cache
def _shipped() -> frozenset[str]:
    """Classes that the shipped options name."""
    texts = (path.read_text(encoding="utf-8") for path in config_dir().rglob("*.yaml"))
    found = (re.findall(r"^\s+_target_:\s*([\w.]+)\s*$", text, re.MULTILINE) for text in texts)
    return frozenset(name for names in found for name in names)


def _too_large(path: Sequence[str], leaf: Any) -> str:
    """Why a number is absurd; empty: it is not."""
    if isinstance(leaf, bool) or not isinstance(leaf, (int, float)) or path[-1] == _SEEDS:
        return ""
    most = _MOST.get(path[-1], _LARGEST)
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return ""  # what takes it refuses or means it: no loop counts to it
    return f"asks for {str(leaf)[:24]}: at most {most} is allowed" if abs(leaf) > most else ""


def _variants(value: Any) -> int:
    """How many rows a sweep makes: a list's entries, of a mapping all combinations."""
    if isinstance(value, Mapping):
        return math.prod(max(1, len(v)) for v in value.values() if isinstance(v, (list, tuple)))
    if isinstance(value, (list, tuple)):
        return sum(_variants(item) for item in value)
    return 1


def _leads_out(text: str) -> bool:
    """Whether a text is a place outside of the data folder, or on another machine."""
    parts = re.split(r"[/\\]", text)
    return (
        text.startswith(("/", "\\", "~"))
        or ".." in parts
        or "://" in text
        or bool(re.match(r"[A-Za-z]:[/\\]", text))
    )


def _depth(value: Any) -> int:
    """Levels of lists and mappings; the parser's own stack bounds them."""
    if isinstance(value, Mapping):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, (list, tuple)):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _shown(word: str) -> str:
    """An override as messages show it: short, on one line, without what a terminal obeys."""
    text = word if len(word) <= 120 else f"{word[:120]}..."
    return f"'{text}'" if text.isprintable() and not unseen(text) else ascii(text)
