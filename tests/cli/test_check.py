"""``invbench check``: what breaks its contract fails with one line that says so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONF = Path(__file__).parents[1] / "conf_bad"
WORDS = ("plugins=[tests]", "--config-dir", str(CONF))
ON = ("--on", "dataset=sound_table")

Said = tuple[int, str, str]

BROKEN = {
    "dataset=table_raise": "loads: OSError: the disk is full",
    "dataset=table_nan": "its splits are sound: UserError:",
    "dataset=table_lie": "its card agrees with its class: the card's n_classes is 3",
    "dataset=table_miscount": "says what it found: 'class_counts' is [1, 1]",
    "dataset=table_stay": "follows from its seed: another seed gave the same split",
    "dataset=table_mislabel": "its card agrees with its records: in 5 records of 'train'",
    "dataset=table_global": "follows from its seed: the same seed gave other splits",
    "model=model_no_network": "builds a Network: 'build' returned Linear",
    "model=model_nan": "gives outputs on sound_table: it gave NaN or Inf",
    "model=model_batch": "answers each record by itself: a batch is answered differently",
    "model=model_unseeded": "its initial weights follow from its seed: two networks of one seed",
    "model=model_one_shape": "gives outputs on sound_table: RuntimeError:",
    "model=model_frozen": "can be trained on sound_table: ",
    "model=model_constant": "can be trained on sound_table: training left its weights",
    "defense=answers_sum": "such as 1.1; return probabilities",
    "defense=answers_scale": "such as 2; return probabilities",
    "defense=answers_shift": "it returned negative scores, down to -4",
    "defense=answers_negative": "it returned negative scores",
    "defense=answers_tie": "keeps the best class the only best one, or says that it does not: with",
    "defense=answers_nan": "it returned NaN or Inf for [class ",
    "defense=answers_shape": "keep shape and type",
    "defense=answers_batch": "answers row by row: its rows asked one by one",
    "defense=answers_raise": "near a tie, saturated and uniform: ValueError: no answer today",
    "defense=answers_global": "answers row by row: its rows asked one by one",
    "defense=answers_nothing": "is active: it changed nothing",
    "defense=answers_zero": "does nothing at zero strength: with 2 classes, options",
    "defense=idle": "is active on sound_table: the trained weights are those of no defense",
    "defense=shop": "lets most customers pass (100.0% of 200 benign accounts refused): more than",
    "attack=vain": "unknown: ['raunding']. Did you mean 'rounding'?",
    "attack=blind": "an attack with access 'none' meets no defense",
    "attack=guess_nan": "returns finite values: its values hold NaN or Inf",
    "attack=guess_shape": "in shape and type: the goal 'attribute' wants values of shape (80, 2)",
    "attack=guess_dtype": "in shape and type: values must be floating-point numbers",
    "attack=guess_tuple": "in shape and type: it returned tuple, not a Reconstruction",
    "attack=guess_raise": "runs without an error on sound_table: ValueError: nothing found",
    "attack=guess_exit": "runs without an error on sound_table: SystemExit: 3",
    "attack=guess_undeclared": "(read: K2, K3): it, or its prior, read K2, and it declares K3",
    "attack=guess_unseeded": "follows from its seed alone: two runs with the same seed differ",
    "attack=guess_reseeds": "leaves the process as it was: it changed torch's global generator",
    "attack=guess_spends": "stays within a budget of queries",
    "attack=guess_lifts": "stays within a budget of queries (53 of 160): it asked 160; leave",
    "attack=guess_forgets": "its queries are counted (1): the deployment answered 160",
}

# Where what is wrong shows in several places, and where each is worth a line.
_SEVERAL = {
    "dataset=table_nan",
    "dataset=table_lie",
    "model=model_nan",
    "model=model_one_shape",
    "model=model_unseeded",
    "defense=answers_raise",
    "defense=answers_shape",
    "defense=answers_shift",
    "attack=guess_forgets",
    "attack=guess_nan",
    "defense=answers_nan",
    "attack=guess_lifts",
    "defense=answers_global",
    "model=model_batch",
    "defense=answers_batch",
    "attack=guess_unseeded",
}


def _check(verb: Callable[..., Said], word: str) -> Said:
    return verb("check", word, *WORDS, *(() if word.startswith("dataset=") else ON))


@pytest.mark.parametrize("word", BROKEN)
def test_what_breaks_its_contract_fails_with_a_line_that_says_so(verb, word: str) -> None:
    code, out, err = _check(verb, word)
    failed = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert code == 1, out + err
    assert any(BROKEN[word] in line for line in failed), out
    assert len(failed) <= 2 or word in _SEVERAL, out
    assert out.splitlines()[-1] == f"{len(failed)} checks do not hold."
    assert all(line.startswith(("ok  ", "note", "FAIL")) for line in out.splitlines()[:-1])
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    "word",
    [
        "dataset=sound_table",
        "dataset=sound_fixed",
        "model=sound_model",
        "defense=sound_answers",
    ],
)
def test_what_keeps_its_contract_passes(verb, word: str) -> None:
    code, out, err = _check(verb, word)
    assert code == 0, out + err
    assert out.endswith("All checks hold.\n")
    assert "FAIL" not in out


def test_a_package_beside_its_options_is_found(verb, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "model").mkdir()
    (tmp_path / "besides").mkdir()
    (tmp_path / "model" / "besides.yaml").write_text(
        "# A model\nbesides:\n  _target_: besides.part.Part\n"
    )
    (tmp_path / "besides" / "part.py").write_text(
        "from dataclasses import dataclass\n\nfrom bench.models.softmax import Softmax\n\n\n"
        '@dataclass(frozen=True)\nclass Part(Softmax):\n    """A model."""\n'
    )
    words = ("plugins=[besides]", "--config-dir", str(tmp_path))
    code, out, err = verb("check", "model=besides", *words)
    assert code == 0, out + err


@pytest.mark.slow
def test_an_attack_on_pictures_does_not_read_what_a_control_needs(
    verb, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no digest of a file is remembered
    code, out, err = verb("check", "attack=miface")
    assert code == 0, out + err


def test_a_data_set_to_try_it_on_takes_options_of_its_own(verb) -> None:
    # Half the records, half the victims, half the queries.
    code, out, err = _check(verb, "attack=sound_guess")
    assert code == 0 and "its queries are counted (160)" in out, out + err
    code, out, err = verb("check", "attack=sound_guess", *WORDS, *ON, "dataset.sound_table.rows=60")
    assert code == 0 and "its queries are counted (80)" in out, out + err


def test_knowledge_that_is_declared_and_not_read_is_noted(verb) -> None:
    code, out, _ = _check(verb, "attack=boastful")
    assert code == 0, out
    assert "note  boastful: uses the knowledge it declares: it did not read K2 here" in out


def test_the_traceback_is_shown_on_request_only(verb) -> None:
    word = "attack=guess_raise"
    _, _, err = _check(verb, word)
    assert "nothing\nfound" not in err
    _, _, err = verb("check", word, *WORDS, *ON, "-vv")
    assert "Traceback" in err and "nothing\nfound" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("attack=csmia", "--on", "dataset=baskets"), "name another data set"),
        (("attack=csmia", "--on", "dataset=mars"), "There is no dataset option 'mars'"),
        (("attack=csmia", "--on", "dataset=german", "data_root=null"), "which is missing"),
        (("attack=csmia", "--on", "mars"), "give the data set to try it on"),
        (("dataset=baskets", "--on", "dataset=german"), "--on names the data set"),
        (("defense=rounding", "defense.rounding.digits=-3"), "digits"),
        (("defense=raunding",), "Did you mean 'rounding'?"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(verb, words: tuple[str, ...], sentence) -> None:
    code, _, err = verb("check", *words)
    assert code == 2
    assert err.startswith("invbench: ") and sentence in err
