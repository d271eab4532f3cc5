"""Who reads boards needs neither Ray nor what draws pages; who lacks a package is told which."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from bench.exchange import pack
from tests.decide import made
from tests.packaging.absent import ROOT, without

CONF = ROOT / "tests" / "conf"
FIXED = {"ray", "torch", "opacus", "hydra-core", "mlflow", "pandas", "pytest"}
"""Packages that this project is built on by decision."""
READS_ALONE = ("ray", "torch", "opacus", "mlflow", "plotly", "matplotlib")
NO_EXTRA = ("ray", "plotly", "matplotlib")


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    path = tmp_path / "loans"
    pack.write(made.pack({"none": made.NONE, "shield": made.Row()}), path)
    return path


def _run(folder: Path, backend: str) -> list[object]:
    words = ["suite=toy", "label=toy", f"store={folder / 'store'}", f"report_dir={folder}"]
    quiet = [f"backend={backend}", "tracking=none", "progress=none", "--config-dir", CONF]
    return ["run", *words, *quiet]


def _names(lines: list[str]) -> set[str]:
    return {line.partition(">")[0].partition("[")[0] for line in lines}


def test_every_package_that_is_fixed_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: _names(lines) for name, lines in project["optional-dependencies"].items()}
    base = _names(project["dependencies"])
    assert base.union(*extras.values()) >= FIXED
    assert "ray" in extras["cluster"]
    assert not base & {*NO_EXTRA}
    (all_of,) = (line for line in project["optional-dependencies"]["test"] if "bench[" in line)
    assert {"cluster", "site"} <= {*all_of.partition("[")[2].rstrip("]").split(",")}


def test_every_extra_that_is_named_somewhere_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named: set[str] = set()
    for folder in ("bench", "attacks", "docs", "README.md", "CONTRIBUTING.md", "pyproject.toml"):
        for path in [ROOT / folder, *(ROOT / folder).rglob("*")]:
            if path.is_file() and path.suffix in ("", ".md", ".py", ".toml", ".yml"):
                text = path.read_text(encoding="utf-8")
                for extras in re.findall(r"\b(?:inversion-bench|invbench)\[([a-z,]+)\]", text):
                    named |= {*extras.split(",")}
    assert {"cluster", "redteam", "site"} <= named <= {*project["optional-dependencies"]}


@pytest.mark.slow
def test_packs_are_read_without_what_computes_and_draws(evidence: Path, tmp_path: Path) -> None:
    asked = ["--dataset", "loans", "--access", "scores", "--tier", "T3"]
    compared, recommended = without(
        READS_ALONE,
        tmp_path,
        ["compare", evidence, evidence],
        ["recommend", evidence, *asked],
    )
    assert compared.code == 0, compared.err
    assert "0 leak more" in compared.out
    assert recommended.code in (0, 1), recommended.err
    assert "shield" in recommended.out


@pytest.mark.slow
def test_without_an_extra_everything_else_works(evidence: Path, tmp_path: Path) -> None:
    verified, listed, shown, planned = without(
        NO_EXTRA,
        tmp_path,
        ["verify", evidence, "--sample", "0"],
        ["ls", "defenses"],
        ["show", "loans/mlp/none/map/0", "--from", evidence],
        ["plan", *_run(tmp_path, "ray")[1:]],
    )
    for answer in (verified, listed, shown, planned):
        assert answer.code == 0, answer.err
    assert "Consistent" in verified.out
    assert "dp_sgd" in listed.out


@pytest.mark.slow
def test_a_lacking_package_is_one_sentence_before_any_work(evidence: Path, tmp_path: Path) -> None:
    answers = without(
        NO_EXTRA,
        tmp_path,
        ["cluster", "start"],
        ["cluster", "join", "10.255.255.1:6379"],
        ["report", evidence, "--to", tmp_path / "site"],
        ["submit", evidence, "--to", tmp_path / "again.zip", "--by", "me"],
        _run(tmp_path, "local"),
    )
    for answer, extra in zip(answers, (*["cluster"] * 2, *["site"] * 3), strict=True):
        assert answer.code == 2
        assert answer.out == ""
        assert answer.err.count("\n") == 1, answer.err
        assert f"pip install 'inversion-bench[{extra}]'" in answer.err
    assert not (tmp_path / "site").exists()
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_the_back_end_and_the_figures_name_their_own_extra(evidence: Path, tmp_path: Path) -> None:
    to = ["--to", tmp_path / "site"]
    (by_ray,) = without(["ray"], tmp_path, _run(tmp_path, "ray"))
    assert (by_ray.code, by_ray.err.count("\n")) == (2, 1), by_ray.err
    assert "pip install 'inversion-bench[cluster]'" in by_ray.err
    assert "backend=local" in by_ray.err
    drawn, plain = without(
        ["matplotlib"],
        tmp_path,
        ["report", evidence, *to, "--figures"],
        ["report", evidence, *to],
    )
    assert (drawn.code, drawn.err.count("\n")) == (2, 1), drawn.err
    assert "matplotlib" in drawn.err
    assert plain.code == 0, plain.err
