"""What the tests of the deciding verbs share: packs on disk, a description, a caller."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cli import main
from bench.exchange import pack
from tests.decide import made
from tests.decide.made import Row

Call = Callable[..., tuple[int, str, str]]


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run invbench; its exit code, output and errors."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["invbench", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def evidence(folder: Path, **rows: Row) -> Path:
    """A pack with the undefended target and ``rows``; ``shield`` is sound."""
    path = folder / "pack"
    pack.write(made.pack({"none": made.NONE, "shield": Row(), **rows}), path)
    return path


def described(folder: Path, **changes: Any) -> Path:
    """A description beside its evidence; it needs two waivers and has them."""
    told: dict[str, Any] = {
        "name": "scoring",
        "version": "1",
        "owner": "Risk",
        "purpose": "Rank",
        "necessity": "Many",
        "tier": "T2",
        "data": {
            "sources": ["bank", "bureau"],
            "dataset": "loans",
            "sha256": made.DATA_SHA,
            "privacy_unit": "record",
            "categories": ["income"],
            "sector": "credit",
        },
        "exposure": {"access": "scores", "users": "staff"},
        "model": "mlp",
        "defense": {"name": "shield"},
        "artifact": {"sha256": made.weights("shield", 0)},
        "evidence": ["pack"],
        "subgroups": "by age: alike",
        "monitoring": "volume",
        "incident_contact": "x@example.org",
        "waivers": [
            {"rule": rule, "name": "D. Officer", "reason": "known", "expires": "2026-06-30"}
            for rule in ("dp_expected", "not_independently_verified")
        ],
    }
    path = folder / "model.yaml"
    path.write_text(yaml.safe_dump({**told, **changes}), encoding="utf-8")
    return path
