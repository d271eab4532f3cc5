"""What would have to be run for an answer: commands that a shell takes and that can be planned."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import api
from bench.contract import Defense, UserError
from bench.decide import evidence, recommend
from bench.decide.candidates import Question
from bench.decide.further import Run, command, run_of
from bench.decide.hiding import hidden
from bench.decide.policy import Bars
from bench.engine.components import CORE_PACKAGES, build
from bench.engine.conf import list_options, read_option
from bench.engine.execution import execute, prepare
from bench.exchange.pack import Pack
from tests.conftest import CONF
from tests.decide import made
from tests.decide.made import Row

BARS = {"tau": 0.9, "mu": 0.9, "loss": 0.9}


def planned(line: str, *more: str) -> Any:
    """What a command would run."""
    verb, name, *words = shlex.split(line)
    assert (verb, name) == ("invbench", "run")
    folder = None
    if words[0] == "--config-dir":
        folder, words = Path(words[1]), words[2:]
    return api.plan([*words, *more], folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a store in which a suite of one seed has run; a model of its own is named."""
    folder = tmp_path_factory.mktemp("further")
    words = [f"store={folder / 's'}", f"report_dir={folder / 'r'}", "backend=local"]
    words += ["tracking=none", "progress=none"]
    grid = ["suite=toy", "label=few", "seeds=1", "defense=[none,toy_training]"]
    grid += ["attack=[toy]", "attack.toy.does=work"]
    execute(*prepare([*grid, *words], CONF), CONF)
    return words


def test_too_few_seeds_are_answered_with_a_command_that_plans_them(store: list[str]) -> None:
    decision = api.recommend("few", access="scores", bars=BARS, words=store)
    assert decision.chosen is None
    first = decision.to_run[0]
    assert "9 seeds more" in first.why
    assert " s for the 9 seeds that are new" in first.time
    forecast = planned(first.command)
    assert forecast.grid.settings.seeds == 10
    assert {t.cell.dataset for t in forecast.plan.trials} == {"toy"}
    assert len(forecast.work.recorded) > 0, "what is in the store is not run again"


def test_a_model_that_was_not_measured_is_answered_with_a_command(store: list[str]) -> None:
    with pytest.raises(UserError, match=r"measure it: invbench run .*model=\[mlp\]"):
        api.recommend("few", access="scores", model="mlp", bars=BARS, words=store)


def test_a_goal_without_evidence_is_answered_with_its_standard_attacks(store: list[str]) -> None:
    decision = api.recommend("few", access="scores", bars=BARS, federated=True, words=store)
    (run,) = decision.to_run
    assert "Gradient reconstruction" in run.why
    # The toys' model has no gradients to share; a network of the benchmark's has.
    words = ("dataset=[diabetes]", "model=[mlp]", "defense=[none]")
    goals = {t.goal for t in planned(run.command, *words).plan.trials}
    assert "gradient_reconstruction" in goals


def test_a_defense_that_lacks_attacks_is_told_where_these_ran() -> None:
    old = made.pack({"none": made.NONE, "shield": Row()})
    L = {"guess": 0.30, "map": 0.60, "probe": 0.7}
    new = Pack("newer", made.pack({"none": Row(L=L, M=0.2)}).records, {"trials": {}})
    sources = evidence.read([old, new])
    of = evidence.scenario(sources)
    bars = Bars(tau=0.2, mu=0.03, loss=0.02)
    runs = {"newer": Run(("suite=smoke", "seeds=10"))}
    question = Question(of, "scores", bars, "", (("attribute", "scores"),))
    told = recommend.decide(sources, question, runs=runs).to_run
    (run,) = [run for run in told if run.why == "probe against shield"]
    assert run.command == "invbench run suite=smoke seeds=10"
    assert "10 s" in run.time  # ten seeds of a second


def test_a_narrowed_run_leaves_out_what_was_said_of_others() -> None:
    run = Run(("suite=smoke", "defense.dp_sgd.epsilon=3", "model.mlp.epochs=4", "seeds=3", "+x=1"))
    line = command(run, ("seeds=7", "store=a b"), model="[mlp]", defense="[none,mid]", seeds="9")
    assert shlex.split(line)[2:] == [
        "suite=smoke",
        "model.mlp.epochs=4",
        "+x=1",
        "model=[mlp]",
        "defense=[none,mid]",
        "seeds=7",
        "store=a b",
    ]


def test_a_strangers_pack_puts_no_code_and_no_place_into_a_command() -> None:
    pack = made.pack({"none": made.NONE})
    words = ["plugins=[evil]", "hydra.run.dir=/x", "+model.x._target_=os.system", "store=/theirs"]
    words += ["attack=[toy]\x1b[2J", "seeds=3", "tracking.uri=http://a:b@c"]
    manifest = {**pack.manifest, "overrides": words, "config_dir": "/theirs"}
    run = run_of(replace(pack, manifest=manifest, digest="read from a file"))
    assert run == Run(("suite=made", "seeds=3"))


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ([{"_target_": "defenses.drop_attribute.DropAttribute", "attributes": None}], ("sex",)),
        ([{"_target_": "defenses.drop_attribute.DropAttribute", "attributes": ["age"]}], ("age",)),
        ([{"_target_": "defenses.k_anonymity.KAnonymity", "attributes": None}], ()),
        ([{"_target_": "defenses.k_anonymity.KAnonymity", "attributes": ["age"]}], ("age",)),
        ([{"_target_": "defenses.rounding.Rounding"}], ()),
        ([{"_target_": "defenses.../../evil.X", "attributes": ["age"]}], ()),
        (
            [
                {"_target_": "defenses.drop_attribute.DropAttribute", "attributes": None},
                {"_target_": "defenses.rounding.Rounding"},
            ],
            (),
        ),
        ([], ()),
    ],
)
def test_what_a_defense_acts_on_alone(layers: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    assert hidden(layers, "sex") == names


def test_the_declaration_that_is_read_is_that_of_the_class() -> None:
    for name in list_options("defense"):
        config = read_option("defense", name)
        if "_target_" not in config:
            continue
        plain = {k: v for k, v in config.items() if k != "sweep"}
        part = build(plain, name, CORE_PACKAGES)
        assert isinstance(part, Defense)
        config = {**plain, "attributes": ["age"]} if part.hides else plain
        assert bool(hidden([config], "sex")) == bool(part.hides), name
