"""The site in a real browser."""

from __future__ import annotations

import functools
import http.server
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest

from bench.report import site
from tests.report import fake_records as fake

BOARD = "boards/faces-mlp-class-representative-weights.html"
DEFENSES = "[...document.querySelectorAll('#rows tbody.sorted tr:not([hidden]) th')]"
PHONE, DESK = 390, 1280

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium.PATH is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records = fake.build(3)
    out = tmp_path_factory.mktemp("report")
    site.write(records, fake.galleries(records), "smoke", out, fake.PROVENANCE)
    return out


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    browser = chromium.Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def shown(tab: chromium.Browser) -> list[str]:
    """Defenses that the table shows below the reference."""
    found: list[str] = tab.eval(DEFENSES + ".map((cell) => cell.dataset.v)")
    return found


def sorts(tab: chromium.Browser) -> dict[str, str]:
    """The columns that the table says it is sorted by."""
    states: dict[str, str] = tab.eval(
        "Object.fromEntries([...document.querySelectorAll('#rows button[data-col]')]"
        ".map((b) => [b.dataset.col, b.closest('th').getAttribute('aria-sort')])"
        ".filter(([, state]) => state !== 'none'))"
    )
    return states


def board(out: Path, state: str = "") -> str:
    return (out / BOARD).as_uri() + state


def test_a_board_opens_silently_with_the_least_leakage_first(
    tab: chromium.Browser, out: Path
) -> None:
    tab.visit(board(out))
    assert tab.console == []
    assert sorts(tab) == {"L": "ascending"}
    assert shown(tab)[:2] == ["dp_sgd[epsilon=1]", "dp_sgd[epsilon=8]"]
    assert tab.eval("document.querySelector('#rows tbody.pinned th').dataset.v") == "none"


def test_a_click_sorts_tells_and_updates_the_address(tab: chromium.Browser, out: Path) -> None:
    tab.visit(board(out))
    tab.click("[data-col=utility]")
    assert sorts(tab) == {"utility": "ascending"}
    assert shown(tab)[0] == "dp_sgd[epsilon=1]"
    tab.click("[data-col=utility]")
    assert sorts(tab) == {"utility": "descending"}
    assert shown(tab)[-1] == "dp_sgd[epsilon=1]"
    assert tab.eval("location.hash") == "#sort=utility%3Adesc"
    assert tab.eval("document.getElementById('said').textContent") == (
        "Sorted by accuracy, descending."
    )
    assert tab.console == []


def test_a_key_sorts_and_the_focus_is_seen(tab: chromium.Browser, out: Path) -> None:
    tab.visit(board(out))
    tab.eval("document.querySelector('.tools button').focus()")
    for _ in range(3):  # the table's own region, then defense, then L
        tab.key("Tab")
    assert tab.eval("document.activeElement.dataset.col") == "L"
    assert tab.eval("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.key("Enter", "\r")
    assert sorts(tab) == {"L": "descending"}


def test_the_first_stop_of_the_keyboard_skips_to_the_content(
    tab: chromium.Browser, out: Path
) -> None:
    tab.visit(board(out))
    tab.key("Tab")
    assert tab.eval("document.activeElement.getAttribute('href')") == "#main"
    assert tab.eval("document.activeElement.offsetWidth") > 50


def test_a_link_opens_a_board_as_it_was(tab: chromium.Browser, out: Path) -> None:
    tab.visit(board(out, "#sort=epsilon:desc&q=dp&hide=no_effect"))
    assert shown(tab) == ["dp_sgd[epsilon=8]", "dp_sgd[epsilon=1]"]
    assert tab.eval("document.querySelector('[name=q]').value") == "dp"
    assert tab.eval("document.querySelector('[name=hide][value=no_effect]').checked")
    assert tab.eval("document.querySelector('.tools output').textContent") == "3 of 8 rows"


@pytest.mark.parametrize("turn", ["asc", "desc"])
def test_rows_without_a_value_come_last_both_ways(
    tab: chromium.Browser, out: Path, turn: str
) -> None:
    tab.visit(board(out, f"#sort=epsilon:{turn}"))
    expected = ["dp_sgd[epsilon=1]", "dp_sgd[epsilon=8]"]
    assert shown(tab)[:2] == (expected if turn == "asc" else expected[::-1])


@pytest.mark.parametrize("state", ["#nowhere", "#sort=nothing:asc", "#%E0%A4%A=", "#sort=%22]:x"])
def test_a_wrong_link_is_ignored(tab: chromium.Browser, out: Path, state: str) -> None:
    tab.visit(board(out, state))
    assert tab.console == []
    assert sorts(tab) == {"L": "ascending"} and len(shown(tab)) == 7


def test_filters_narrow_the_table_and_the_address_keeps_them(
    tab: chromium.Browser, out: Path
) -> None:
    tab.visit(board(out))
    tab.click("[name=hide][value=no_effect]")
    assert "top_k[k=3]" not in shown(tab) and len(shown(tab)) == 5
    tab.click("[name=q]")
    tab.call("Input.insertText", text="FREEZ")
    assert shown(tab) == ["freezing"]
    assert tab.eval("location.hash") == "#q=FREEZ&hide=no_effect"
    assert tab.eval("document.getElementById('said').textContent") == "Showing 2 of 8 rows."
    tab.call("Input.insertText", text="nothing like it")
    assert shown(tab) == [] and not tab.eval("document.querySelector('.none').hidden")
    tab.click(".tools [type=reset]")
    assert len(shown(tab)) == 7 and tab.eval("location.hash") == ""
    assert tab.console == []


def test_rules_between_groups_stay_with_the_order_of_leakage(
    tab: chromium.Browser, out: Path
) -> None:
    rules = "[...document.querySelectorAll('#rows tr.tie')].length"
    groups = "new Set([...document.querySelectorAll('#rows .sorted tr')].map((r) => r.dataset.g))"
    tab.visit(board(out))
    assert tab.eval(rules) == tab.eval(f"{groups}.size") - 1 > 0
    tab.click("[data-col=utility]")
    assert tab.eval(rules) == 0
    tab.click("[data-col=L]")
    assert tab.eval(rules) > 0


def crowded(out: Path, monkeypatch: pytest.MonkeyPatch, many: dict[str, Any]) -> None:
    """Write a site of one board with ``many`` defenses besides none."""
    monkeypatch.setattr(fake, "DEFENSES", {"none": fake.DEFENSES["none"], **many})
    records = [
        fake.trial("faces", "mlp", defense, "miface", seed)
        for defense in fake.DEFENSES
        for seed in range(2)
    ]
    site.write(records, {}, "smoke", out, {})


def test_a_long_board_sorts_whole_and_is_laid_out_in_part(
    tab: chromium.Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = {f"d[n={i}]": (fake.ALL, (i / 250,) * 3, -i / 1000, []) for i in range(249)}
    crowded(tmp_path, monkeypatch, many)
    tab.visit(board(tmp_path))
    assert len(shown(tab)) == 100
    assert tab.eval("document.querySelector('.more').textContent") == "Show 149 more rows"
    tab.click("[data-col=utility]")
    assert shown(tab)[0] == "d[n=248]"  # one of those that were not laid out
    took = tab.eval(
        "(() => { const t = performance.now();"
        "document.querySelector('[data-col=defense]').click(); document.body.offsetHeight;"
        "return performance.now() - t })()"
    )
    assert took < 1000
    tab.click(".more")
    assert len(shown(tab)) == 249 and tab.eval("document.querySelector('.more').hidden")


def drawn(tab: chromium.Browser, index: int = 0) -> None:
    at = f"document.querySelectorAll('[data-chart]')[{index}]"
    tab.eval(f"{at}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    tab.until(f"'drawn' in {at}.dataset")


def mark(tab: chromium.Browser, family: str) -> tuple[float, float]:
    """Where the first mark of a family is drawn."""
    box = tab.eval(
        "(() => { const place = document.querySelector('.chart.plane');"
        f"const i = place.data.findIndex((t) => t.meta === '{family}');"
        "const { xaxis, yaxis, margin } = place._fullLayout;"
        "const b = place.getBoundingClientRect();"
        "return [b.x + margin.l + xaxis.d2p(place.data[i].x[0]),"
        " b.y + margin.t + yaxis.d2p(place.data[i].y[0])] })()"
    )
    return box[0], box[1]


def test_pointing_at_a_mark_names_it_with_its_numbers(tab: chromium.Browser, out: Path) -> None:
    tab.visit(board(out))
    drawn(tab)
    tab.point(*mark(tab, "dp_sgd"))
    tab.until("document.querySelector('.hovertext')")
    label = tab.eval("document.querySelector('.hovertext').textContent")
    assert label.startswith("Dp sgd, epsilon 1L 0.") and "utility 0." in label
    assert tab.console == []


def test_a_click_on_a_mark_highlights_its_family_everywhere(
    tab: chromium.Browser, out: Path
) -> None:
    tab.visit(board(out))
    drawn(tab)
    x, y = mark(tab, "dp_sgd")
    tab.point(x, y)
    tab.until("document.querySelector('.hovertext')")
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    tab.until("location.hash === '#family=dp_sgd'")
    assert tab.eval("[...document.querySelectorAll('#rows .lit th')].map((c) => c.dataset.v)") == [
        "dp_sgd[epsilon=1]",
        "dp_sgd[epsilon=8]",
    ]
    opacity = tab.eval(
        "Object.fromEntries(document.querySelector('.chart.plane').data.filter((t) => t.meta)"
        ".map((t) => [t.meta, t.opacity]))"
    )
    assert opacity["dp_sgd"] == opacity["none"] == 1 and opacity["dropout"] < 0.5
    assert tab.console == []


def test_charts_take_the_palette_of_the_page_and_follow_it(
    tab: chromium.Browser, out: Path
) -> None:
    colour = "document.querySelector('.chart.plane').layout.font.color"
    tab.visit(board(out))
    drawn(tab)
    assert tab.eval(colour) == "#22262b"
    tab.scheme("dark")
    tab.until(f"{colour} === '#e4e2dd'")
    tab.scheme("dark", media="print")
    tab.until(f"{colour} === '#16181b'")
    tab.scheme("light")


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_names_in_the_plane_do_not_cover_each_other(
    tab: chromium.Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    many = {f"d[n={i}]": (fake.ALL, (i / 20,) * 3, i / 20 - 0.5, []) for i in range(12)}
    crowded(tmp_path, monkeypatch, many)
    tab.visit(board(tmp_path), width=width)
    drawn(tab)
    boxes = tab.eval(
        "[...document.querySelectorAll('.plane .annotation-text-g text')].map((text) => {"
        "const { left, right, top, bottom } = text.getBoundingClientRect();"
        "return [left, right, top, bottom] })"
    )
    assert len(boxes) > 3
    for one, other in itertools.combinations(boxes, 2):
        beside = one[1] <= other[0] or other[1] <= one[0]
        assert beside or one[3] <= other[2] or other[3] <= one[2]


def test_on_paper_a_chart_keeps_its_place_and_heads_are_text(
    tab: chromium.Browser, out: Path
) -> None:
    tab.visit(board(out))
    drawn(tab)
    tab.scheme("light", media="print")
    plane = "document.querySelector('.chart.plane')"
    assert tab.eval(f"{plane}.clientHeight >= {plane}.querySelector('svg').clientHeight")
    heads = "[...document.querySelectorAll('#rows button[data-col]')]"
    assert tab.eval(f"{heads}.every((b) => getComputedStyle(b).display === 'contents')")
    tab.scheme("light")


def test_pointing_at_a_coloured_cell_tells_its_interval(tab: chromium.Browser, out: Path) -> None:
    tab.visit(board(out))
    tab.point(*tab.middle("table.attacks td[data-t]"))
    tab.until("!document.querySelector('.tip').hidden")
    told = tab.eval("[...document.querySelector('.tip').children].map((c) => c.textContent)")
    assert told[0] == "None" and "3 of 3 seeds" in told[2] and told[2].startswith("L ")
    assert told[1] == tab.eval("document.querySelector('table.attacks th.turned').title")


def test_only_files_of_the_site_are_requested(tab: chromium.Browser, out: Path) -> None:
    for name in (BOARD, "index.html", "methods.html", "defenses/dropout.html"):
        tab.visit((out / name).as_uri())
        if name == BOARD:
            drawn(tab, 0)
            drawn(tab, 1)
        assert tab.console == []
        kept = [r for r in tab.requests if r not in ("about:blank", "data:,")]
        assert kept and all(r.startswith(out.as_uri()) for r in kept)


def test_the_site_is_the_same_from_a_web_host(tab: chromium.Browser, out: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(out))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}/"
        tab.visit(base + BOARD)
        drawn(tab)
        assert tab.console == [] and len(shown(tab)) == 7
        kept = [r for r in tab.requests if r not in ("about:blank", "data:,")]
        assert all(r.startswith(base) for r in kept)
        server.shutdown()


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_no_page_is_wider_than_the_window(tab: chromium.Browser, out: Path, width: int) -> None:
    for path in sorted(out.rglob("*.html")):
        tab.visit(path.as_uri(), width=width)
        assert tab.eval("document.documentElement.scrollWidth") <= width, path.name
        assert tab.console == []


CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    const found = e ? rgb(getComputedStyle(e).backgroundColor) : [255, 255, 255, 255];
    if (found[3] === 255) return found;
    const below = ground(e.parentElement), part = found[3] / 255;
    return found.slice(0, 3).map((v, i) => v * part + below[i] * (1 - part)).concat(255);
  };
  let worst = [99, ''];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility()) continue;
    if (e.closest('svg, script, .sr, .skip')) continue;
    const ink = light(rgb(getComputedStyle(e).color));
    const [a, b] = [ink, light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 120)];
  }
  return worst;
})()
"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["index.html", BOARD, "methods.html", "attacks/latent.html"])
def test_text_stands_out_from_what_is_behind_it(
    tab: chromium.Browser, out: Path, name: str, dark: bool
) -> None:
    tab.visit((out / name).as_uri(), dark=dark)
    ratio, where = tab.eval(CONTRAST)
    assert ratio >= 4.5, where


def test_without_scripts_every_number_is_there_and_no_control_is(
    tab: chromium.Browser, out: Path
) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.visit(board(out))
    tree = tab.call("DOM.getDocument", depth=0)
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert tree["root"]["nodeName"] == "#document"
    assert tab.eval("getComputedStyle(document.querySelector('.tools')).display") == "none"
    assert tab.eval("getComputedStyle(document.querySelector('.chart')).display") == "none"
    assert tab.eval("document.querySelectorAll('#rows tbody tr').length") == 8
    assert tab.eval("document.querySelector('.tall, .seeds, #seeds') !== null")


def test_paper_is_light_and_shows_whole_tables(tab: chromium.Browser, out: Path) -> None:
    tab.visit(board(out), dark=True)
    tab.scheme("dark", media="print")
    assert tab.eval("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.eval("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    assert tab.eval("getComputedStyle(document.querySelector('.tools')).display") == "none"
    tab.scheme("light")
