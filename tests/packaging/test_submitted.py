"""What CI does with a pack in a pull request: it is verified, and what it would move is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.exchange import pack
from tests.decide import made
from tests.decide.made import Row
from tests.packaging.absent import ROOT

BOARDS = "results/published/loans"
LEAKY = Row(L={"guess": 0.3, "map": 0.5})


def _write(folder: Path, place: str, **rows: Row) -> Path:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    pack.write(made.pack({"none": made.NONE, **rows}), path)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the branch, as far as packs go."""
    folder = tmp_path_factory.mktemp("base")
    _write(folder, BOARDS, shield=Row())
    (folder / "results" / "published" / "examples").mkdir()
    return folder


@pytest.fixture
def head(base: Path, tmp_path: Path) -> Path:
    """The same, to be changed by a pull request."""
    return Path(shutil.copytree(base, tmp_path / "head"))


def _program(folder: Path, name: str, text: str) -> dict[str, str]:
    """An environment in which a program of this name is found first."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def _checked(base: Path, head: Path, *words: str) -> tuple[int, str]:
    """Exit code and comment of ``.ci/pack``."""
    start = f"#!{sys.executable}\nfrom bench.cli import main\n\nmain()\n"
    environment = _program(head.parent / "bin", "invbench", start) | {"PYTHONPATH": str(ROOT)}
    comment = head.parent / "comment.md"
    done = subprocess.run(
        [ROOT / ".ci" / "pack", base, head, comment, "--sample", "0", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.stderr == ""
    text = comment.read_text(encoding="utf-8")
    assert done.stdout == text
    return done.returncode, text


def test_a_pull_request_without_a_pack_says_so(base: Path, head: Path) -> None:
    (head / "results" / "published" / "README.md").write_text("More words.\n", encoding="utf-8")
    code, comment = _checked(base, head)
    assert (code, "It changes no pack." in comment) == (0, True)


@pytest.mark.slow
def test_a_submission_is_verified_and_joins_its_boards(base: Path, head: Path) -> None:
    _write(head, "submissions/loans/sieve.zip", sieve=Row())
    # What lies beside it must not be imported by what reads it.
    for name in ("ray", "plotly", "torchvision", "sitecustomize"):
        (head / f"{name}.py").write_text("raise SystemExit('it ran')\n", encoding="utf-8")
    code, comment = _checked(base, head)
    assert code == 0, comment
    assert "### `submissions/loans/sieve.zip`" in comment
    assert "    Consistent: everything stated follows from the records" in comment
    new = [line for line in comment.splitlines() if "rows new" in line]
    assert any("sieve" in line for line in new), comment
    assert "it ran" not in comment
    assert str(head) not in comment


@pytest.mark.slow
def test_boards_that_are_replaced_are_compared_with_those_before(base: Path, head: Path) -> None:
    shutil.rmtree(head / BOARDS)
    _write(head, BOARDS, shield=LEAKY)
    _write(head, "results/published/others", shield=Row())
    code, comment = _checked(base, head)
    assert code == 0, comment
    moved = next(line for line in comment.splitlines() if "leaks more" in line or "worse" in line)
    assert "shield" in moved
    assert "No boards of this name are published yet" in comment.partition("others")[2]


@pytest.mark.slow
def test_a_tampered_pack_fails_and_nothing_is_compared(base: Path, head: Path) -> None:
    records = head / BOARDS / pack.RECORDS
    data = bytearray(records.read_bytes())
    data[len(data) // 2] ^= 1
    records.write_bytes(data)
    code, comment = _checked(base, head)
    assert code == 1
    assert "    NOT verified: " in comment
    assert "**It does not hold.**" in comment
    assert "would move" not in comment


@pytest.mark.slow
def test_a_pack_that_does_not_fit_fails_with_the_reason(base: Path, head: Path) -> None:
    _write(head, "submissions/loans/shield.zip", shield=LEAKY)  # another row of the same name
    _write(head, "submissions/nowhere/sieve.zip", sieve=Row())
    code, comment = _checked(base, head)
    assert code == 1
    assert "**It cannot stand on these boards.**" in comment
    assert "**There are no boards `results/published/nowhere`" in comment


def test_what_is_no_plain_pack_is_refused_unread(base: Path, head: Path) -> None:
    odd = "<!-- @everyone --> x"
    (head / "submissions" / "loans").mkdir(parents=True)
    (head / "submissions" / "loans" / f"{odd}.zip").write_bytes(b"PK")
    (head / "submissions" / "loans" / "link.zip").symlink_to("/etc/passwd")
    (head / BOARDS / "extra.csv").symlink_to("/etc/passwd")
    shutil.copytree(base / BOARDS, head / "elsewhere")
    (head / "results" / "published" / "linked").symlink_to(head / "elsewhere")
    code, comment = _checked(base, head)
    assert code == 1
    assert comment.count("neither a file nor a folder") == 3
    assert comment.count("letters, digits, dots, dashes and underscores only") == 1
    assert odd not in comment
    assert "root:" not in comment


def test_boards_that_vanish_are_told(base: Path, head: Path) -> None:
    shutil.rmtree(head / BOARDS)
    code, comment = _checked(base, head)
    assert code == 1
    assert f"`{BOARDS}` would be gone" in comment


@pytest.mark.parametrize(
    ("base", "path", "words"),
    [("none", os.environ["PATH"], "are folders"), ("", "/usr/bin:/bin", "pip install")],
)
def test_what_is_not_there_is_a_mistake(tmp_path: Path, base: str, path: str, words: str) -> None:
    given = [ROOT / ".ci" / "pack", tmp_path / base, tmp_path, tmp_path / "comment.md"]
    done = subprocess.run(given, capture_output=True, text=True, check=False, env={"PATH": path})
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "comment.md").exists()


# ---------------------------------------------------------------- posting it
_GH = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$CALLS"
case $* in
  *"pulls -f state=open"*) echo "$NUMBER" ;;
  *pulls/7/files*) printf '%s\\n' "$FILES" ;;
  *"pulls/7 --jq"*) echo "$NOW" ;;
  "pr comment"*) cat "${@: -1}" ;;
  *) exit 9 ;;
esac
"""


def _posted(folder: Path, **answers: str) -> tuple[str, list[str]]:
    """What ``.ci/comment`` prints, and its calls of a program in the place of GitHub's."""
    (folder / "comment.md").write_text("It holds.\n", encoding="utf-8")
    told: Mapping[str, str] = {
        "CALLS": str(folder / "calls"),
        "REPOSITORY": "them/bench",
        "HEAD_SHA": "abc",
        "HEAD_OWNER": "somebody",
        "HEAD_BRANCH": "$(touch ran)`touch ran`",
        "NUMBER": "7",
        "FILES": f"{BOARDS}/pack.json",
        "NOW": "abc 1",
        **answers,
    }
    done = subprocess.run(
        [ROOT / ".ci" / "comment", folder / "comment.md"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=_program(folder / "bin", "gh", _GH) | told,
    )
    assert not (folder / "ran").exists(), "the name of a branch is text"
    return done.stdout, (folder / "calls").read_text(encoding="utf-8").splitlines()


def test_the_comment_is_posted_on_the_pull_request_of_the_commit(tmp_path: Path) -> None:
    printed, calls = _posted(tmp_path)
    assert printed == "It holds.\n"
    assert calls[-1].startswith("pr comment 7 --repo them/bench")


@pytest.mark.parametrize(
    "answers",
    [
        {"NUMBER": ""},
        {"FILES": "README.md\n.github/workflows/pack.yml\n" + "x\n" * 5000},
        {"NOW": "other 1"},
        {"NOW": "abc 3001"},
    ],
)
def test_what_may_be_forged_is_not_posted(tmp_path: Path, answers: dict[str, str]) -> None:
    _, calls = _posted(tmp_path, **answers)
    assert not any(call.startswith("pr comment") for call in calls)
