"""Overrides as a user writes them, before Hydra reads them."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException

from bench.contract.errors import UserError

AXES = ("dataset", "model", "defense", "attack", "baseline")
"""Config groups whose options are the axes of a grid; ``baseline`` draws from ``attack``."""

_NOT_THE_GRID = frozenset(
    {
        "suite",
        "label",
        "seeds",
        "control_seeds",
        "rerun",
        "data_root",
        "store",
        "report_dir",
        "plugins",
        "progress",
        "retries",
        "timeout_s",
        "resources",
        "infrastructure",
        "backend",
        "tracking",
        "reported",
        "hydra",
    }
)


"""Settings that leave a suite's grid the suite's own."""


_PATHS = ("store", "report_dir", "data_root")
"""Settings that are one path each, and nothing else."""


def readable(word: str) -> str:
    """An override that Hydra's grammar can read; one of a path is quoted where it has to be.

    Args:
        word: as the user wrote it.

    Raises:
        UserError: it cannot be read; says what to paste where the value is meant as it stands.
    """
    key, equals, value = word.partition("=")
    is_path = key.lstrip("+") in _PATHS
    quoted_word = f"{key}={quoted(value)}"
    try:
        override = OverridesParser.create().parse_override(word)
        parsed = override.value()
    except HydraException as error:
        if is_path:
            return quoted_word
        if not equals:
            return word
        raise UserError(
            f"'{word}' cannot be read ({first_line(error)}). A value with = , ( ) [ ] {{ }} ' # or "
            f"letters outside ASCII stands in quotes of its own: {shlex.quote(quoted_word)}"
        ) from error
    plain = parsed is None or isinstance(parsed, (str, QuotedString))
    # Of a text without quotes Hydra takes some backslashes for its own.
    whole = not isinstance(parsed, str) or "\\" not in value or parsed == value
    return word if (plain and whole) or not is_path else quoted_word


def quoted(value: str) -> str:
    """A text as Hydra's grammar reads it back, whatever stands in it."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'


def label_of(suite: str, words: Iterable[str]) -> str:
    """What a run is called where its user does not say.

    A suite as it is defined keeps its name. A grid that overrides changed gets a name that the same
    overrides give again and others do not, so that it never replaces the suite's own report.
    """
    own = sorted(w for w in words if re.split(r"[.=@]", w.lstrip("+~"))[0] not in _NOT_THE_GRID)
    if not own:
        return suite
    return f"{suite}-{hashlib.sha256(' '.join(own).encode()).hexdigest()[:6]}"


def split_sweeps(
    overrides: Sequence[str],
) -> tuple[list[str], dict[str, tuple[str, str, Any]]]:
    """The overrides without those of a sweep, and these by their word: group, option, value.

    A sweep that a user gives replaces the one of the file, whatever shape that has; Hydra would
    merge the two.
    """
    words, sweeps = [], {}
    for word in overrides:
        key = word.partition("=")[0].lstrip("+")
        parts = key.split(".")
        if len(parts) == 3 and parts[0] in AXES and parts[2] == "sweep":
            try:
                override = OverridesParser.create().parse_override(f"x={word.partition('=')[2]}")
            except HydraException as error:
                raise UserError(f"'{word}' cannot be read: {first_line(error)}.") from error
            sweeps[word] = (parts[0], parts[1], _plain_value(override.value()))
        else:
            words.append(word)
    return words, sweeps


def _plain_value(value: Any) -> Any:
    """A value of Hydra's grammar without its marks of quoting."""
    if isinstance(value, dict):
        return {str(_plain_value(k)): _plain_value(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain_value(item) for item in value]
    return value.text if isinstance(value, QuotedString) else value


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without a full stop."""
    return str(error).strip().splitlines()[0].rstrip(".")


def one_value(word: str, key: str, values: str) -> str:
    """What to write where a user gave several values as Hydra's multirun takes them."""
    group, _, rest = key.partition(".")
    one = shlex.quote(f"{key}={quoted(values)}")
    if group in AXES and rest:
        option, _, name = rest.rpartition(".")
        return (
            f"'{word}' gives several values to one key; to compare them, each as a row of its own, "
            f"write '{group}.{option}.sweep={{{name}:[{values}]}}' (with the quotes); or, for one "
            f"value: {one}"
        )
    return (
        f"'{word}' gives several values; a list is written '{key}=[{values}]' (with the quotes); "
        f"if it is one value: {one}"
    )
