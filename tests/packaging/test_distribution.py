"""What is published: a wheel and an sdist hold the program, all of it, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.packaging.absent import ROOT

pytestmark = pytest.mark.slow

PARTS = ("attacks", "bench", "conf", "defenses")
NEEDED = {
    "bench/PROTOCOL.md",
    "bench/py.typed",
    "bench/conf/config.yaml",
    "bench/conf/suite/paper/mehnaz22.yaml",
    "bench/report/canary.json",
    "bench/report/site/templates/index.html.j2",
    "bench/report/site/templates/site.js",
    "bench/report/site/templates/style.css",
    "bench/decide/templates/document.css",
    "attacks/py.typed",
    "defenses/py.typed",
}
PUBLISHED = ROOT / "results" / "published" / "retail"


def _build(source: Path, to: Path, *targets: str) -> None:
    kinds = [word for target in targets for word in ("-t", target)]
    program = [sys.executable, "-m", "hatchling", "build", "-d", str(to), *kinds]
    done = subprocess.run(program, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    _build(ROOT, folder, "wheel", "sdist")
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def invbench(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the wheel in an environment of its own, beside the packages of this one.

    Lines of a .pth file are folders to look in, and .pth files in those folders are not read: this
    environment's own installation of the project stays out.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = ["-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    done = subprocess.run([sys.executable, *install, built[0]], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    (packages,) = folder.glob("lib/python*/site-packages")
    outside = [place for place in sys.path if Path(place).name in {packages.name, "dist-packages"}]
    (packages / "outside.pth").write_text("\n".join(outside) + "\n", encoding="utf-8")
    return folder / "bin" / "invbench"


def _says(program: Path, folder: Path, *words: object) -> str:
    """What a command prints that is given outside of the checkout."""
    kept = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS") if name in os.environ}
    done = subprocess.run(
        [program, *map(str, words)],
        cwd=folder,
        env=kept | {"HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _below(folder: Path, *parts: str) -> Iterable[str]:
    for path in (path for part in parts for path in (folder / part).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(folder).as_posix()


def test_the_wheel_holds_the_program_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert names >= NEEDED
    assert names == {re.sub("^conf/", "bench/conf/", name) for name in _below(ROOT, *PARTS)}


def test_the_sdist_builds_the_same_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = built
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    beside = {path.name for path in source.iterdir()} - {*PARTS, ".gitignore", "PKG-INFO"}
    documents = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md"}
    assert beside == documents | {"pyproject.toml"}
    _build(source, tmp_path / "again", "wheel")
    (again,) = (tmp_path / "again").iterdir()
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_the_installed_program_lists_reports_and_runs(invbench: Path, tmp_path: Path) -> None:
    code = "import bench; print(bench.__file__)"
    python = invbench.with_name("python")
    home = subprocess.check_output([python, "-c", code], cwd=tmp_path, text=True, env={})
    assert Path(home.strip()).is_relative_to(invbench.parents[1]), "it is not the wheel that runs"

    assert "dp_sgd" in _says(invbench, tmp_path, "ls", "defenses")
    _says(invbench, tmp_path, "report", PUBLISHED, "--to", tmp_path / "site")
    assert (tmp_path / "site" / "assets" / "style.css").stat().st_size > 1000
    assert "<html" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    grid = ["dataset=[diabetes]", "model=[softmax]", "attack=[attribute_map]", "seeds=1"]
    quiet = ["backend=local", "tracking=none", "progress=none", "controls=[]", "label=one"]
    assert "0 failed" in _says(invbench, tmp_path, "run", *grid, *quiet)
    assert (tmp_path / "results" / "one" / "index.html").is_file()
