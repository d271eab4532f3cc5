from __future__ import annotations

from pathlib import Path

import pytest

from bench.engine.config import compose_grid
from bench.engine.execution import execute
from bench.engine.plan import make_plan

ALL = "controls=[untrained,random_labels,temperature,zero,repeat,doubled,canary]"


def _plan(toy_words, toy_conf: Path, *words: str):
    return make_plan(compose_grid(toy_words(*words), toy_conf))


def _by_cell(plan) -> dict:
    return {t.cell.key(): t for t in plan.trials}


def test_controls_are_named_after_what_they_control(toy_words, toy_conf: Path) -> None:
    plan = _plan(toy_words, toy_conf, "seeds=1", ALL, "attack.toy.number=3")
    found = {t.cell.key(): t.control for t in plan.trials if t.control}
    assert found == {
        "toy/toy/untrained/toy/0": "untrained",
        "toy/toy/untrained/toy_labels/0": "untrained",
        "toy/toy/none/doubled[toy]/0": "doubled",
        "toy/toy/none/repeat[toy]/0": "repeat",
        "toy/toy/zero[toy_release]/toy/0": "zero",
    }


def test_nothing_is_added_that_was_not_asked_for(toy_words, toy_conf: Path) -> None:
    assert not any(t.control for t in _plan(toy_words, toy_conf, "controls=[]").trials)


def test_control_seeds_bound_the_repeats(toy_words, toy_conf: Path) -> None:
    plan = _plan(toy_words, toy_conf, "seeds=3", "control_seeds=2", "controls=[untrained]")
    assert {t.cell.seed for t in plan.trials if t.control} == {0, 1}


def test_doubled_is_paired_with_its_attack(toy_words, toy_conf: Path) -> None:
    plan = _plan(toy_words, toy_conf, "seeds=1", "controls=[doubled]", "attack.toy.number=3")
    cells = _by_cell(plan)
    once, twice = (cells[f"toy/toy/none/{n}/0"].nodes for n in ("toy", "doubled[toy]"))
    payloads = [plan.nodes[n["attack"]].payload for n in (once, twice)]
    assert payloads[0]["seed"] == payloads[1]["seed"]
    assert [p["attack"]["number"] for p in payloads] == [3, 6]
    assert once["target"] == twice["target"]
    roles = [plan.nodes[n["attack"]].parents for n in (once, twice)]
    assert roles[0]["prior"] == roles[1]["prior"]


def test_repeat_trains_and_attacks_anew(toy_words, toy_conf: Path) -> None:
    cells = _by_cell(_plan(toy_words, toy_conf, "seeds=1", "controls=[repeat]"))
    once, again = (cells[f"toy/toy/none/{n}/0"].nodes for n in ("toy", "repeat[toy]"))
    assert once["data"] == again["data"]
    assert once["target"] != again["target"]
    assert once["attack"] != again["attack"]


def test_what_controls_give(toy_words, toy_conf: Path) -> None:
    words = toy_words("seeds=1", "controls=[untrained,zero,repeat]", "attack=[toy]", "exclude=[]")
    grid = compose_grid(words, toy_conf)
    records = {r.cell.key(): r for r in execute(grid, make_plan(grid)).outcome.records}
    plain = records["toy/toy/none/toy/0"]
    assert plain.attack.sha256
    for name in ("zero[toy_release]/toy", "none/repeat[toy]"):
        control = records[f"toy/toy/{name}/0"]
        assert control.control
        assert control.attack.sha256 == plain.attack.sha256
        assert control.utility == plain.utility
    assert records["toy/toy/toy_release/toy/0"].attack.sha256 != plain.attack.sha256
    untrained = records["toy/toy/untrained/toy/0"]
    assert untrained.target.epochs == 0
    assert untrained.target.sha256 != plain.target.sha256


def test_every_node_knows_the_source_of_its_stage(toy_words, toy_conf: Path) -> None:
    for node in _plan(toy_words, toy_conf, "seeds=1").nodes.values():
        source = set(node.identity["source"])
        assert {"bench.engine.stages", f"bench.engine.stages.{node.kind}"} <= source
        assert not {"bench.engine.driving.driver", "bench.engine.store"} & source


def test_the_canary_meets_every_image_attack_once(toy_words, toy_conf: Path) -> None:
    words = [
        "dataset=[faces]",
        "model=[mlp]",
        "attack=[gmi]",
        "attack.gmi.sweep=[{}]",
        "defense=[none]",
        "seeds=2",
    ]
    plan = _plan(toy_words, toy_conf, *words, "controls=[canary]", "attack@baseline=[public_mean]")
    (trial,) = [t for t in plan.trials if t.control]
    assert trial.cell.key() == "canary/canary/canary/gmi/0"
    other = _plan(
        toy_words,
        toy_conf,
        *words,
        "controls=[canary]",
        "attack@baseline=[public_mean]",
        "base_seed=7",
    )
    assert {t.id for t in other.trials if t.control} == {trial.id}


@pytest.mark.parametrize("word", ["controls=[nonsense]", "control_seeds=0"])
def test_bad_controls_are_refused(toy_words, toy_conf: Path, word: str) -> None:
    from bench.contract import UserError

    with pytest.raises(UserError, match="control"):
        compose_grid(toy_words(word), toy_conf)
