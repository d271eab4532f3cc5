from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.contract.identity import (
    IDENTITY_FIELDS,
    RUNTIME_FIELDS,
    canonical,
    difference,
    forget_sources,
    node_id,
    source_digest,
)
from bench.engine.config import GROUPS, compose_grid
from bench.engine.settings import Settings


def test_golden_ids() -> None:
    # A change here re-runs every recorded trial of every user: raise PROTOCOL_VERSION on purpose.
    document = {
        "kind": "attack",
        "config": {"_target_": "attacks.miface.MIFace", "lr": 0.1, "steps": 10},
        "parents": {"data": "a" * 32, "target": "b" * 32},
        "source": {"attacks.miface": "0123456789abcdef"},
    }
    assert node_id(document) == "37bf88c1d5c79fa95b1171adeae0f599"
    assert node_id({}) == "d272569f7c4972ced823d6287e5dd1b3"


def test_canonical_ignores_order_and_refuses_nan() -> None:
    assert canonical({"b": 1, "a": [1.0, None]}) == '{"a":[1.0,null],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"x": float("nan")})


def test_every_setting_is_identity_or_runtime() -> None:
    grid = compose_grid([])
    fields = {*Settings.model_fields, *GROUPS}
    assert set(grid.options) == set(GROUPS)
    unclassified = fields - IDENTITY_FIELDS - RUNTIME_FIELDS
    assert not unclassified, f"class these as identity or runtime in identity.py: {unclassified}"
    assert not (IDENTITY_FIELDS | RUNTIME_FIELDS) - fields, "classified, but no setting any more"
    assert not IDENTITY_FIELDS & RUNTIME_FIELDS


def test_source_digest_follows_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "digested"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "top.py").write_text("from digested import low\nimport json\n")
    (package / "low.py").write_text("from . import deep\n")
    (package / "deep.py").write_text("X = 1\n")
    (package / "aside.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_sources()
    before = dict(source_digest("digested.top", ("digested",)))
    assert set(before) == {"digested", "digested.top", "digested.low", "digested.deep"}

    (package / "aside.py").write_text("X = 2\n")
    forget_sources()
    assert dict(source_digest("digested.top", ("digested",))) == before
    (package / "deep.py").write_text("X = 2\n")
    forget_sources()
    after = dict(source_digest("digested.top", ("digested",)))
    assert {k for k in after if after[k] != before[k]} == {"digested.deep"}
    forget_sources()
    sys.modules.pop("digested", None)


def test_difference_names_the_path() -> None:
    old = {"config": {"lr": 0.1, "steps": 10}, "source": {"attacks.a": "1"}}
    new = {"config": {"lr": 0.2, "steps": 10}, "source": {"attacks.a": "2"}}
    assert difference(old, new) == ["config.lr: 0.1 -> 0.2", 'source.attacks.a: "1" -> "2"']
    assert difference(old, old) == []
