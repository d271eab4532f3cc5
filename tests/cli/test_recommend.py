"""invbench recommend: words, exit codes, JSON and the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli import deciding
from tests.decide.made import Row

BARS = ("--tau", 0.2, "--mu", 0.03, "--loss", 0.02)


@pytest.fixture
def call(monkeypatch, capsys) -> deciding.Call:
    return deciding.caller(monkeypatch, capsys)


def test_a_recommendation_comes_first_and_exits_with_0(call, tmp_path) -> None:
    found = deciding.evidence(tmp_path, leaky=Row(L={"guess": 0.1, "map": 0.5}))
    page = tmp_path / "page.html"
    code, out, err = call("recommend", found, "--access", "scores", "--tier", "T2", "--html", page)
    assert code == 0
    assert out.startswith("Use shield.\n")
    assert "leaky" in out and "not required" not in out
    assert "Use shield." in page.read_text(encoding="utf-8") and str(page) in err


def test_nothing_that_qualifies_exits_with_1_and_says_what_to_do(call, tmp_path) -> None:
    found = deciding.evidence(tmp_path)
    code, out, _ = call("recommend", found, "--access", "scores", *BARS, "--epsilon-required")
    assert code == 1
    assert out.startswith("Nothing qualifies.") and "Do not expose the model." in out


def test_json_holds_every_figure(call, tmp_path) -> None:
    found = deciding.evidence(tmp_path)
    code, out, _ = call("recommend", found, "--access", "scores", *BARS, "--json")
    told = json.loads(out)
    assert code == 0 and told["chosen"]["defense"] == "shield"
    assert told["chosen"]["measured"][0]["L"]["hi"] == pytest.approx(0.058, abs=1e-3)
    assert told["rejected"][0]["rule"] == "leakage"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--access", "scores"), "Give either --tier"),
        (("--access", "scores", "--tier", "T2", "--tau", 0.1), "Give either --tier"),
        (("--access", "scores", "--tau", 0.1), "all of --tau, --mu and --loss"),
        (("--access", "scores", "--tier", "T4"), "no tier 'T4'"),
        (("--access", "scores", "--tier", "T2", "--dataset", "loan"), "Did you mean 'loans'"),
        (("--access", "score", "--tier", "T2"), "score"),
        (("--access", "scores", "--tier", "T2", "--model", "cnn"), "no model 'cnn'"),
        (("--access", "scores", "--tau", 1.5, "--mu", 0.1, "--loss", 0.1), "--tau"),
        (("--access", "scores", "--tier", "T2", "--policy", "mine.yaml"), "no policy 'mine.yaml'"),
        (
            ("--access", "scores", "--tier", "T2", "--html", "/proc/none/x.html"),
            "cannot be written",
        ),
    ],
)
def test_mistakes_are_one_sentence_and_exit_with_2(call, tmp_path: Path, words, said: str) -> None:
    code, _, err = call("recommend", deciding.evidence(tmp_path), *words)
    assert code == 2
    assert said in err and "Traceback" not in err


def test_an_access_nobody_measured_is_an_answer_not_a_mistake(call, tmp_path) -> None:
    code, out, _ = call(
        "recommend", deciding.evidence(tmp_path), "--access", "weights", "--tier", "T2"
    )
    missing = "no evidence on attribute with weights or more access"
    assert code == 1 and missing in " ".join(out.split())
    assert "with scores, shield would qualify" in " ".join(out.split())


def test_the_words_say_when_to_decide_again(call, tmp_path) -> None:
    _, out, _ = call("recommend", deciding.evidence(tmp_path), "--access", "scores", "--tier", "T2")
    assert "by 2026-08-28, and when a new attack" in " ".join(out.split())


def test_a_policy_of_ones_own(call, tmp_path) -> None:
    from bench.engine.conf import config_dir

    text = (config_dir() / "policy" / "default.yaml").read_text(encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(text.replace("tau: 0.20", "tau: 0.057"), encoding="utf-8")
    words = ("recommend", deciding.evidence(tmp_path), "--access", "scores", "--tier", "T2")
    assert call(*words)[0] == 0
    assert call(*words, "--policy", own)[0] == 1  # the upper end is 0.058
    own.write_text(text.replace("tau: 0.20", "tua: 0.06"), encoding="utf-8")
    code, _, err = call(*words, "--policy", own)
    assert code == 2 and "tiers.T2" in err
