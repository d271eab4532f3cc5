"""Verbs in a program to which some packages look as if they were not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

_PROGRAM = """
import contextlib, io, json, sys

absent, verbs = json.loads(sys.argv[1])


class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            return None
        return self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from bench.cli import main

answers = []
for words in verbs:
    sys.argv = ["invbench", *words]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    answers.append((code, out.getvalue(), err.getvalue()))
loaded = sorted({name.partition(".")[0] for name in sys.modules} & {*absent})
assert not loaded, loaded
print(json.dumps(answers))
"""


class Answer(NamedTuple):
    """What a verb said, and its exit code."""

    code: int
    out: str
    err: str


def without(absent: Sequence[str], folder: Path, *verbs: Sequence[object]) -> list[Answer]:
    """Run verbs one after the other in a new process that does not find some packages.

    Args:
        absent: names of packages.
        folder: where the command is given.
        *verbs: words of each command.
    """
    words = [[str(word) for word in verb] for verb in verbs]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps([list(absent), words])],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return [Answer(*answer) for answer in json.loads(done.stdout.splitlines()[-1])]
