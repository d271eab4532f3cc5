from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.engine.check import check

PLUGINS = ["plugins=[tests]"]


def _broken(group: str, name: str, folder: Path, *words: str) -> set[str]:
    found = list(check(group, name, [*PLUGINS, *words], folder))
    assert found
    return {one.name.partition(": ")[2] for one in found if not one.holds}


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("defense", "label_only"),
        ("defense", "none"),
        ("defense", "query_budget"),
        ("defense", "secure_aggregation"),
        ("attack", "toy_labels"),
        ("model", "softmax"),
    ],
)
def test_what_keeps_its_contract_passes(group: str, name: str, toy_conf: Path) -> None:
    assert _broken(group, name, toy_conf) == set()


def test_a_release_that_breaks_its_word_is_caught(toy_conf: Path) -> None:
    # It has no effect at full weight, whatever else it promises.
    assert _broken("defense", "toy_release", toy_conf, "defense.toy_release.weight=1.0") == {
        "is active"
    }


def test_an_attack_that_asks_nothing_is_caught(toy_conf: Path) -> None:
    words = ("dataset=[toy]", "attack.toy.does=idle")
    assert _broken("attack", "toy", toy_conf, *words) == {"its queries are counted (0)"}


def test_a_defense_without_a_cost_is_caught(
    toy_conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.toys.ToyTraining.cost", "")
    broken = _broken("defense", "toy_training", toy_conf)
    assert broken == {"says what it costs"}


def test_a_watcher_that_turns_customers_away_is_caught(toy_conf: Path) -> None:
    broken = _broken("defense", "query_budget", toy_conf, "defense.query_budget.queries=3")
    assert len(broken) == 1 and broken.pop().startswith("lets most customers pass (")


@pytest.mark.parametrize("declared", [True, False])
def test_a_component_that_hides_what_it_reads_is_caught(
    toy_conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: bool
) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.zeros(3, 2)}, path)
    weights = f"weights: {path}"
    conf = shutil.copytree(toy_conf, tmp_path / "conf")
    (conf / "model" / "toy.yaml").write_text(
        f"toy:\n  _target_: tests.toys.ToyWeights\n  {weights}\n"
    )
    if not declared:
        monkeypatch.setattr("tests.toys.ToyWeights.files", lambda self, data_root: {})
    # It takes records of three columns only, as the toy table has.
    found = check("model", "toy", PLUGINS, conf, on="toy")
    broken = {one.name.partition(": ")[2] for one in found if not one.holds}
    assert ("declares the files it reads" in broken) != declared
