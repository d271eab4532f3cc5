from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bench.contract import UserError
from bench.engine.config import compose_grid
from bench.engine.plan import Planner, make_plan
from bench.metrics import face_network
from tests.edited import edit


def _plan(toy_words, toy_conf: Path, *words: str):
    return make_plan(compose_grid(toy_words(*words), toy_conf))


def _by_cell(plan) -> dict:
    return {t.cell.key(): t for t in plan.trials}


def test_everything_shared_is_one_node(toy_words, toy_conf: Path) -> None:
    plan = _plan(toy_words, toy_conf, "seeds=1")
    cells = _by_cell(plan)
    none, release = cells["toy/toy/none/toy/0"], cells["toy/toy/toy_release/toy/0"]
    training = cells["toy/toy/toy_training/toy/0"]
    assert none.nodes["target"] == release.nodes["target"] != training.nodes["target"]
    assert none.nodes["utility"] != release.nodes["utility"]
    assert none.nodes["data"] == training.nodes["data"]
    priors = [n for n in plan.nodes.values() if n.kind == "prior"]
    assert len(priors) == 1


def test_release_defense_has_no_effect_on_what_it_does_not_cover(toy_words, toy_conf: Path) -> None:
    plan = _plan(toy_words, toy_conf, "seeds=1", "attack=[toy,toy_labels,toy_weights]")
    cells = _by_cell(plan)
    for attack, flagged in (("toy", False), ("toy_labels", True), ("toy_weights", True)):
        mine = cells[f"toy/toy/toy_release/{attack}/0"]
        plain = cells[f"toy/toy/none/{attack}/0"]
        assert ("no_effect" in mine.flags) is flagged
        assert (mine.nodes["attack"] == plain.nodes["attack"]) is flagged
        assert mine.id != plain.id
        assert "no_effect" not in plain.flags


def test_seeds_pair_defenses(toy_words, toy_conf: Path) -> None:
    plan = _plan(toy_words, toy_conf)
    cells = _by_cell(plan)
    payload = {
        key: plan.nodes[trial.nodes["attack"]].payload["seed"] for key, trial in cells.items()
    }
    assert payload["toy/toy/none/toy/0"] == payload["toy/toy/toy_training/toy/0"]
    assert payload["toy/toy/none/toy/0"] != payload["toy/toy/none/toy/1"]
    assert payload["toy/toy/none/toy/0"] != payload["toy/toy/none/toy_labels/0"]


def test_baselines_stand_once_beside_the_undefended(toy_words, toy_conf: Path) -> None:
    plan = _plan(toy_words, toy_conf, "seeds=1")
    guesses = [t for t in plan.trials if t.cell.attack == "toy_guess"]
    assert [t.cell.defense for t in guesses] == ["none"]
    assert all(set(t.baselines) == {"toy_guess"} for t in plan.trials)


def test_skips_have_reasons(toy_words, toy_conf: Path) -> None:
    plan = _plan(
        toy_words,
        toy_conf,
        "dataset=[toy,faces,baskets]",
        "model=[toy,cnn]",
        "defense=[none,label_only,freezing]",
        "exclude=[{attack: toy_labels, defense: none}]",
    )
    reasons = {what: reason for what, reason in plan.skipped}
    assert ("faces x toy", "'faces' has no goal 'attribute'") in plan.skipped
    assert reasons["toy x cnn"] == "it does not take table data"
    assert reasons["toy x toy x freezing"] == "it needs blocks, which 'toy' lacks"
    assert reasons["toy x toy x label_only x toy"] == (
        "'label_only' exposes labels only, 'toy' needs scores"
    )
    assert reasons["toy x toy x none x toy_labels"] == "excluded by the suite"
    assert plan.skipped[("toy x toy x none x toy_labels", "excluded by the suite")] == 2


def test_rows_are_excluded_by_their_own_names(toy_words, toy_conf: Path) -> None:
    words = ("defense=[none,dropout]", "model=[mlp]", "defense.dropout.sweep={rate:[0.1,0.3]}")
    rule = "exclude=[{defense: 'dropout[rate=0.3]'}]"
    plan = _plan(toy_words, toy_conf, *words, rule)
    assert {t.cell.defense for t in plan.trials} == {"none", "dropout[rate=0.1]"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "exclude=[{attack: toy_label}]",
            "no attack of the grid is called 'toy_label'.*toy_labels",
        ),
        ("exclude=[{dataset: 'to', attack: toy}]", "no dataset .* 'to'"),
        (
            "reported=[{what: w, value: v, source: s, measured: L, defense: 'nobody*'}]",
            "'reported': no defense .*'nobody",
        ),
        ("model.toy.sweep={x:[]}", "the sweep of 'x' has no value"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(
    toy_words, toy_conf: Path, word: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _plan(toy_words, toy_conf, word)


@pytest.mark.parametrize("words", [(), ("attack=[miface]",)])
def test_a_suites_rules_are_for_its_own_grid(words: tuple[str, ...]) -> None:
    """Another grid, by overrides, may lack rows that they name; its own may not."""
    Planner(compose_grid(["suite=faces", *words])).check_rules()


def test_missing_data_is_skipped_and_alone_is_an_error(toy_words, toy_conf: Path) -> None:
    words = ("dataset.toy.needs_file=absent.csv",)
    with pytest.raises(UserError, match=r"Nothing to run: 'absent.csv' is missing; get it"):
        _plan(toy_words, toy_conf, *words)


def test_identity_follows_config_and_source_only(
    toy_words, toy_conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _plan(toy_words, toy_conf)
    same = _plan(toy_words, toy_conf, f"store={tmp_path}/other", "retries=5", "seeds=2")
    assert [t.id for t in first.trials] == [t.id for t in same.trials]
    explicit = _plan(toy_words, toy_conf, "attack.toy.access=scores")
    assert [t.id for t in first.trials] == [t.id for t in explicit.trials]
    other = _plan(toy_words, toy_conf, "attack.toy.number=1")
    changed = {
        a.cell.attack for a, b in zip(first.trials, other.trials, strict=True) if a.id != b.id
    }
    assert changed == {"toy"}
    edit(monkeypatch, "attack", "x")
    edited = _plan(toy_words, toy_conf)
    kinds = {edited.nodes[k].kind for k in set(edited.nodes) - set(first.nodes)}
    assert kinds == {"attack"}


WATCHED = (
    "seeds=1",
    "controls=[]",
    "dataset=[toy]",
    "model=[toy]",
    "defense=[none,query_budget,probe_audit]",
    "+defense.probe_audit.sweep=[{detector: volume}, {detector: concentration}]",
    "attack=[toy,toy_weights]",
    "streams=[{accounts: 3}]",
)
HIDDEN = "toy[stream.accounts=3]"


def test_a_watched_deployment_is_prepared_once_and_reuses_the_undefended_target(
    toy_words, toy_conf: Path
) -> None:
    plan = _plan(toy_words, toy_conf, *WATCHED)
    cells = _by_cell(plan)
    audit = next(d for _, _, d, _, _ in (key.split("/") for key in cells) if "volume" in d)
    plain = cells["toy/toy/none/toy/0"]
    assert len([n for n in plan.nodes.values() if n.kind == "prepare"]) == 2
    for defense in ("query_budget", audit):
        watched, hidden = (cells[f"toy/toy/{defense}/{a}/0"] for a in ("toy", HIDDEN))
        assert watched.nodes["target"] == plain.nodes["target"]
        one, other = (plan.nodes[t.nodes["attack"]].payload for t in (watched, hidden))
        assert one["seed"] == other["seed"], "how he asks is no part of what he does"
        assert "stream" not in one and other["stream"]["accounts"] == 3
        held = cells[f"toy/toy/{defense}/toy_weights/0"]
        assert "no_effect" in held.flags
        assert held.nodes["attack"] == cells["toy/toy/none/toy_weights/0"].nodes["attack"]


def test_attackers_hide_only_where_somebody_watches(toy_words, toy_conf: Path) -> None:
    cells = _by_cell(_plan(toy_words, toy_conf, *WATCHED))
    hidden = {key.split("/")[2].partition("[")[0] for key in cells if "stream" in key}
    assert hidden == {"query_budget", "probe_audit"}
    assert not any("toy_weights[stream" in key for key in cells)


def test_what_was_tried_is_recorded(toy_words, toy_conf: Path) -> None:
    plan = _plan(toy_words, toy_conf, *WATCHED, "+attack.toy.sweep={number: [1, 2, 3]}")
    info = {t.cell.defense: t.info["defense"] for t in plan.trials}
    assert {i["family"] for i in info.values()} == {"none", "query_budget", "probe_audit"}
    assert all(i["settings"] == (2 if i["family"] == "probe_audit" else 1) for i in info.values())
    attacks = {t.cell.attack: t.info["attack"]["settings"] for t in plan.trials}
    assert attacks["toy[number=2]"] == 3 and attacks["toy_weights"] == 1


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        ("{acounts: 3}", "unknown key 'acounts'. Did you mean 'accounts'"),
        ("{accounts: 0}", "accounts is 0"),
        ("3", "Setting 'streams.0'"),
    ],
)
def test_a_stream_that_cannot_be(toy_words, toy_conf: Path, stream: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        _plan(toy_words, toy_conf, f"streams=[{stream}]")


def test_layers_that_cannot_be_stacked_are_skipped_with_the_reason(
    toy_words, toy_conf: Path
) -> None:
    words = ("defense=[none,dp_sgd,mixup,toy_stack]", "+defense.toy_stack.stack=[dp_sgd,mixup]")
    plan = _plan(toy_words, toy_conf, "seeds=1", *words)
    reasons = [reason for what, reason in plan.skipped if "toy_stack" in what]
    assert reasons == [
        "Mixup changes the steps of the training loop, but DpSgd replaces it; use one of them"
    ]


def test_a_stack_names_only_what_the_grid_has(toy_words, toy_conf: Path) -> None:
    with pytest.raises(
        UserError, match="the stack names 'dp_sgd'; a stack given on the command line"
    ):
        words = ("defense=[none,toy_stack]", "+defense.toy_stack.stack=[dp_sgd]")
        _plan(toy_words, toy_conf, *words)


_JUDGED = (
    "dataset=[faces,diabetes]",
    "model=[mlp]",
    "defense=[none]",
    "attack=[prior_inversion,attribute_map]",
    "attack.prior_inversion.sweep=[{access: weights}]",
    "seeds=1",
    "controls=[untrained,canary]",
)


def test_the_face_network_makes_other_trials_of_pictures_and_of_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(face_network, "require_installed", lambda: None)
    plain, judged = (
        _by_cell(make_plan(compose_grid((*_JUDGED, f"face_network={on}"))))
        for on in ("false", "true")
    )
    assert plain.keys() == judged.keys()
    for key, trial in plain.items():
        moved = {kind for kind, node in trial.nodes.items() if judged[key].nodes[kind] != node}
        own = trial.cell.dataset == "faces" and trial.control != "canary"
        assert moved == ({"evaluator", "attack"} if own else set())
        assert (judged[key].id != trial.id) is own


def test_a_missing_face_network_is_said_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(UserError, match=r"inversion-bench\[faces\]"):
        make_plan(compose_grid((*_JUDGED, "face_network=true")))
