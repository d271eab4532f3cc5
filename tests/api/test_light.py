"""What must not be loaded: who reads results or asks for help does not wait for PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.report import fake_records as fake

HEAVY = ("torch", "ray", "mlflow", "sklearn", "opacus")


def _loaded(code: str, *more: str) -> set[str]:
    """Which heavy modules a program has loaded when it ends."""
    heavy = (*HEAVY, *more)
    end = f"\nimport sys\nprint('loaded', *[m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code + end], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def _cli(*words: str) -> str:
    return (
        "from bench.cli import cli\n"
        f"cli({list(words)!r}, standalone_mode=False, prog_name='invbench')\n"
    )


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("gate", "--help")])
def test_help_loads_nothing(words: tuple[str, ...]) -> None:
    code = f"try:\n    exec({_cli(*words)!r})\nexcept SystemExit:\n    pass"
    assert not _loaded(code, "hydra", "pandas", "numpy")


def test_options_are_listed_without_building_them() -> None:
    subprocess.run([sys.executable, "-c", _cli("ls", "attacks")], check=True, capture_output=True)
    assert not _loaded(_cli("ls", "attacks"), "hydra", "pandas")


def test_completion_loads_no_components() -> None:
    code = (
        "from click.shell_completion import ShellComplete\nfrom bench.cli import cli\n"
        "found = ShellComplete(cli, {}, 'invbench', '_X').get_completions(['run'], 'suite=sm')\n"
        "assert [c.value for c in found] == ['suite=smoke'], found"
    )
    assert not _loaded(code, "hydra", "pandas")


def test_results_are_read_without_pytorch(tmp_path: Path) -> None:
    from bench.exchange import pack

    records = fake.build()
    manifest = {"trials": {r.trial_id: r.cell.key() for r in records}, "suite": "made"}
    pack.write(pack.Pack("made", records, manifest), tmp_path / "made.zip")
    code = (
        "from bench import api\n"
        f"results = api.load({str(tmp_path / 'made.zip')!r})\n"
        "assert len(results.boards()) and len(results.trials())"
    )
    assert not _loaded(code)
