"""An installed package beside strangers of the same names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel puts into site-packages, with somebody else's ``conf`` beside it."""
    site = tmp_path_factory.mktemp("site-packages")
    for name in ("bench", "attacks", "defenses"):
        shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf", site / "bench" / "conf")
    (site / "conf").mkdir()
    (site / "conf" / "config.yaml").write_text("ours: false\n")
    return site


def _invbench(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = "from bench.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(site), "HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )


def test_a_conf_beside_it_is_not_its_own(installed: Path, tmp_path: Path) -> None:
    done = _invbench(installed, tmp_path, "ls", "suites")
    assert done.returncode == 0, done.stderr
    assert "smoke" in done.stdout


@pytest.mark.parametrize("name", ["attacks", "defenses"])
def test_a_stranger_of_the_same_name_is_refused(installed: Path, tmp_path: Path, name: str) -> None:
    stranger = tmp_path / name
    stranger.mkdir()
    (stranger / "__init__.py").write_text("raise SystemExit('the stranger was imported')\n")
    done = _invbench(installed, tmp_path, "ls", "suites")
    assert done.returncode == 2
    assert str(stranger) in done.stderr
    assert done.stderr.count("\n") == 1
