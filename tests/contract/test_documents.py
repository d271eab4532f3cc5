"""The readers of YAML and JSON refuse whatever would be read as something else."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bench.contract.documents import DEEPEST, MOST_BYTES, parse_json, parse_yaml, read_yaml
from bench.contract.errors import UserError

_BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3"),
        ("exposure:\n  access: labels\n  access: weights\n", "access"),
        ("? [1, 2]\n: 3\n", "YAML"),
        (_BOMB, "alias"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "levels"),
        ("[" * 100_000, "levels"),
        ("n: " + "9" * 5_000, "YAML"),
        ("d: 2026-02-30", "YAML"),
        ("x" * (MOST_BYTES + 1), "characters"),
        ("a: !!python/object/apply:os.system [id]", "YAML"),
        ("a: [1", "line"),
        ("\x00", "YAML"),
    ],
)
def test_a_document_that_would_mislead_is_refused(text: str, named: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_yaml(text, "Policy 'p.yaml'")
    assert "Policy 'p.yaml'" in str(refused.value)
    assert named in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_file_names_itself(tmp_path):
    path = tmp_path / "card.yaml"
    with pytest.raises(UserError, match=r"card\.yaml"):
        read_yaml(path, "Table card")
    path.write_bytes("größe: 1".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        read_yaml(path)
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path) == {"a": 1}


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_VALUES)
def test_what_is_written_is_what_is_read(value):
    assert parse_yaml(yaml.safe_dump(value), "it") == value
    assert parse_json(json.dumps(value), "it") == value


@given(st.text())
def test_any_text_is_read_or_refused_in_a_sentence(text):
    for parse in (parse_yaml, parse_json):
        try:
            parse(text, "it")
        except UserError as refused:
            assert "it" in str(refused)


@pytest.mark.parametrize(
    "data", [b'{"a": 1, "a": 2}', b"[" * 100_000, b"[" * 60 + b"]" * 60, b"{", b"\xff", b""]
)
def test_hostile_json_is_refused(data):
    with pytest.raises(UserError, match="it"):
        parse_json(data, "it")
