"""The door for programs: runs, results and components that are given as objects."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch

from attacks.shadow_attribute import ShadowAttribute
from bench import api
from bench.api.in_memory import Results
from bench.contract import (
    Attack,
    Exposure,
    Knowledge,
    Reconstruction,
    Split,
    TrainingContext,
    TrainingDefense,
    UserError,
)
from bench.contract.source import forget_sources
from bench.engine import deployment
from bench.models import replicas
from tests.toys import ToyAttack, ToyRelease

Words = Callable[..., list[str]]


@pytest.fixture
def results(toy_words: Words, toy_conf: Path) -> Results:
    return api.run(toy_words(), toy_conf)


def test_a_run_gives_tables_and_prints_nothing(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capsys.readouterr().out == ""
    trials, boards = results.trials(), results.boards()
    assert len(trials) == results.summary.trials == 14
    assert set(trials["status"]) == {"done"}
    assert {"L", "M", "utility", "control"} <= set(trials)
    assert set(boards["access"]) == {"labels", "scores"}
    assert "none" in set(boards["defense"])
    assert results.site.page.is_file()
    assert repr(results) == "<Results of 'toy': 14 trials, 2 boards>"
    assert "another" not in results.summary.log.read_text()


def test_a_second_run_computes_nothing_and_its_log_says_what_was_asked(
    results: Results, toy_words: Words, toy_conf: Path
) -> None:
    again = api.run(toy_words(), toy_conf)
    assert again.summary.computed == {}
    assert again.summary.cached > 0
    assert "invbench run" in again.summary.log.read_text()
    assert again.boards().equals(results.boards())


def test_results_are_loaded_and_drawn(
    results: Results, toy_words: Words, toy_conf: Path, tmp_path: Path
) -> None:
    loaded = api.load(words=toy_words(), config_dir=toy_conf)
    assert loaded.boards().equals(results.boards())
    names = loaded.board_names()
    assert len(names) == 2
    assert loaded.plot(names[1]).save(tmp_path / "board.svg").read_bytes().startswith(b"<?xml")
    assert loaded.plot()._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="board"):
        loaded.plot("no such board")
    with pytest.raises(UserError, match=r"\.txt"):
        loaded.plot().save(tmp_path / "board.txt")
    assert "dataset" in loaded._repr_html_()


def test_from_threads_at_the_same_time(toy_words: Words, toy_conf: Path, tmp_path: Path) -> None:
    made: dict[str, Any] = {}

    def work(name: str) -> None:
        words = [*toy_words(), f"label={name}", f"store={tmp_path / name}", "seeds=1"]
        made[name] = api.run(words, toy_conf)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, two = made["one"], made["two"]
    assert one.summary.failed == two.summary.failed == 0
    assert list(one.trials()["L"]) == list(two.trials()["L"])
    assert one.site.page != two.site.page
    for run in (one, two):
        text = run.summary.log.read_text()
        assert text.count(": attack ") == run.summary.computed["attack"], text


def test_components_of_a_notebook_are_given_as_objects(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Guess(Attack):
        """Says the same of everybody."""

        access: Literal["scores"] = "scores"
        value: float = 0.5

        goal = "attribute"
        modalities = frozenset({"table"})
        knowledge = frozenset({"K3"})
        paper = "none"

        def run(
            self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
        ) -> Reconstruction:
            exposure.scores(knowledge.partial.x[:1])
            values = len(knowledge.card.sensitive.values)
            return Reconstruction(torch.full((len(knowledge.partial), values), self.value))

    results = api.evaluate(
        attack=[Guess(), Guess(value=0.7), "csmia"],
        defense=["none", ToyRelease(weight=0.25)],
        dataset="diabetes",
        model="softmax",
        words=["progress=none", "victims=60", "model.softmax.epochs=2"],
    )
    trials = results.trials()
    real = trials[trials["access"] != "none"]
    assert set(real["attack"]) == {"Guess", "Guess[value=0.7]", "csmia"}
    assert set(real["defense"]) == {"none", "ToyRelease[weight=0.25]"}
    assert set(trials["status"]) == {"done"}, set(trials["error"])
    assert set(real.loc[real["attack"] == "Guess", "score"]) == {0.5}
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="diabetes"):
        api.evaluate(attack=Guess(), dataset="diabets")


def test_what_has_no_file_cannot_be_kept(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"ToyAttack": ToyAttack, "__name__": "__notebook__"}
    exec("class Mine(ToyAttack):\n    'In no file.'\n", namespace)
    with pytest.raises(UserError, match="Mine has no file"):
        api.evaluate(attack=namespace["Mine"](), store=tmp_path)


def test_the_shadows_of_a_changed_class_without_a_file_are_trained_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[int] = []

    def counted(trainings: Any, device: str) -> Any:
        trained.append(len(trainings))
        return replicas.train_together(trainings, device)

    monkeypatch.setattr(deployment, "train_together", counted)

    def shadows(scale: float) -> int:
        @dataclass(frozen=True)
        class Mine(TrainingDefense):
            paper: ClassVar[str] = "made up for this test"

            def sanitize(self, data: Split, context: TrainingContext) -> Split:
                return replace(data, x=scale * data.x)

        trained.clear()
        results = api.evaluate(
            ShadowAttribute(shadows=16),
            Mine(),
            "diabetes",
            words=["progress=none", "victims=50", "model.mlp.epochs=2"],
        )
        assert set(results.trials()["status"]) == {"done"}
        return sum(trained)

    assert shadows(1.0) == 16
    assert shadows(1.0) == 0
    assert shadows(0.5) == 16


def test_an_edited_class_is_not_answered_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "lentmod.py"
    text = "from tests.toys import ToyAttack\n\n\nclass Mine(ToyAttack):\n    'One.'\n"

    def computed(body: str) -> int:
        module.write_text(text + body)
        sys.modules.pop("lentmod", None)
        importlib.invalidate_caches()
        forget_sources()
        results = api.evaluate(
            attack=importlib.import_module("lentmod").Mine(does="idle"),
            model="softmax",
            store=tmp_path / "store",
            words=["progress=none", "victims=60", "model.softmax.epochs=2"],
        )
        assert results.summary is not None and not results.summary.failed
        return results.summary.computed.get("attack", 0)

    assert computed("") > 1
    assert computed("") == 0
    assert computed("    extra = 1\n") == 1, "its own trial alone runs again"


def test_an_option_that_no_config_can_hold_is_refused() -> None:
    with pytest.raises(UserError, match="mark"):
        api.evaluate(attack=ToyAttack(mark=object()))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no component"):
        api.evaluate(attack=object())


def test_what_a_budget_allows(toy_words: Words, toy_conf: Path) -> None:
    free = api.run(toy_words("attack=[toy]", "budgets=[null,40]", "controls=[]"), toy_conf)
    trials = free.trials()
    asked = trials[trials["access"] == "scores"]
    capped = asked[asked["attack"] == "toy[budget=40]"]
    assert len(capped) == len(asked) / 2
    assert (capped["queries"] <= 40).all()
    assert (capped["budget"] == 40).all()
    assert (asked.loc[asked["attack"] == "toy", "queries"] > 40).all()
    assert not set(capped["trial_id"]) & set(asked.loc[asked["attack"] == "toy", "trial_id"])
    boards = free.boards()
    worst = boards.pivot(index=["access", "defense"], columns="budget", values="L_raw").dropna()
    assert len(worst) > 0
    assert (worst[float("inf")] >= worst[40.0] - 1e-9).all(), "more queries never look safer"
    tight = api.plan(toy_words("attack=[toy]", "budgets=[40]", "controls=[]"), toy_conf)
    assert len(tight.work.todo) == 0, "the same budget is the same trial"
