from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import api
from bench.api.spaces import around
from bench.api.tuning import BUDGET, Tried, _best
from bench.contract.errors import UserError
from bench.contract.options import Count, Fraction, NonNegative, Positive
from bench.engine.store import Store
from tests.cli.deciding import caller


def _words(folder: Path) -> list[str]:
    return [
        "dataset=[diabetes]",
        "model=[mlp]",
        "backend=local",
        "progress=none",
        f"store={folder / 'store'}",
        f"report_dir={folder / 'report'}",
    ]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A search over three settings, and the folder it worked in."""
    folder = tmp_path_factory.mktemp("tune")
    words = [*_words(folder), "seeds=4"]
    return folder, words, api.tune("attack", "attribute_map", ["none"], trials=3, words=words)


@pytest.fixture
def verb(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    return caller(monkeypatch, capsys)


def test_only_selection_seeds_run(tuned) -> None:
    folder, _, found = tuned
    store = Store(folder / "store")
    records = [store.record("trial", key) for key in store.ids("trial")]
    assert found.seeds == (0, 1)
    assert {record["cell"]["seed"] for record in records} == {0, 1}


def test_the_number_of_settings_is_recorded(tuned) -> None:
    _, _, found = tuned
    noted = json.loads(found.file.read_text())
    assert noted["settings"] == len(found.tried) == 3
    assert noted["selection_seeds"] == [0, 1]
    assert found.tried[0].setting == {"weight": 1.0, "smoothing": 0.05}
    assert found.best.value == max(tried.value for tried in found.tried)
    assert found.line in found.words


def test_the_same_search_tries_the_same_and_computes_nothing(tuned) -> None:
    _, words, found = tuned
    again = api.tune("attack", "attribute_map", ["none"], trials=3, words=words)
    assert again == found
    more = ["seeds=2", "controls=[]", "tracking=none"]
    assert "base_seed=1" in found.words, "the seeds that chose do not report"
    same = [word for word in found.words if not word.startswith("base_seed=")]
    results = api.run([*same, *more], report=False)
    assert results.summary.trials > 0
    assert not sum(results.summary.computed.values())
    tried = {record.attack.settings for record in results.records() if record.access == "scores"}
    assert tried == {3}


def test_a_defense_is_held_to_the_utility_budget(tmp_path: Path) -> None:
    found = api.tune(
        "defense",
        "top_k",
        ["attribute_map"],
        trials=1,
        space={"k": [1]},
        words=[*_words(tmp_path), "seeds=3", "attack.attribute_map.sweep=[{access:scores}]"],
    )
    assert found.tried[0].loss is not None
    assert found.best is found.tried[0]
    assert "defense=[none,top_k]" in found.words


def test_the_least_leak_within_the_budget_is_chosen() -> None:
    costly, good, leaky = (
        Tried({"k": k}, value, 0.8, loss)
        for k, value, loss in ((1, 0.0, BUDGET + 0.01), (2, 0.2, BUDGET), (3, 0.4, 0.0))
    )
    assert _best("defense", [costly, leaky, good]) is good
    assert _best("defense", [costly]) is costly
    assert _best("attack", [costly, leaky, good]) is leaky


def test_ranges_keep_the_bounds_of_the_type() -> None:
    wide, tight, whole = around(0.5, Positive), around(0.5, Fraction), around(2, Count)
    assert (wide.low, wide.high) == (0.05, 5.0)
    assert tight.high < 1
    assert (whole.low, whole.high, whole.whole) == (1, 8, True)
    assert around(0.0, NonNegative) is None
    assert around(True, bool).choices == (False, True)


def test_no_optuna_is_a_sentence(monkeypatch, verb, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = verb("tune", "attack=attribute_map", "against=none", *_words(tmp_path))
    assert code == 2
    assert "inversion-bench[tune]" in err


def test_a_strange_option_in_the_space_is_a_sentence(verb, tmp_path: Path) -> None:
    words = ["attack=attribute_map", "against=none", "space={wieght: [1]}", *_words(tmp_path)]
    code, _, err = verb("tune", *words)
    assert code == 2
    assert "no option 'wieght'" in err
    assert "weight" in err.replace("wieght", "")


def test_the_searched_sweep_is_refused(tmp_path: Path) -> None:
    words = [*_words(tmp_path), "attack.attribute_map.sweep=[{weight:1}]"]
    with pytest.raises(UserError, match="searched for"):
        api.tune("attack", "attribute_map", ["none"], words=words)
