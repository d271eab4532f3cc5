"""What makes two nodes the same: a hash of everything that decides the result, and nothing else.

``node_id = sha256(kind, normalised config with the seed, parents' identities, contents of the files
that its components read, digests of the code it rests on, PROTOCOL_VERSION)``. The document that is
hashed is kept in the record, so that a later plan can say which part of it changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

PROTOCOL_VERSION = "1"
"""Raised whenever the meaning of a score changes without a change of source or config."""

IDENTITY_FIELDS: frozenset[str] = frozenset(
    {"dataset", "model", "defense", "attack", "baseline", "base_seed", "victims", "face_network"}
)
"""Settings that decide results: they reach the identity of the nodes they concern."""

RUNTIME_FIELDS: frozenset[str] = frozenset(
    {
        "suite",
        "label",
        "budgets",
        "standard",
        "tuned",
        "seeds",
        "exclude",
        "backend",
        "resources",
        "infrastructure",
        "timeout_s",
        "retries",
        "rerun",
        "controls",
        "control_seeds",
        "streams",
        "reported",
        "data_root",
        "store",
        "report_dir",
        "tracking",
        "plugins",
        "progress",
    }
)
"""Settings that decide which trials run, where, and how they are shown; never what they give."""


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, no NaN or Inf.

    Raises:
        ValueError: a number is not finite.
    """
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """The first 32 hex digits of the SHA-256 of canonical JSON."""
    return digest_of(canonical(value))


def digest_of(text: str) -> str:
    """The same of canonical JSON that is there already."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fits(name: str, rule: str) -> bool:
    """Whether a row of a grid is meant by ``rule``: its name, brackets and all, or a pattern.

    ``dp_sgd[epsilon=3]`` is the row of that name; as a shell's pattern its brackets would stand
    for one letter.
    """
    return name == rule or fnmatchcase(name, rule)


def node_id(document: Mapping[str, Any]) -> str:
    """The identity of a node described by ``document`` under this protocol version."""
    return digest({"protocol": PROTOCOL_VERSION, **document})
