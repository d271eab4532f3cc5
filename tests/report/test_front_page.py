"""The front page and the accessibility of every page, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest

from bench.report import site
from bench.report.answers import Answer, Answers, Row
from tests.report import fake_records as fake

BOARD = "boards/faces-mlp-class-representative-weights.html"
SIZES = [(1440, False), (820, True), (390, False)]
BUDGET = 300_000
"""Most bytes of a page without the library that draws."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed"),
]


def answer(modality: str, access: str, tier: str, chosen: str) -> Answer:
    dataset = {"image": "faces", "table": "diabetes"}[modality]
    goal = {"image": "class_representative", "table": "attribute"}[modality]
    row = Row(chosen, "0.09", "-0.01 [-0.02, 0.00]") if chosen else None
    reason = f"Why {chosen or 'nothing'}."
    goals = ((goal, access),)
    return Answer(dataset, "mlp", modality, False, access, tier, row, reason, goals=goals)


ANSWERS = Answers(
    "default",
    {"T1": "health data", "T2": "finance"},
    (
        answer("table", "labels", "T1", ""),
        answer("table", "labels", "T2", "dropout"),
        answer("table", "scores", "T1", "freezing"),
        answer("table", "scores", "T2", "none"),
        answer("image", "weights", "T1", ""),
        answer("image", "weights", "T2", "dp_sgd[epsilon=1]"),
    ),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = fake.build(3)
    out = tmp_path_factory.mktemp("report")
    given = fake.galleries(records)
    site.write(records, given, "smoke", out, fake.PROVENANCE, ask=lambda *_: ANSWERS)
    return out


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    browser = chromium.Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def choose(tab: chromium.Browser, name: str, value: str) -> None:
    tab.eval(
        f"(() => {{ const box = document.querySelector('#question [name={name}]');"
        f"box.value = '{value}'; box.dispatchEvent(new Event('input', {{ bubbles: true }})) }})()"
    )


def answered(tab: chromium.Browser) -> list[str]:
    shown: list[str] = tab.eval(
        "[...document.querySelectorAll('#answers article:not([hidden]) h3')]"
        ".map((head) => head.textContent.trim())"
    )
    return shown


def test_three_choices_are_answered_in_place_and_the_address_keeps_them(
    tab: chromium.Browser, out: Path
) -> None:
    tab.visit((out / "index.html").as_uri())
    assert tab.console == []
    assert answered(tab) == ["No defense is needed"]  # scores, T2
    choose(tab, "tier", "T1")
    assert answered(tab) == ["Freezing"]
    choose(tab, "access", "labels")
    assert answered(tab) == ["Nothing qualifies"]
    # Pictures were attacked by their weights alone: that is what is offered then.
    choose(tab, "kind", "image")
    assert tab.eval("document.querySelector('#question [name=access]').value") == "weights"
    choose(tab, "tier", "T2")
    [head] = answered(tab)
    assert head.startswith("Dp sgd")
    address = tab.eval("location.href")
    tab.visit(address)
    assert answered(tab) == [head]


def test_who_attacks_without_the_model_is_not_counted_as_an_attack(out: Path) -> None:
    records = [r for r in fake.build(3) if not r.control]
    families = {r.cell.attack.partition("[")[0] for r in records if r.access != "none"}
    without = {r.cell.attack.partition("[")[0] for r in records if r.access == "none"}
    assert without - families
    page = (out / "index.html").read_text(encoding="utf-8")
    assert f"meet {len(families)} attacks" in page


def test_an_answer_leads_to_its_evidence(tab: chromium.Browser, out: Path) -> None:
    tab.visit((out / "index.html").as_uri() + "#kind=image&access=weights&tier=T2")
    links = tab.eval(
        "[...document.querySelectorAll('#answers article:not([hidden]) a')]"
        ".map((link) => link.getAttribute('href'))"
    )
    assert BOARD in links and "defenses/dp-sgd.html" in links


def test_without_a_script_every_answer_is_there(out: Path) -> None:
    html = (out / "index.html").read_text(encoding="utf-8")
    assert html.count("<article data-kind=") == len(ANSWERS.each)
    assert "Why dropout." in html and "Why nothing." in html


def test_the_matrix_is_sorted_by_a_board_and_its_cells_lead_to_rows(
    tab: chromium.Browser, out: Path
) -> None:
    tab.visit((out / "index.html").as_uri())
    column = (
        "[...document.querySelectorAll('#matrix tbody tr:not(.reference)')]"
        ".map((row) => row.cells[4].dataset.v)"
    )
    tab.click("#matrix thead tr:last-child th:nth-child(5) button")
    first = [float(value) for value in tab.eval(column) if value]
    assert first == sorted(first) and len(first) > 3
    tab.click("#matrix thead tr:last-child th:nth-child(5) button")
    again = [float(value) for value in tab.eval(column) if value]
    assert again == first[::-1]
    assert tab.eval("document.querySelector('#matrix tbody tr').className") == "reference"
    link = tab.eval("document.querySelector('#matrix a[href*=\"family=dp_sgd\"]').href")
    tab.visit(link)
    lit = tab.eval("[...document.querySelectorAll('#rows .lit th')].map((c) => c.dataset.v)")
    assert lit and all(name.startswith("dp_sgd") for name in lit)


def test_a_jump_within_a_board_keeps_what_is_filtered(tab: chromium.Browser, out: Path) -> None:
    tab.visit((out / BOARD).as_uri() + "#q=dp&sort=utility:desc")
    rows = "[...document.querySelectorAll('#rows .sorted tr:not([hidden]) th')].length"
    before = tab.eval(rows)
    tab.click(".here a[href='#cost']")
    assert tab.eval(rows) == before == 2
    tab.until("Math.abs(document.getElementById('cost').getBoundingClientRect().top) < 400")
    tab.visit(tab.eval("location.href"))
    assert tab.eval(rows) == before
    tab.until("Math.abs(document.getElementById('cost').getBoundingClientRect().top) < 400")


def test_a_link_to_another_version_says_so(tab: chromium.Browser, out: Path) -> None:
    version = json.loads((out / "boards.json").read_text(encoding="utf-8"))["version"]
    for cited, hidden in ((version, True), ("2020-01-01-00000000", False)):
        tab.visit((out / BOARD).as_uri() + f"#version={cited}")
        assert tab.eval("document.getElementById('cited').hidden") is hidden


def test_every_chart_is_drawn_without_scrolling_so_that_a_print_has_it(
    tab: chromium.Browser, out: Path
) -> None:
    tab.visit((out / BOARD).as_uri())
    tab.until(
        "document.querySelectorAll('.chart:not([data-drawn])').length === 0"
        " && document.querySelectorAll('.chart').length > 1"
    )
    assert tab.eval("scrollY") == 0 and tab.console == []


@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_axe_finds_nothing(tab: chromium.Browser, out: Path, width: int, dark: bool) -> None:
    kinds = ("index.html", "methods.html", "changes.html", BOARD)
    for page in (*kinds, "defenses/dp-sgd.html", "attacks/latent.html"):
        tab.visit((out / page).as_uri(), width=width, dark=dark)
        assert tab.violations() == [], page


def test_pages_are_light(out: Path) -> None:
    for path in out.rglob("*.html"):
        assert path.stat().st_size < BUDGET, path.name
