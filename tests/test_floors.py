from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_floor_imports_only_from_those_below() -> None:
    # In a process of its own: it switches off every logger of the process that it runs in.
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()


def test_attacks_and_defenses_import_the_contract_and_no_other_part_of_bench() -> None:
    for path in [*ROOT.glob("attacks/**/*.py"), *ROOT.glob("defenses/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                allowed = not name.startswith("bench") or name.startswith("bench.contract")
                assert allowed, f"{path.name} imports {name}"


def test_no_attack_imports_another() -> None:
    # Helpers are shared, attacks are not: editing one re-runs that one only.
    entries = {
        path.stem
        for path in ROOT.glob("attacks/*.py")
        if re.search(r"^class \w+\(([\w.]+, )*Attack\)", path.read_text(encoding="utf-8"), re.M)
    }
    assert len(entries) > 5
    for path in ROOT.glob("attacks/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("attacks."):
                assert node.module.split(".")[1] not in entries, f"{path.name}: {node.module}"


def test_files_stay_readable() -> None:
    for path in ROOT.rglob("*.py"):
        if ".venv" not in path.parts:
            lines = len(path.read_text(encoding="utf-8").splitlines())
            most = 500 if "tests" in path.parts else 430
            assert lines <= most, f"{path} has {lines} lines: is there a room of its own in it?"
