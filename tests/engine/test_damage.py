"""Whatever happens to a stored file, no wrong result is shown and no command stops.

``python -m tests.engine.test_damage 250`` prints the table of 250 injections.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.cli import main
from bench.engine.store import FAULTS, Store, remembered

CONF = Path(__file__).parents[1] / "conf"
VERBS = ("status", "plan", "why", "report", "run", "run", "doctor")
"""What is called after every injection, in this order; the second run must find all in order."""


# ---------------------------------------------------------------- injections
def _truncate(path: Path, rng: random.Random, others: list[Path]) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def _flip(path: Path, rng: random.Random, others: list[Path]) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _swap(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Put another one's file in its place, whole and sealed."""
    other = rng.choice([p for p in others if p != path] or others)
    path.write_bytes(other.read_bytes())


def _edit(path: Path, rng: random.Random, others: list[Path]) -> None:
    """Change a number of a JSON file, or a byte in the middle of another file."""
    if path.suffix != ".json":
        data = bytearray(path.read_bytes())
        data[-1] ^= 0xFF
        path.write_bytes(data)
        return
    text = path.read_text()
    places = list(re.finditer(r"(?<=: )-?\d+(\.\d+)?", text))
    place = rng.choice(places)
    path.write_text(text[: place.start()] + "0.123456" + text[place.end() :])


def _delete(path: Path, rng: random.Random, others: list[Path]) -> None:
    path.unlink()


HOW: dict[str, Callable[[Path, random.Random, list[Path]], None]] = {
    "truncated": _truncate,
    "flipped": _flip,
    "swapped": _swap,
    "edited": _edit,
    "deleted": _delete,
}
WHERE: dict[str, str] = {
    "records of nodes": "[!tef]*/*/record.json",
    "records of trials": "trial/*/record.json",
    "tensors": "*/*/tensors.safetensors",
    "failures": "failed/*/*/*.json",
    "manifests": "executions/*.json",
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
        for key in store.ids("trial"):
            record = store.record("trial", key)
            if record is not None:
                part = {k: record[k] for k in ("cell", "status", "score", "utility", "target")}
                said[key] = json.dumps(part, sort_keys=True)
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
        remembered.cache_clear()


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


def inject(
    pristine: Pristine, root: Path, how: str, where: str, seed: int
) -> tuple[int, list[str]]:
    """Damage one file of a copy, call every verb.

    Returns:
        How many results were wrong, and which commands stopped with what.
    """
    rng = random.Random(seed)
    shutil.copytree(pristine.root, root)
    if seed % 2 and where != "records of trials":
        # What was joined already is not read again: take it away, and all that is left is read.
        for kind in ("trial", "attack"):
            shutil.rmtree(root / kind)
    files = sorted(root.glob(WHERE[where]))
    path = rng.choice(files)
    HOW[how](path, rng, files)
    words = [w.replace(str(pristine.root), str(root)) for w in pristine.words]
    wrong, stopped = 0, []
    for place, verb in enumerate(VERBS):
        named = ["toy/toy/none/toy/0"] if verb == "why" else []
        code, text = _call(verb, [*named, *words])
        allowed = {"run": {1}, "doctor": {0, 1}, "why": {0, 2}}.get(verb, {0})
        # The only manifest may be what is damaged: then there is no suite to report.
        allowed |= {2} if verb == "report" and where == "manifests" else set()
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


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Pristine:
    return make(tmp_path_factory.mktemp("pristine") / "store")


@pytest.mark.parametrize(
    ("how", "where", "seed"),
    [
        ("edited", "records of trials", 0),
        ("swapped", "records of nodes", 1),
        ("truncated", "records of nodes", 3),
        ("flipped", "tensors", 1),
        ("swapped", "tensors", 3),
        ("deleted", "tensors", 5),
        ("truncated", "failures", 0),
        ("edited", "manifests", 0),
    ],
)
def test_no_damage_shows_a_wrong_result_or_stops_a_command(
    pristine: Pristine, tmp_path: Path, how: str, where: str, seed: int
) -> None:
    wrong, stopped = inject(pristine, tmp_path / "store", how, where, seed)
    assert (wrong, stopped) == (0, [])


def table(count: int) -> str:
    """Inject ``count`` times, evenly over what and where; a table of what came of it."""
    lines = [f"{'damage':28} {'injected':>8} {'wrong results':>14} {'stopped commands':>17}"]
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        pristine = make(Path(folder) / "pristine")
        for where in WHERE:
            for how in HOW:
                some: Counter[str] = Counter()
                for seed in range(max(1, count // (len(WHERE) * len(HOW)))):
                    wrong, stopped = inject(pristine, Path(folder) / "copy", how, where, seed)
                    some.update(injected=1, wrong=wrong, stopped=len(stopped))
                    for line in stopped:
                        print(f"{where} {how} {seed}: {line}", file=sys.stderr)
                lines.append(_line(f"{where} {how}", some))
                total += some
    return "\n".join([*lines, _line("all", total)])


def _line(name: str, counts: Counter[str]) -> str:
    return f"{name:28} {counts['injected']:8} {counts['wrong']:14} {counts['stopped']:17}"


if __name__ == "__main__":
    print(table(int(sys.argv[1]) if len(sys.argv) > 1 else 250))
