"""What tests of the verbs that exchange results share: two toy stores, and a way to call a verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.engine.execution import execute, prepare
from tests.cli.deciding import caller

CONF = Path(__file__).parents[1] / "conf"

Said = tuple[int, str, str]


@pytest.fixture
def verb(monkeypatch, capsys) -> Callable[..., Said]:
    """Run a verb; its exit code, output and errors."""
    return caller(monkeypatch, capsys)


@pytest.fixture(scope="session")
def stores(tmp_path_factory) -> dict[str, Path]:
    """A store with boards of a weak attack, and one in which a stronger one met the same rows."""
    out = {}
    for name, does in (("weak", "idle"), ("strong", "work")):
        folder = tmp_path_factory.mktemp(name)
        words = [
            "suite=toy",
            "label=toy",
            "seeds=3",
            "attack=[toy]",
            f"attack.toy.sweep=[{{does: {does}}}]",
            f"store={folder / 'store'}",
            "backend=local",
            "tracking=none",
            "progress=none",
        ]
        execute(*prepare(words, CONF), CONF)
        out[name] = folder / "store"
    return out


@pytest.fixture
def packed(verb, stores, tmp_path: Path) -> Callable[..., Path]:
    """Submit one of the stores; the file."""

    def pack(name: str, *words: str, to: str = "") -> Path:
        path = tmp_path / (to or f"{name}.zip")
        code, _, err = verb(
            "submit",
            "toy",
            f"store={stores[name]}",
            "--to",
            path,
            "--by",
            name,
            "--allow-dirty",
            *words,
        )
        assert code == 0, err
        return path

    return pack
