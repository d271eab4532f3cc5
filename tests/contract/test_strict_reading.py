"""Every YAML that people write is read by the one strict reader."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "attacks", "defenses", "models", "metrics")
LOADERS = {"load", "safe_load", "load_all", "safe_load_all", "full_load", "unsafe_load"}


def loads(tree: ast.AST) -> Iterator[int]:
    """Lines that read YAML by PyYAML or OmegaConf themselves."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "yaml":
            yield node.lineno
        if (
            isinstance(node, ast.Attribute)
            and node.attr in LOADERS
            and isinstance(node.value, ast.Name)
            and node.value.id in ("yaml", "OmegaConf")
        ):
            yield node.lineno


@pytest.mark.parametrize(
    "text", ["import yaml\nyaml.safe_load('')", "from yaml import safe_load", "OmegaConf.load(p)"]
)
def test_the_search_sees_every_way(text: str) -> None:
    assert list(loads(ast.parse(text)))


def test_nothing_else_reads_yaml() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if list(loads(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert readers == {"bench/contract/documents.py"}
