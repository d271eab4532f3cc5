"""What the program says alone, of mistakes in its words, and where nobody reads on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli import _PURPOSES
from bench.engine.execution import execute, prepare
from tests.cli.deciding import Call, caller

CONF = Path(__file__).parents[1] / "conf"
PROGRAM = [sys.executable, "-c", "from bench.cli import main; main()"]


@pytest.fixture
def call(monkeypatch, capsys) -> Call:
    return caller(monkeypatch, capsys)


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which ``invbench`` is this program."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "invbench"
    program.write_text(f"#!/bin/sh\nexec '{PROGRAM[0]}' -c '{PROGRAM[2]}' \"$@\"\n")
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": ":".join(sys.path), **variables}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, capture_output=True, check=False, timeout=120
    )


# ---------------------------------------------------------------- alone
def test_alone_it_greets_by_the_state_of_the_place(call: Call, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = call()
    assert code == 0 and "Nothing has been run here" in out
    for verb in ("run suite=smoke", "recommend", "redteam", "ls"):
        assert f"invbench {verb}" in out
    assert not list(tmp_path.iterdir()), "who looks makes nothing"


def test_alone_it_names_the_report_and_how_to_go_on(call: Call, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["suite=toy", "label=toy", "seeds=1", "attack=[toy]", "backend=local", "tracking=none"]
    words += ["progress=none", "store=results/runs"]
    done = execute(*prepare(words, CONF), CONF)
    page = tmp_path / "results" / "toy" / "index.html"
    page.parent.mkdir()
    page.touch()
    _, out, _ = call()
    assert re.search(r"'toy': (\d+) of \1 trials have ended", out)
    assert f"Report: {page.relative_to(tmp_path)}" in out and "suite=smoke" not in out

    from bench.engine.store import Store

    Store(Path("results/runs")).beat(done.manifest["name"], {**done.manifest, "state": "stalled"})
    _, out, _ = call()
    assert "is not finished" in out
    assert "label=toy" in " ".join(out.split()), "the command that goes on"


def test_it_is_quick_and_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom bench.cli import main\nsys.argv = ['invbench']\nmain()\n"
        "heavy = ('torch', 'ray', 'mlflow', 'pandas', 'numpy', 'hydra')\n"
        "sys.exit(', '.join(m for m in heavy if m in sys.modules) or 0)"
    )
    (tmp_path / "results" / "runs").mkdir(parents=True)
    (tmp_path / "results" / "runs" / "something").touch()
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_groups_the_verbs_by_purpose(call: Call) -> None:
    _, out, _ = call("--help")
    assert list(_PURPOSES) == ["Look", "Run", "Decide", "Exchange", "Upkeep"]
    for purpose, listed in _PURPOSES.items():
        section = out.split(f"\n{purpose}:\n")[1].split("\n\n")[0].splitlines()
        assert [line.split()[0] for line in section] == list(listed)


# ---------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rum"], "There is no verb 'rum'. Did you mean 'run'?"),
        (["data", "ftch"], "There is no verb 'data ftch'. Did you mean 'fetch'?"),
        (["cluster", "stat"], "There is no verb 'cluster stat'. Did you mean 'start'?"),
        (["ls", "--fro", "german"], "'invbench ls' has no option '--fro'. Did you mean '--for'?"),
        (["--verison"], "'invbench' has no option '--verison'. Did you mean '--version'?"),
        (["run", "-m"], "'defense=[none,dp_sgd]'"),
        (["redteam"], "Missing option '--model'. 'invbench redteam --help'"),
        (["recommend", "x"], "Choose from: labels, scores, weights"),
        (["recommend", "x", "--access", "score"], "Did you mean 'scores'?"),
        (["ls", "--for"], "'--for' requires an argument"),
        (["show"], "Name TRIAL; 'invbench show --help'"),
        (["ls", "--for", "grman"], "Did you mean 'german'?"),
        (["completion", "tcsh"], "'bash', 'zsh', 'fish'"),
    ],
)
def test_mistakes_in_the_words_are_one_sentence(call: Call, words: list[str], told: str) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert told in err and err.startswith("invbench: ") and err.count("\n") == 1


def test_a_group_alone_shows_its_verbs_whole(call: Call) -> None:
    _, out, err = call("data")
    text = out + err
    assert "Traceback" not in text and not re.search(r"\w\.\.\.\n", text)
    assert all(f"\n  {verb} " in text for verb in ("fetch", "list", "verify"))


# ---------------------------------------------------------------- where nobody reads on
@pytest.mark.parametrize("words", ["ls attacks", "--help", "", "ls attacks --json", "rum 2>&1"])
def test_a_reader_that_goes_is_no_error(tmp_path: Path, words: str) -> None:
    line = f"invbench {words} | true; echo ${{PIPESTATUS[0]}}"
    done = shell(line, tmp_path)
    assert done.stderr == b""
    assert int(done.stdout) in (0, 2, 141), "never 1, by which a gate says no"


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\nfrom bench.cli import main\n"
        # Whoever starts this in the background has made it deaf.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import bench.cli.ls as ls\n"
        "ls.command.callback = lambda **options: (print('here', flush=True), time.sleep(60))\n"
        "sys.argv = ['invbench', 'ls']\nmain()"
    )
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    started = subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert started.stdout is not None and started.stdout.readline() == b"here\n"
    time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=30)
    assert started.returncode == 130 and b"Traceback" not in err and b"stopped" in err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_poor_terminal_is_no_traceback(tmp_path: Path, encoding: str) -> None:
    for words in ("ls defenses", "", "ls 'd\xe4t\xe4'", "ls suites --json"):
        done = shell(f"invbench {words}", tmp_path, PYTHONIOENCODING=encoding)
        assert b"Traceback" not in done.stderr and done.returncode in (0, 2), done.stderr
        done.stdout.decode(encoding)


# ---------------------------------------------------------------- completion
@pytest.fixture
def complete(tmp_path: Path) -> Callable[[str], list[str]]:
    """What bash offers after a line, by the very function that the program gives it."""

    def offered(line: str) -> list[str]:
        script = f"""
eval "$(_INVBENCH_COMPLETE=bash_source invbench)" || exit 1
compopt() {{ :; }}  # bash has it only while the tab key is held
line={line!r}
read -ra COMP_WORDS <<< "${{line//=/ = }}"
[[ $line == *" " ]] && COMP_WORDS+=("")
[[ $line == *= ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_invbench_completion invbench
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        done = shell(script, tmp_path)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout.decode().split("\n")[:-1]

    return offered


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("invbench re", ["report", "recommend", "redteam", "reproduce"]),
        ("invbench data fe", ["fetch"]),
        ("invbench ls --fo", ["--for"]),
        ("invbench ls da", ["datasets", "dataset=", "data_root="]),
        ("invbench ls attacks --for ger", ["german"]),
        ("invbench run sui", ["suite="]),
        ("invbench run suite=smo", ["smoke"]),
        ("invbench run defense=[none,dp_s", ["[none,dp_sgd"]),
        ("invbench data fetch movie", ["movielens"]),
        ("invbench recommend --acc", ["--access"]),
        ("invbench recommend --access sc", ["scores"]),
        ("invbench completion f", ["fish"]),
        ("invbench rum x", [""]),
    ],
)
def test_bash_completes(complete: Callable[[str], list[str]], line: str, wanted: list[str]) -> None:
    assert complete(line) == wanted


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_line_to_add_is_what_the_program_answers(tmp_path: Path, name: str) -> None:
    line = shell(f"invbench completion {name}", tmp_path).stdout.decode()
    assert f"_INVBENCH_COMPLETE={name}_source" in line and line.count("\n") == 1
    script = shell(f"_INVBENCH_COMPLETE={name}_source invbench", tmp_path)
    assert script.returncode == 0 and f"{name}_complete" in script.stdout.decode()
    assert shell("invbench completion", tmp_path, SHELL=f"/bin/{name}").stdout.decode() == line
