from __future__ import annotations

import pytest

from bench.contract.identity import (
    IDENTITY_FIELDS,
    RUNTIME_FIELDS,
    canonical,
    node_id,
)
from bench.engine.config import compose_grid
from bench.engine.overrides import AXES
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
    fields = {*Settings.model_fields, *AXES}
    assert set(grid.options) == set(AXES)
    unclassified = fields - IDENTITY_FIELDS - RUNTIME_FIELDS
    assert not unclassified, f"class these as identity or runtime in identity.py: {unclassified}"
    assert not (IDENTITY_FIELDS | RUNTIME_FIELDS) - fields, "classified, but no setting any more"
    assert not IDENTITY_FIELDS & RUNTIME_FIELDS
