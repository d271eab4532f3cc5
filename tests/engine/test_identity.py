"""Identities move with the code and the files that shape a result, and with nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from bench.contract.source import INERT
from bench.engine.config import compose_grid
from bench.engine.execution import execute, prepare
from bench.engine.graph import KINDS, Plan
from bench.engine.plan import make_plan
from bench.engine.stages import run
from bench.engine.stages.result import Machine, Result
from tests.data.test_table import CARD, loans

ROOT = Path(__file__).parents[2]
WORDS = (
    "dataset=[diabetes]",
    "model=[mlp]",
    "defense=[none,top_k,dropout]",
    "attack=[csmia,attribute_map]",
    "attack.attribute_map.sweep=[{}]",
    "seeds=1",
    "controls=[]",
    "tracking=none",
    "backend=local",
    "progress=none",
)

_FITTED = {"prepare", "utility", "audit", "attack", "trial"}
MOVES: dict[str, tuple[str, str, str, set[str]]] = {
    "metric": ("bench/metrics/attribute.py", "MIN_GROUP = 50", "MIN_GROUP = 40", {"attack"}),
    "utility": ("bench/metrics/utility.py", "_BINS", "_BARS", {"utility", "reference"}),
    "coercion": (
        "bench/engine/components.py",
        "return float(value)",
        "return float(value) + 1",
        set(KINDS),
    ),
    "plain values": ("bench/engine/stages/__init__.py", "return None", "return 0", set(KINDS)),
    "loader": ("bench/data/diabetes.py", "seed", "sown", set(KINDS)),
    "helper of loaders": ("bench/data/common.py", "round(train", "int(train", set(KINDS)),
    "checked splits": ("bench/contract/data.py", "isfinite(low)", "isfinite(high)", set(KINDS)),
    "training": ("bench/models/training.py", "recipe.epochs", "recipe.steps", {"target", *_FITTED}),
    "model": ("bench/models/mlp.py", "self.hidden", "self.hidden * 1", {"target", *_FITTED}),
    "defense": ("defenses/top_k.py", "self.k", "(self.k + 0)", {"utility", "attack"}),
    "attack": ("attacks/csmia.py", "right", "wrong", {"attack"}),
    "helper of attacks": (
        "attacks/common/candidates.py",
        "def break_ties",
        "def broken_ties",
        {"attack"},
    ),
    "knowledge": ("bench/engine/knowledge.py", "splits.public.to", "splits.test.to", {"attack"}),
    "deployment": ("bench/engine/deployment.py", "65536", "65537", {"utility", "attack"}),
    "victims": ("bench/data/victims.py", "min(limit", "max(limit", {"attack"}),
    "leakage": ("bench/metrics/leakage.py", "0.10", "0.11", {"trial"}),
    "join": ("bench/engine/join.py", "0.85", "0.86", {"trial"}),
}
"""Of each edit the file, what is replaced by what, and kinds of nodes that must be new."""

STAYS: dict[str, tuple[str, str, str]] = {
    "words of an error": ("bench/contract/errors.py", "Did you mean", "Perhaps you meant"),
    "comment": ("attacks/csmia.py", "import torch\n", "import torch  # the library\n"),
    "docstring": ("bench/metrics/attribute.py", '"""Judge a score', '"""Judges a score'),
    "words of a check": (
        "attacks/common/candidates.py",
        "The attack needs an imputer",
        "It cannot do without an imputer",
    ),
    "annotation": ("bench/data/victims.py", "limit: int = 1000", "limit: float = 1000"),
    "report": ("bench/report/stats.py", "MARGIN = 0.05", "MARGIN = 0.06"),
    "command line": ("bench/cli/run.py", "_SHOWN = 5", "_SHOWN = 6"),
    "driver": ("bench/engine/driving/driver.py", "_POLL_S = 0.5", "_POLL_S = 0.6"),
    "store": ("bench/engine/store/opening.py", "STORE_VERSION = 3", "STORE_VERSION = 4"),
    "another attack": ("attacks/yeom.py", "torch", "tensor"),
    "another defense": ("defenses/rounding.py", "decimals", "digits"),
    "version": ("bench/__init__.py", '__version__ = "', '__version__ = "9'),
}

SCRIPT = """
import json, pathlib, subprocess, sys
sys.path.insert(0, sys.argv[1])
from bench.contract.source import forget_sources
from bench.engine.config import compose_grid
from bench.engine.plan import make_plan

root, words = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
grid = compose_grid(words)

def planned():
    forget_sources()
    plan = make_plan(grid)
    return sorted([n.kind, n.label, k] for k, n in plan.nodes.items()) + sorted(
        ["trial", t.cell.key(), t.id] for t in plan.trials)

plans = {"": planned()}
for name, (file, old, new) in json.loads(sys.argv[3]).items():
    path = root / file
    text = path.read_text()
    assert old in text, (name, file, old)
    path.write_text(text.replace(old, new))
    plans[name] = planned()
    path.write_text(text)
ruff = [sys.executable, "-m", "ruff", "format", "--quiet", "--line-length", "60", str(root)]
subprocess.run(ruff, check=True)
plans["formatted"] = planned()
print(json.dumps(plans))
"""


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """The plan of a copy of the project as it is, and after every edit."""
    copy = tmp_path_factory.mktemp("edited")
    for name in ("bench", "attacks", "defenses", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    edits = {k: v[:3] for k, v in {**MOVES, **STAYS}.items()}
    words = [*WORDS, f"store={copy / 'store'}"]
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(copy), json.dumps(words), json.dumps(edits)],
        capture_output=True,
        text=True,
        check=False,
        cwd=copy,
    )
    assert ran.returncode == 0, ran.stderr
    read: dict[str, list[list[str]]] = json.loads(ran.stdout)
    return read


@pytest.mark.parametrize("name", MOVES)
def test_code_that_shapes_a_result_moves_its_identity(plans, name: str) -> None:
    before, after = (dict(((k, label), i) for k, label, i in plans[p]) for p in ("", name))
    moved = {kind for (kind, label), key in after.items() if before[kind, label] != key}
    expected = MOVES[name][3]
    present = {kind for kind, _ in before}
    assert moved >= expected & present
    assert "trial" in moved
    if name in ("metric", "attack"):
        assert moved == {"attack", "trial"}


def test_an_edited_attack_or_defense_moves_its_own_nodes_alone(plans) -> None:
    for edit, own in (("attack", "/csmia/"), ("defense", "/top_k/")):
        before, after = (dict(((k, label), i) for k, label, i in plans[p]) for p in ("", edit))
        moved = [label for (kind, label), key in after.items() if before[kind, label] != key]
        assert moved
        assert all(own in label for label in moved), moved


@pytest.mark.parametrize("name", [*STAYS, "formatted"])
def test_what_cannot_change_a_result_leaves_every_identity(plans, name: str) -> None:
    assert plans[name] == plans[""]


# ---------------------------------------------------------------- what is run is in the identity
def test_every_module_that_a_stage_runs_is_in_its_identity(
    tmp_path: Path, toy_words: Callable[..., list[str]]
) -> None:
    """Run every kind of node with an eye on whose functions are called."""
    words = (
        "dataset=[diabetes]",
        "model=[mlp]",
        "defense=[none,dp_sgd,label_only,probe_audit]",
        "attack=[csmia,attribute_map,analytic_gradient]",
        "attack.analytic_gradient.sweep=[{}]",
        "attack.attribute_map.sweep=[{}]",
        "seeds=1",
        "controls=[]",
        "victims=20",
    )
    plan = make_plan(compose_grid([w for w in toy_words(*words) if not w.startswith("suite=")]))
    site = Machine("cpu", None)
    results: dict[str, Result] = {}
    done: set[tuple[str, str]] = set()

    def result(key: str) -> Result:
        if key in results:
            return results[key]
        node = plan.nodes[key]
        parents = {role: result(parent) for role, parent in node.parents.items()}
        kind, payload = node.kind, node.payload
        called: set[str] = set()

        def note(frame, event: str, _) -> None:
            if event == "call":
                called.add(frame.f_globals.get("__name__", ""))

        sys.setprofile(note)
        try:
            made = run(kind, payload, parents, site)
        finally:
            sys.setprofile(None)
        ours = {m for m in called if m.split(".")[0] in ("bench", "attacks", "defenses")}
        missing = ours - set(node.identity["source"]) - set(INERT)
        assert not missing, f"{node.kind} {node.label} runs {missing}"
        results[key] = Result(made.output, made.tensors, made.files, node.payload)
        done.add((node.kind, node.payload.get("goal", "")))
        return results[key]

    wanted = {}
    for key, node in plan.nodes.items():
        wanted.setdefault(
            (node.kind, node.payload.get("goal", ""), str(node.payload.get("served"))), key
        )
    for key in wanted.values():
        result(key)
    assert {kind for kind, _ in done} == set(KINDS)


# ---------------------------------------------------------------- files
def _ids(plan: Plan, kind: str) -> set[str]:
    return {key for key, node in plan.nodes.items() if node.kind == kind}


@pytest.fixture
def own_table(tmp_path: Path, toy_words: Callable[..., list[str]]) -> list[str]:
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(CARD))
    loans().to_csv(tmp_path / "loans.csv", index=False)
    return [
        *[w for w in toy_words() if not w.startswith("suite=")],
        "dataset=[table]",
        f"dataset.table.file={tmp_path / 'loans.csv'}",
        f"dataset.table.card={tmp_path / 'card.yaml'}",
        "model=[softmax]",
        "defense=[none]",
        "attack=[csmia]",
        "seeds=1",
        "controls=[]",
        "victims=50",
    ]


def test_an_edited_table_or_card_is_run_again_and_named(
    own_table: list[str], tmp_path: Path
) -> None:
    from bench.engine.store import Store
    from bench.exchange.rerun import changes

    done = execute(*prepare(own_table, None))
    assert done.outcome.count("done") == len(done.plan.trials) > 0
    [record] = [r for r in done.outcome.records if r.cell.attack == "csmia"]
    assert record.cell.dataset == "loans", "the card's name is the data set's name"
    again = execute(*prepare(own_table, None))
    assert again.outcome.computed == {}

    frame = loans()
    frame["repaid"] = frame["repaid"].sample(frac=1, random_state=1).to_numpy()
    frame.to_csv(tmp_path / "loans.csv", index=False)
    _, plan = prepare(own_table, None)
    assert not _ids(plan, "data") & _ids(done.plan, "data")
    [trial] = [t for t in plan.trials if t.cell == record.cell]
    store = Store(done.grid.settings.store)
    lines = list(changes(store, plan, record.nodes, trial.nodes))
    assert len(lines) == 1
    assert str(tmp_path / "loans.csv") in lines[0]
    assert "dataset.table.file" in lines[0]

    loans().to_csv(tmp_path / "loans.csv", index=False)
    assert _ids(prepare(own_table, None)[1], "data") == _ids(done.plan, "data")
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({**CARD, "sensitive": "district"}))
    _, plan = prepare(own_table, None)
    lines = list(changes(store, plan, record.nodes, plan.trials[0].nodes))
    assert "dataset.table.card" in lines[0]


def test_where_a_file_lies_does_not_count(own_table: list[str], tmp_path: Path) -> None:
    before = make_plan(compose_grid(own_table))
    (tmp_path / "moved").mkdir()
    for name in ("loans.csv", "card.yaml"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    words = [w.replace(f"={tmp_path}/", f"={tmp_path}/moved/") for w in own_table]
    words = [w if not w.startswith("store=") else f"store={tmp_path / 'store'}" for w in words]
    assert set(make_plan(compose_grid(words)).nodes) == set(before.nodes)


def test_two_own_tables_are_two_data_sets(own_table: list[str], tmp_path: Path) -> None:
    one = make_plan(compose_grid(own_table))
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({**CARD, "name": "other loans"}))
    two = make_plan(compose_grid(own_table))
    cells = [{t.cell.key() for t in plan.trials} for plan in (one, two)]
    assert not cells[0] & cells[1]
    assert all(cell.startswith("other loans/") for cell in cells[1])


def test_a_picture_or_a_person_more_moves_an_image_folder(
    tmp_path: Path, toy_words: Callable[..., list[str]]
) -> None:
    from PIL import Image

    root = tmp_path / "data"
    for person in range(5):
        for shot in range(3):
            path = root / "images" / f"p{person}" / f"{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (16, 16), 40 * person + shot).save(path)
    words = [
        *[w for w in toy_words() if not w.startswith("suite=")],
        "dataset=[image_folder]",
        "dataset.image_folder.people_private=2",
        "dataset.image_folder.images_train=2",
        "dataset.image_folder.size=16",
        "model=[softmax]",
        "defense=[none]",
        "attack=[miface]",
        "attack.miface.sweep=[{}]",
        "seeds=1",
        "controls=[]",
        f"data_root={root}",
    ]

    def ids() -> set[str]:
        return _ids(make_plan(compose_grid(words)), "data")

    first = ids()
    assert ids() == first
    Image.new("L", (16, 16), 255).save(root / "images" / "p1" / "1.png")
    second = ids()
    shutil.copytree(root / "images" / "p0", root / "images" / "p9")
    assert len({*first, *second, *ids()}) == 3


def test_overwritten_weights_of_a_plugin_move_its_nodes(
    tmp_path: Path, toy_words: Callable[..., list[str]], toy_conf: Path
) -> None:
    conf = shutil.copytree(toy_conf, tmp_path / "conf")
    weights = tmp_path / "w.safetensors"
    save_file({"w": torch.zeros(3, 2)}, weights)
    (conf / "model" / "toy.yaml").write_text(
        f"toy:\n  _target_: tests.toys.ToyWeights\n  weights: {weights}\n"
    )

    def plan() -> Plan:
        return make_plan(compose_grid(toy_words("seeds=1"), conf))

    first = plan()
    save_file({"w": torch.ones(3, 2)}, weights)
    second = plan()
    for kind in ("target", "utility", "attack"):
        moved = [n for n in second.nodes.values() if n.id not in first.nodes and n.kind == kind]
        assert moved
    assert _ids(first, "data") == _ids(second, "data")
    weights.unlink()
    from bench.contract import UserError

    with pytest.raises(UserError, match=r"model\.toy\.weights"):
        plan()
