from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import _VERBS, main
from tests.edited import edit


@pytest.fixture
def invbench(monkeypatch, capsys, toy_words, toy_conf: Path) -> Callable[..., tuple[int, str, str]]:
    """Run a verb on the toy grid; its exit code, output and errors."""

    def call(verb: str, *words: str, toy: bool = True) -> tuple[int, str, str]:
        more = ["--config-dir", str(toy_conf), *toy_words()] if toy else []
        # The last of two words for one setting wins; a trial's name comes first.
        named = words[:1] if verb in ("show", "why") else ()
        argv = ["invbench", verb, *named, *more, *words[len(named) :]]
        monkeypatch.setattr(sys, "argv", argv)
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_help_names_every_verb(invbench) -> None:
    code, out, _ = invbench("--help", toy=False)
    assert code == 0
    assert all(f"  {verb} " in out for verb in _VERBS)
    for verb in _VERBS:
        code, out, _ = invbench(verb, "--help", toy=False)
        assert code == 0
        assert out.startswith("Usage:")


@pytest.mark.slow
def test_a_session(invbench, tmp_path: Path) -> None:
    code, out, _ = invbench("plan")
    assert code == 0
    assert "14 trials, 0 recorded" in out
    assert not (tmp_path / "report").exists()

    code, out, _ = invbench("run")
    assert code == 0
    line = out.splitlines()[-1]
    assert line.startswith("toy: 14 of 14 trials done, 0 failed, 0 skipped; 30 nodes computed")
    page = tmp_path / "report" / "toy" / "index.html"
    assert line.endswith(f"report {page}")
    assert page.exists()
    for name in ("leaderboard.csv", "leaderboard.md", "trials.csv"):
        assert (page.parent / name).exists()

    code, out, _ = invbench("run")
    assert "0 nodes computed, 28 cached" in out.splitlines()[-1]
    code, out, _ = invbench("plan")
    assert "Nothing to run" in out
    code, out, _ = invbench("status")
    assert out.count("14/14 trials done") == 2

    code, out, _ = invbench("show", "toy/toy/none/toy/0")
    assert code == 0
    assert "leakage L" in out
    code, out, _ = invbench("show", "toy/toy/none/toy/0", "--json")
    record = json.loads(out)
    code, out, _ = invbench("show", record["trial_id"][:10], "--to", str(tmp_path / "files"))
    assert record["trial_id"] in out and "tensors.safetensors (" in out
    assert (tmp_path / "files" / "tensors.safetensors").exists()
    code, out, _ = invbench("doctor", "--export", str(tmp_path / "plain"))
    assert code == 0 and len(list((tmp_path / "plain" / "trial").iterdir())) == 14
    code, out, _ = invbench("doctor", "--export", str(tmp_path / "plain"))
    assert code == 2, "it is not empty"

    before = {p: p.read_bytes() for p in page.parent.rglob("*") if p.is_file()}
    code, out, _ = invbench("report")
    assert code == 0
    assert {p: p.read_bytes() for p in page.parent.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_why_names_what_changed(invbench, monkeypatch) -> None:
    invbench("run", "seeds=1")
    code, out, _ = invbench("why", "toy/toy/none/toy/0")
    assert code == 0
    assert "is up to date" in out
    code, out, _ = invbench("why", "toy/toy/none/toy/0", "attack.toy.number=3")
    assert "attack: attack.number: 0 -> 3" in out
    edit(monkeypatch, "target", "tests.toys")
    code, out, _ = invbench("why", "toy/toy/none/toy/0")
    assert "would be a new trial" in out
    assert "target: source of tests.toys changed" in out
    assert "attack:" not in out


def test_exit_code_one_if_a_trial_failed(invbench) -> None:
    code, out, _ = invbench("run", "attack=[toy_raise]", "defense=[none]", "seeds=1")
    assert code == 1
    assert "1 failed" in out
    code, out, _ = invbench("why", "toy/toy/none/toy_raise/0")
    assert "is up to date" in out, "a failure is a result, and nothing of it is damaged"


@pytest.mark.parametrize(
    ("verb", "word", "message"),
    [
        ("rum", "", "There is no verb 'rum'. Did you mean 'run'?"),
        (
            "run",
            "defense=[dp_sgdd]",
            "There is no defense option 'dp_sgdd'. Did you mean 'dp_sgd'?",
        ),
        ("run", "attack.toy.numbr=1", "unknown key 'numbr'. Did you mean 'number'?"),
        ("run", "sedes=1", "unknown key 'sedes'. Did you mean 'seeds'?"),
        ("run", "store=/proc/nowhere", "name a writable folder with store="),
        ("plan", "defense.dp_sgd.epsilon=-1", "the grid has no defense 'dp_sgd'"),
        ("show", "absent", "There is no trial 'absent'"),
        ("report", "", "has no run of suite 'toy'"),
        ("check", "planet=mars", "Name what to check"),
        ("sync", "", "tracking=none has nowhere to upload to"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_two(invbench, verb, word, message) -> None:
    code, out, err = invbench(verb, *([word] if word else []))
    assert code == 2, out
    assert message in err
    assert err.count("\n") == 1
    assert err.startswith("invbench: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["defense=[dp_sgd]", "defense.dp_sgd.epsilon=0"], "epsilon"),
        (["defense=[dp_sgd]", "defense.dp_sgd.epsilon=-3"], "epsilon"),
        (["defense=[dp_sgd]", "defense.dp_sgd.poisson_sampling=false"], "oisson"),
        (["defense=[top_k]", "defense.top_k.k=5"], "k"),
        (["defense=[dropout]", "defense.dropout.rate=1.5"], "rate"),
    ],
)
def test_impossible_defenses_are_refused_before_anything_starts(
    invbench, tmp_path: Path, words: list[str], message: str
) -> None:
    code, _, err = invbench("run", *words, "dataset=[toy]")
    assert code == 2
    assert message in err
    assert not (tmp_path / "store" / "data").exists()


def test_ls_lists_everything(invbench) -> None:
    for what in ("datasets", "models", "defenses", "attacks", "suites"):
        code, out, _ = invbench("ls", what, "--plain", toy=False)
        assert code == 0, what
        assert out.count("\n") > 1
    code, out, _ = invbench("ls", "attacks", "--plain", toy=False)
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[0][:3] == ["attack", "goal", "access"]
    assert all(row[-2] and row[-1] for row in rows)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("run sui", "suite="),
        ("run suite=sm", "suite=smoke"),
        ("run defense=[none,dp_", "defense=[none,dp_sgd"),
    ],
)
def test_completion(line: str, wanted: str) -> None:
    from click.shell_completion import ShellComplete

    from bench.cli import cli

    *args, last = line.split()
    completions = ShellComplete(cli, {}, "invbench", "_X").get_completions(args, last)
    assert wanted in [c.value for c in completions]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_poor_terminal_is_no_traceback(monkeypatch, encoding: str) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, "argv", ["invbench", "--version"])
    with contextlib.suppress(SystemExit):
        main()
    print("−0.01 × 3 日")
    sys.stdout.flush()
    times = "×" if encoding == "latin-1" else "x"
    assert raw.getvalue().decode(encoding).endswith(f"-0.01 {times} 3 ?\n")
