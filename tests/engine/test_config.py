from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.contract import UserError
from bench.engine.conf import list_options
from bench.engine.config import compose_grid


def _names(grid, group: str) -> list[str]:
    return [o.name for o in grid.options[group]]


def test_list_selection_is_the_grid(toy_words, toy_conf: Path) -> None:
    grid = compose_grid(toy_words("defense=[none,toy_release]", "seeds=5"), toy_conf)
    assert _names(grid, "defense") == ["none", "toy_release"]
    assert _names(grid, "attack") == ["toy", "toy_labels"]
    assert _names(grid, "baseline") == ["toy_guess"]
    assert grid.settings.seeds == 5


def test_sweep_makes_named_variants(toy_words, toy_conf: Path) -> None:
    words = toy_words("defense.toy_release.sweep={weight:[0.5,1]}")
    grid = compose_grid(words, toy_conf)
    assert _names(grid, "defense") == [
        "none",
        "toy_training",
        "toy_release[weight=0.5]",
        "toy_release[weight=1]",
    ]
    words = toy_words("attack.toy.sweep=[{access:scores},{access:labels,number:1}]")
    grid = compose_grid(words, toy_conf)
    assert _names(grid, "attack") == [
        "toy[access=scores]",
        "toy[access=labels,number=1]",
        "toy_labels",
    ]
    assert all("sweep" not in layer for o in grid.options["attack"] for layer in o.layers)


def test_stack_takes_options_that_the_grid_does_not_list(toy_words, toy_conf: Path) -> None:
    words = toy_words("defense=[toy_stack]", "defense.toy_release.weight=0.25")
    grid = compose_grid(words, toy_conf)
    (stack,) = grid.options["defense"]
    assert stack.name == "toy_stack"
    assert [layer["_target_"] for layer in stack.layers] == [
        "tests.toys.ToyTraining",
        "tests.toys.ToyRelease",
    ]
    assert stack.layers[1]["weight"] == 0.25


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("defense=[nonne]", "There is no defense option 'nonne'. Did you mean 'none'?"),
        ("suite=smoke_", "There is no suite option 'smoke_'. Did you mean 'smoke'?"),
        ("sedes=3", "unknown key 'sedes'. Did you mean 'seeds'?"),
        ("defense.toy_relase.weight=1", "no defense 'toy_relase'. Did you mean 'toy_release'?"),
        ("seeds=0", "Setting 'seeds': input should be greater than or equal to 1 (got 0)"),
        ("seeds=many", "Setting 'seeds'"),
        ("rerun=sometimes", "Setting 'rerun'"),
        ("exclude=[{planet: mars}]", "Setting 'exclude"),
        ("seeds=[1", "'seeds=[1' cannot be read"),
        ("dataset=[]", "'dataset' lists no option"),
    ],
)
def test_mistakes_are_one_sentence(toy_words, toy_conf: Path, word: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        compose_grid(toy_words(word), toy_conf)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_config_dir(toy_words, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        compose_grid(toy_words(), tmp_path / "absent")


@pytest.mark.parametrize("suite", sorted(list_options("suite")))
def test_every_suite_composes(suite: str) -> None:
    assert compose_grid([f"suite={suite}"]).settings.suite == suite


@pytest.mark.parametrize("group", ["dataset", "model", "defense", "attack", "suite"])
def test_every_option_says_what_it_is(group: str) -> None:
    assert all(list_options(group).values()), list_options(group)


def test_what_a_suite_adjusts_may_be_left_out_of_it() -> None:
    grid = compose_grid(["suite=smoke", "attack=[csmia]"])
    assert [row.name for row in grid.options["attack"]] == ["csmia"]
    full = compose_grid(["suite=smoke"])
    assert "miface[access=weights]" in [row.name for row in full.options["attack"]]


def test_an_edited_option_is_read_again(toy_words, toy_conf: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(toy_conf, own)
    file = own / "defense" / "toy_release.yaml"
    before = compose_grid(toy_words("defense=[toy_release]"), own)
    file.write_text(f"{file.read_text()}  sweep: {{weight: [0.125]}}\n")
    after = compose_grid(toy_words("defense=[toy_release]"), own)
    assert _names(before, "defense") != _names(after, "defense") == ["toy_release[weight=0.125]"]
