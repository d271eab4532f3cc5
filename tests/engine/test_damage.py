"""Whatever happens to a stored file, no wrong result is shown and no command stops.

``python -m tests.engine.test_damage 250`` prints the table of 250 injections.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import pytest

from bench.cli import main
from bench.engine.store import FAULTS, Store

CONF = Path(__file__).parents[1] / "conf"
VERBS = ("status", "plan", "why", "report", "run", "run", "doctor")
"""What is called after every injection, in this order; the second run must find all in order."""


# ---------------------------------------------------------------- injections
def _truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def _flip(path: Path, rng: random.Random) -> None:
    """Flip a bit in each of up to three bytes that are close to each other."""
    with path.open("r+b") as file:
        start = rng.randrange(path.stat().st_size)
        for place in range(start, min(start + rng.randrange(1, 4), path.stat().st_size)):
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))


def _blank(path: Path, rng: random.Random) -> None:
    """A block of the disk that reads as zeros."""
    with path.open("r+b") as file:
        file.seek(rng.randrange(max(1, path.stat().st_size // 4096)) * 4096)
        file.write(bytes(min(4096, path.stat().st_size - file.tell())))


def _delete(path: Path, rng: random.Random) -> None:
    path.unlink()


def _row(table: str, change: str) -> Callable[[Path, random.Random], None]:
    """Change one row as somebody with the tools of the trade would."""

    def changed(path: Path, rng: random.Random) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            [(count,)] = connection.execute(f"SELECT count(*) FROM {table}")
            sql = f"SELECT rowid FROM {table} LIMIT 1 OFFSET {rng.randrange(count)}"
            connection.execute(f"UPDATE {table} SET {change} WHERE rowid=({sql})")

    return changed


_OTHER = "(SELECT {0} FROM results AS o WHERE o.kind=results.kind AND o.rowid!=results.rowid)"
HOW: dict[str, tuple[str, Callable[[Path, random.Random], None]]] = {
    "database truncated": ("*.sqlite", _truncate),
    "database flipped": ("*.sqlite", _flip),
    "block of database blank": ("*.sqlite", _blank),
    "database deleted": ("*.sqlite", _delete),
    "mark deleted": ("store.json", _delete),
    "mark truncated": ("store.json", _truncate),
    "blob truncated": ("blobs/*/*", _truncate),
    "blob flipped": ("blobs/*/*", _flip),
    "blob deleted": ("blobs/*/*", _delete),
    "number of a record edited": (
        "*.sqlite",
        _row("results", "record=replace(record, ':0.', ':1.') || ''"),
    ),
    "record swapped": ("*.sqlite", _row("results", f"record={_OTHER.format('record')}")),
    "record and seal swapped": (
        "*.sqlite",
        _row("results", f"(record, seal)={_OTHER.format('record, seal')}"),
    ),
    "key of a record edited": ("*.sqlite", _row("results", "key='0' || substr(key, 2)")),
    "small file edited": ("*.sqlite", _row("files", "data=x'00'")),
    "failure edited": ("*.sqlite", _row("failures", "record='{'")),
    "manifest edited": ("*.sqlite", _row("executions", "manifest=replace(manifest, 't', 'u')")),
}


# ---------------------------------------------------------------- one injection
@dataclass
class Pristine:
    """A store in order, the words that made it, and what every trial of it says."""

    root: Path
    words: list[str]
    said: dict[str, object] = field(default_factory=dict)

    def results(self, root: Path) -> dict[str, object]:
        """What is shown of every trial, damaged ones left out."""
        store = Store(root)
        said: dict[str, object] = {}
        for key, record in store.records("trial", store.ids("trial")):
            part = {k: record[k] for k in ("cell", "status", "score", "utility", "target")}
            said[key] = json.dumps(part, sort_keys=True)
        store.close()
        FAULTS.clear()
        return said


def _call(verb: str, words: list[str]) -> tuple[int, str]:
    argv, sys.argv = sys.argv, ["invbench", verb, *words]
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            main()
        return 0, text.getvalue()
    except SystemExit as stop:
        return int(stop.code or 0), text.getvalue()
    except Exception as error:
        return 99, f"{text.getvalue()}{type(error).__name__}: {error}"
    finally:
        sys.argv = argv
        FAULTS.clear()


def make(root: Path) -> Pristine:
    """Run the toy grid, with one attack that fails."""
    words = [
        "--config-dir",
        str(CONF),
        "suite=toy",
        f"store={root}",
        f"report_dir={root}.report",
        "backend=local",
        "tracking=none",
        "progress=none",
        "seeds=1",
        "defense=[none,toy_training]",
        "attack=[toy,toy_raise]",
    ]
    code, text = _call("run", words)
    assert code == 1, text
    pristine = Pristine(root, words)
    pristine.said = pristine.results(root)
    assert len(pristine.said) >= 2
    return pristine


def inject(pristine: Pristine, root: Path, how: str, seed: int) -> tuple[int, list[str]]:
    """Damage one file of a copy, call every verb.

    Returns:
        How many results were wrong, and which commands stopped with what.
    """
    rng = random.Random(seed)
    shutil.copytree(pristine.root, root)
    if seed % 2 and "record" not in how:
        # What was joined already is not read again: take it away, and all that is left is read.
        store = Store(root)
        for kind in ("trial", "attack"):
            for key in store.ids(kind):
                store.remove(kind, key)
        store.close()
    pattern, damage = HOW[how]
    damage(rng.choice(sorted(root.glob(pattern))), rng)
    words = [w.replace(str(pristine.root), str(root)) for w in pristine.words]
    wrong, stopped = 0, []
    for place, verb in enumerate(VERBS):
        named = ["toy/toy/none/toy/0"] if verb == "why" else []
        code, text = _call(verb, [*named, *words])
        allowed = {"run": {1}, "doctor": {0, 1}, "why": {0, 2}}.get(verb, {0})
        # Of the only manifest, or of every trial, nothing may be left: then nothing is reported.
        nothing = "has no run of suite" in text or "has ended yet" in text
        allowed |= {2} if verb == "report" and nothing else set()
        if code not in allowed or "Traceback" in text:
            stopped.append(f"{verb}: {code}: {text[-300:]}")
        shown = pristine.results(root)
        wrong += sum(shown[k] != pristine.said.get(k) for k in shown)
        if verb == "run":
            wrong += len(set(pristine.said) - set(shown))
            again = re.search(r"(\d+) nodes computed", text)
            if place == len(VERBS) - 2 and (again is None or int(again[1]) > 0):
                stopped.append(f"the second run computed again: {text[-300:]}")
    shutil.rmtree(root)
    shutil.rmtree(f"{root}.report", ignore_errors=True)
    return wrong, stopped


@contextlib.contextmanager
def _blobs() -> Iterator[None]:
    """Let files of more than 100 bytes be large ones, for the toy's are small."""
    with contextlib.ExitStack() as stack:
        for name in ("store", "reading"):
            stack.enter_context(patch(f"bench.engine.store.{name}.SMALL", 100))
        yield


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pristine]:
    with _blobs():
        yield make(tmp_path_factory.mktemp("pristine") / "store")


@pytest.mark.parametrize(
    ("how", "seed"),
    [
        ("database flipped", 0),
        ("database truncated", 3),
        ("blob flipped", 1),
        ("record and seal swapped", 1),
    ],
)
def test_no_damage_shows_a_wrong_result_or_stops_a_command(
    pristine: Pristine, tmp_path: Path, how: str, seed: int
) -> None:
    wrong, stopped = inject(pristine, tmp_path / "store", how, seed)
    assert (wrong, stopped) == (0, [])


def table(count: int) -> str:
    """Inject ``count`` times, evenly over the ways; a table of what came of it."""
    lines = [f"{'damage':28} {'injected':>8} {'wrong results':>14} {'stopped commands':>17}"]
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, _blobs():
        pristine = make(Path(folder) / "pristine")
        for how in HOW:
            some: Counter[str] = Counter()
            for seed in range(max(1, count // len(HOW))):
                wrong, stopped = inject(pristine, Path(folder) / "copy", how, seed)
                some.update(injected=1, wrong=wrong, stopped=len(stopped))
                for line in stopped:
                    print(f"{how} {seed}: {line}", file=sys.stderr)
            lines.append(_line(how, some))
            total += some
    return "\n".join([*lines, _line("all", total)])


def _line(name: str, counts: Counter[str]) -> str:
    return f"{name:28} {counts['injected']:8} {counts['wrong']:14} {counts['stopped']:17}"


if __name__ == "__main__":
    print(table(int(sys.argv[1]) if len(sys.argv) > 1 else 250))
