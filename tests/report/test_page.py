"""The page in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import fake_records as fake
import pytest

from bench.report import site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BOARD = "faces-mlp-class-representative-weights"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = fake.build(2)
    out = tmp_path_factory.mktemp("report")
    return site.write(records, fake.galleries(records), "smoke", out, fake.PROVENANCE)


def visit(page: Path, profile: Path, fragment: str = "") -> tuple[str, list[str]]:
    """The document after scripts ran, and what the console said."""
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}",
            "--virtual-time-budget=2000", "--dump-dom", page.as_uri() + fragment,
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def order(document: str) -> tuple[list[str], list[str]]:
    """The sort states of the board's columns and its defenses in order."""
    table = document[document.index(f'data-board="{BOARD}"') :].split("</table>", 1)[0]
    states = re.findall(r'aria-sort="(\w+)"', table)
    return states, re.findall(r'<th scope="row" data-v="([^"]+)"', table)


def test_the_page_opens_silently_with_the_least_leakage_first(page: Path, tmp_path: Path) -> None:
    document, console = visit(page, tmp_path)
    assert console == []
    states, defenses = order(document)
    assert states[1] == "ascending"
    assert defenses[:3] == ["none", "dp_sgd[epsilon=1]", "dp_sgd[epsilon=8]"]


def test_a_link_opens_a_board_sorted(page: Path, tmp_path: Path) -> None:
    document, console = visit(page, tmp_path, f"#{BOARD}/utility/desc")
    assert console == []
    states, defenses = order(document)
    assert [i for i, state in enumerate(states) if state != "none"] == [2]
    assert states[2] == "descending"
    assert defenses[0] == "none"  # the reference stays on top
    assert defenses[-2:] == ["dp_sgd[epsilon=8]", "dp_sgd[epsilon=1]"]


def test_rows_without_a_value_come_last_both_ways(page: Path, tmp_path: Path) -> None:
    for turn, expected in (("asc", ["1", "8"]), ("desc", ["8", "1"])):
        document, _ = visit(page, tmp_path, f"#{BOARD}/epsilon/{turn}")
        assert order(document)[1][1:3] == [f"dp_sgd[epsilon={value}]" for value in expected]


@pytest.mark.parametrize("fragment", ["#nowhere/L/asc", f"#{BOARD}/nothing/asc", "#%E0%A4%A"])
def test_a_wrong_link_is_ignored(page: Path, tmp_path: Path, fragment: str) -> None:
    document, console = visit(page, tmp_path, fragment)
    assert console == []
    assert order(document)[0][1] == "ascending"


def test_a_click_sorts_and_updates_the_address(page: Path, tmp_path: Path) -> None:
    click = f"""<script>
      document.querySelector('[data-board="{BOARD}"] [data-col="utility"]').click();
      document.body.dataset.address = location.hash;
    </script></body>"""
    clicked = page.with_name("clicked.html")
    clicked.write_text(page.read_text(encoding="utf-8").replace("</body>", click), encoding="utf-8")
    document, console = visit(clicked, tmp_path)
    assert console == []
    assert order(document)[0][2] == "ascending"
    assert f'data-address="#{BOARD}/utility/asc"' in document
    assert "Sorted by accuracy, ascending." in document
