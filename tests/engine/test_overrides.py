"""Words as users write them: paths of every kind reach the program as they stand."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contract import UserError
from bench.engine.config import compose_grid
from bench.engine.overrides import quoted, readable

ODD = ["=", ",", "(", ")", "[", "{", "'", '"', "#", " ", "é", "\\", "日"]


def value_of(word: str) -> object:
    """What Hydra's grammar reads."""
    value = OverridesParser.create().parse_override(word).value()
    return value.text if isinstance(value, QuotedString) else value


TEXTS = st.text(st.sampled_from([*ODD, "a", "/", ".", "$", ":"]), min_size=1, max_size=12)


@settings(max_examples=60)
@given(TEXTS)
def test_quoted_text_is_read_back(text: str) -> None:
    assert value_of(f"key={quoted(text)}") == text


@settings(max_examples=60)
@given(TEXTS.map(lambda text: f"/{text}/x"))
def test_paths_need_no_quotes(path: str) -> None:
    assert value_of(readable(f"store={path}")) == path


def test_every_path_is_taken_as_it_stands(toy_words, toy_conf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a=b,(c) [d] {e} 'f' \"g\" #h é\\日"
    shutil.copytree(toy_conf, folder)
    words = toy_words(*(f"{key}={folder}" for key in ("store", "report_dir", "data_root")))
    chosen = compose_grid(words, folder).settings
    assert {chosen.store, chosen.report_dir, chosen.data_root} == {folder}


@pytest.mark.parametrize("value", ["a=b.csv", "my (1).csv", "é.csv", "it's.csv", "a#b", "a[0"])
def test_what_is_no_path_says_what_to_paste(value: str) -> None:
    with pytest.raises(UserError) as caught:
        readable(f"dataset.table.file={value}")
    (pasted,) = shlex.split(str(caught.value).rpartition(": ")[2])
    assert value_of(readable(pasted)) == value


def test_plain_words_stay_as_they_are() -> None:
    for word in ("store=results/runs", "data_root=null", "~defense", "defense=[none,dp_sgd]"):
        assert readable(word) == word


def test_a_broken_option_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "suite").mkdir()
    text = "# @package _global_\nseeds: 1\nseeds: 2\n"
    (tmp_path / "suite/own.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"own\.yaml', line 3 .* duplicate key"):
        compose_grid(["suite=own"], tmp_path)
