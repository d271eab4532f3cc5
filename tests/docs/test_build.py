"""The documentation builds without a warning, loads nothing from elsewhere, is spelled right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import api
from bench.cli import cli
from tests.docs.pages import ROOT
from tests.report import chromium

pytestmark = pytest.mark.slow
_LOADED = re.compile(
    r"""<(?:script|img|iframe|link rel="(?:stylesheet|preload|icon)")[^>]*https?://"""
)
_SPELLED = (
    "README.md",
    "CHANGELOG.md",
    "mkdocs.yml",
    "docs",
    "conf",
    "bench",
    "attacks",
    "defenses",
)


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build with the settings of a file."""
    quiet = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", site],
        cwd=ROOT,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    ended = build(ROOT / "mkdocs.yml", folder)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.mark.parametrize(
    ("group", "page"),
    [
        ("dataset", "datasets"),
        ("model", "models"),
        ("defense", "defenses"),
        ("attack", "attacks"),
        ("suite", "suites"),
    ],
)
def test_every_option_is_in_the_reference(site: Path, group: str, page: str) -> None:
    text = (site / "reference" / f"{page}.html").read_text(encoding="utf-8")
    heads = set(re.findall(r"<h2[^>]*>[^<]*<code>([^<]+)</code>", text))
    assert heads == {entry["name"] for entry in api.catalogue(group)}


def test_every_verb_and_every_door_is_in_the_reference(site: Path) -> None:
    verbs = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    assert all(
        f"<code>invbench {verb}</code>" in verbs for verb in cli.commands or cli.list_commands(None)
    )
    python = (site / "reference" / "api.html").read_text(encoding="utf-8")
    assert all(re.search(rf'id="bench\.api\.[a-z.]*{name}"', python) for name in api.__all__)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    assert [page.name for page in pages if _LOADED.search(page.read_text(encoding="utf-8"))] == []
    assert (site / "search" / "search_index.js").is_file(), "the search works without a server"


@pytest.mark.browser
@pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed")
@pytest.mark.parametrize(("width", "dark"), [(1440, True), (820, False), (390, False)])
def test_axe_finds_nothing(site: Path, tmp_path: Path, width: int, dark: bool) -> None:
    tab = chromium.Browser(tmp_path)
    try:
        for page in ("index", "tutorials/redteam", "reference/policy"):
            tab.visit((site / f"{page}.html").as_uri(), width=width, dark=dark)
            tab.until(
                "!document.querySelector('pre > code') || document.querySelector('[tabindex]')"
            )
            assert tab.violations() == [], page
            assert tab.eval("document.documentElement.scrollWidth <= innerWidth"), page
    finally:
        tab.close()


def project(folder: Path, page: str, **more: Any) -> Path:
    """A documentation of one page with the settings of ours."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    kept = {key: config[key] for key in ("strict", "validation", "markdown_extensions")}
    (folder / "docs").mkdir()
    (folder / "docs" / "index.md").write_text(page, encoding="utf-8")
    path = folder / "mkdocs.yml"
    path.write_text(yaml.safe_dump({"site_name": "x", "nav": ["index.md"], **kept, **more}))
    return path


@pytest.mark.parametrize(
    "page",
    [
        "[there](elsewhere.md)",
        "[there](index.md#nowhere)",
        "[there](#nowhere)",
        "[there](/absolute)",
        "![there](missing.png)",
    ],
)
def test_a_broken_link_fails_the_build(tmp_path: Path, page: str) -> None:
    ended = build(project(tmp_path, f"# Page\n\n{page}\n"), tmp_path / "site")
    assert ended.returncode != 0
    assert "index.md" in ended.stderr, ended.stderr


def test_a_page_that_nobody_finds_fails_the_build(tmp_path: Path) -> None:
    config = project(tmp_path, "# Page\n")
    assert build(config, tmp_path / "site").returncode == 0
    (tmp_path / "docs" / "lost.md").write_text("# Lost\n", encoding="utf-8")
    assert build(config, tmp_path / "site").returncode != 0


def misspelled(*paths: object) -> str:
    """What is spelled wrong."""
    ended = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stdout + ended.stderr


def test_pages_and_docstrings_are_spelled_right(tmp_path: Path) -> None:
    assert misspelled(*_SPELLED) == ""
    (tmp_path / "page.md").write_text("This page is about recieving answers.\n", encoding="utf-8")
    assert "receiving" in misspelled(tmp_path / "page.md")
