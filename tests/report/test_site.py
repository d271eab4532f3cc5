from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest

from bench.contract.errors import UserError
from bench.contract.names import Heading
from bench.contract.record import Audit, Times, TrialRecord
from bench.report import boards, frame, site
from bench.report.closure import BoardKey, slugs
from bench.report.names import Names
from tests.report import fake_records as fake

TABLES = [
    "audit.csv",
    "columns.csv",
    "leaderboard.csv",
    "leaderboard.md",
    "leaderboard.tex",
    "trials.csv",
    "trials.parquet",
    "tuned.csv",
]
ASSETS = ["assets/plotly.min.js", "assets/site.js", "assets/style.css"]
WEIGHTS = "boards/faces-mlp-class-representative-weights.html"
HOSTILE = "<script>alert('x')</script>\"'&{{7*7}}"
NAMES = Names(
    {
        ("defense", "dropout"): Heading("Dropout of units", "Drops units while it trains."),
        ("attack", "brep"): Heading("Boundary walk (BREP)", "Walks the border."),
    }
)


class Page(HTMLParser):
    """Tags and visible text of a page; raises on tags that do not match."""

    VOID = ("meta", "img", "br", "link", "input", "wbr", "rect", "path")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def ids(self) -> list[str | None]:
        return [attrs["id"] for _, attrs in self.tags if "id" in attrs]


def files(out: Path) -> dict[str, bytes]:
    """Everything that lies below a folder."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def text(out: Path, name: str) -> str:
    return (out / name).read_text(encoding="utf-8")


def pages(out: Path) -> dict[str, Page]:
    return {
        str(p.relative_to(out)): Page(text(out, str(p.relative_to(out))))
        for p in sorted(out.rglob("*.html"))
    }


def made(out: Path, records: list[TrialRecord], **given: Any) -> Path:
    site.write(records, {}, "smoke", out, given)
    return out


@pytest.fixture(scope="module")
def records() -> list[TrialRecord]:
    return fake.build()


@pytest.fixture(scope="module")
def out(records: list[TrialRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    given = fake.galleries(records)
    assert (
        site.write(records, given, "smoke", out, fake.PROVENANCE, NAMES).page == out / "index.html"
    )
    return out


def test_the_site_is_what_its_list_says(out: Path) -> None:
    found = sorted(files(out))
    assert json.loads(text(out, "site.json")) == found  # and no scratch file
    assert set(TABLES) | set(ASSETS) | {"index.html", "methods.html", WEIGHTS} <= set(found)
    stems = {name.rpartition(".")[0] for name in found if re.fullmatch("boards/.*html", name)}
    assert len(stems) == 9
    for ending in (".csv", "-attacks.csv", "-seeds.csv", ".svg"):
        assert {stem + ending for stem in stems} <= set(found)
    assert {n for n in found if n.startswith("defenses/")} == {
        f"defenses/{name}.html"
        for name in (
            "none",
            "dropout",
            "freezing",
            "dp-sgd",
            "label-smoothing",
            "top-k",
            "label-only",
        )
    }
    assert "attacks/latent.html" in found and "attacks/public-mean.html" in found


def test_same_input_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    records = fake.build(2, ("faces",))
    shuffled = records.copy()
    random.Random(1).shuffle(shuffled)
    pictures = fake.galleries(records)
    turned = dict(reversed(list(pictures.items())))
    provenance = dict(reversed(list(fake.PROVENANCE.items())))
    site.write(records, pictures, "smoke", tmp_path / "first", fake.PROVENANCE, NAMES)
    site.write(shuffled, turned, "smoke", tmp_path / "again", provenance, NAMES)
    assert files(tmp_path / "first") == files(tmp_path / "again")


def test_records_are_read_once(tmp_path: Path) -> None:
    stream = iter(fake.build(1, ("baskets",)))
    site.write(stream, {}, "smoke", tmp_path, {})
    assert (tmp_path / "index.html").exists()


def test_every_page_is_well_formed_and_its_identifiers_are_unique(out: Path) -> None:
    for name, page in pages(out).items():
        ids = page.ids()
        assert len(ids) == len(set(ids)), name
        labels = {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs}
        assert labels <= set(ids), name
        assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1


def test_every_column_has_a_head_that_is_read(out: Path) -> None:
    for name in pages(out):
        heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", text(out, name), re.S)
        assert all(re.sub(r"<[^>]*>", "", head).strip() for head in heads), name


def test_every_link_leads_somewhere(out: Path) -> None:
    found = pages(out)
    there = set(files(out))
    for name, page in found.items():
        here = (out / name).parent
        for tag, key in (("a", "href"), ("link", "href"), ("script", "src"), ("img", "src")):
            for attrs in page.all(tag):
                address = attrs.get(key)
                if address is None or address == "data:,":
                    continue
                path, _, anchor = address.partition("#")
                assert ":" not in path and not path.startswith("/"), address
                goal = str((here / unquote(path)).resolve().relative_to(out)) if path else name
                assert goal in there, f"{name}: {address}"
                state = "=" in anchor  # what a board shows; the script reads it
                assert state or not anchor or anchor in found[goal].ids(), f"{name}: {address}"


def test_nothing_is_loaded_from_anywhere_else(out: Path) -> None:
    for name, page in pages(out).items():
        assert not page.all("iframe") and not page.all("object") and not page.all("style"), name
        assert not any("style" in attrs for _, attrs in page.tags), name
        meta = page.all("meta")
        policy = next(m for m in meta if m.get("http-equiv") == "Content-Security-Policy")
        assert "unsafe" not in str(policy["content"])
        assert str(policy["content"]).startswith("default-src 'none'; ")
    for name in ("assets/site.js", "assets/style.css"):
        assert not re.search(
            r"@import|url\(|fetch\(|XMLHttp|import\(|WebSocket|https?:", text(out, name)
        )


def test_every_board_and_row_is_shown(records: list[TrialRecord], out: Path) -> None:
    found = boards.build(frame.build(records, "smoke"))
    ids = slugs(key for key, _ in found)
    for key, rows in found:
        html = text(out, f"boards/{ids[key]}.html")
        shown = re.findall(r'<th scope="row" data-v="([^"]*)"', html)
        assert sorted(shown) == sorted(rows["defense"])
        assert shown[0] == "none"
        assert html.count('aria-sort="ascending"') == 1
    index = text(out, "index.html")
    assert index.count('<li><a href="boards/') == len(ids) == 9


def test_methods_tell_failures_skips_data_and_provenance(out: Path) -> None:
    html = text(out, "methods.html")
    for said in (
        "Singular matrix in the neuron selection.",
        "diabetes / mlp / freezing / neuron / 0",
        "miface needs images",
        "invbench run suite=smoke",
        "0123abcdef",
        "2.9.0+cpu",
        "heldout acc cnn",
        "Fake faces, made for tests",
        "95% Student t",
        "Goals that occurred",
        "The attacker holds the model.",
    ):
        assert said in html
    assert "updates that clients share" not in html  # nothing had gradients here


def test_a_board_tells_its_banners_cost_budgets_and_commands(out: Path) -> None:
    labels = text(out, "boards/baskets-mlp-output-reconstruction-labels.html")
    assert "Attack too weak here" in labels
    html = text(out, WEIGHTS)
    for said in (
        "invbench reproduce ",
        "invbench run suite=smoke",
        "What it costs",
        "1.00×",
        "one record, add remove",
        "tuning: single run",
        "prv",
        "Seed by seed",
        "Standard against adaptive",
        "Hide",
        "Highlight",
    ):
        assert said in html, said


def test_the_reference_lies_in_the_table_before_the_ties(out: Path) -> None:
    html = text(out, WEIGHTS)
    groups = re.findall(r'<td class="num rank">([^<]*)</td>', html)
    assert any("–" in group for group in groups[1:])


def test_pages_of_components_say_what_they_are_and_where_they_stand(out: Path) -> None:
    html = text(out, "defenses/dropout.html")
    assert "Drops units while it trains." in html and "A. Author 2026" in html
    assert html.count('class="rowgroup"') == 8  # every board but the one-seed network's
    assert "../attacks/latent.html" in html and "defenses.dropout" in html
    attack = text(out, "attacks/brep.html")
    assert "Walks the border." in attack and "B. Author 2026, eq. 3" in attack
    assert "3,000" in attack and "../defenses/dp-sgd.html" in attack
    assert "Success without the model" in text(out, "attacks/public-mean.html")


def test_no_traceback_is_published(out: Path) -> None:
    assert not any("Traceback" in text(out, str(p)) for p in pages(out))


def test_one_picture_per_defense_and_worst_attack(out: Path) -> None:
    page = Page(text(out, WEIGHTS))
    pictures = [a for a in page.all("img") if str(a["src"]).endswith(".png")]
    alts = [str(a["alt"]) for a in pictures]
    assert len(alts) == 6 and not any("Top k" in alt for alt in alts)  # two rows have no effect
    assert all(a["width"] == "320" and a["height"] == "64" for a in pictures)


def test_pictures_of_unpublishable_data_are_never_shown(tmp_path: Path) -> None:
    records = [
        r.model_copy(update={"data": r.data.model_copy(update={"publishable": False})})
        for r in fake.build(1, ("faces",))
    ]
    pictures = {r.trial_id: fake.picture(9) for r in records}
    site.write(records, pictures, "smoke", tmp_path, {})
    assert not any(name.endswith(".png") for name in files(tmp_path))
    images = [str(a["src"]) for page in pages(tmp_path).values() for a in page.all("img")]
    assert all(image.endswith(".svg") for image in images), "badges alone"


def test_a_picture_that_is_no_png_is_refused(tmp_path: Path) -> None:
    record = fake.trial("faces", "mlp", "none", "brep", 0)
    with pytest.raises(UserError, match=r"picture of trial .* is no PNG"):
        site.write([record], {record.trial_id: b"<svg onload=alert(1)>"}, "s", tmp_path, {})


def spoiled(record: TrialRecord) -> TrialRecord:
    cell = record.cell.model_copy(
        update={
            "dataset": HOSTILE,
            "model": HOSTILE,
            "attack": HOSTILE + record.cell.attack,
            "defense": record.cell.defense.replace("dropout", HOSTILE),
        }
    )
    data = record.data.model_copy(update={"source": HOSTILE, "facts": {HOSTILE: HOSTILE}})
    changes: dict[str, Any] = {"cell": cell, "data": data}
    changes["defense"] = record.defense.model_copy(update={"paper": HOSTILE, "stages": [HOSTILE]})
    if record.error:
        changes["error"] = record.error.model_copy(update={"message": HOSTILE})
    return record.model_copy(update=changes)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    records = [spoiled(r) for r in fake.build(2, ("faces",)) if r.cell.model == "mlp"]
    provenance = {
        "command": HOSTILE,
        HOSTILE: [HOSTILE],
        "skipped": [{"what": HOSTILE, "reason": HOSTILE, "count": 1}],
    }
    site.write(records, fake.galleries(records), HOSTILE, tmp_path, provenance)
    for name, page in pages(tmp_path).items():
        assert re.fullmatch(r"[a-z0-9./-]+", name)
        html = text(tmp_path, name)
        assert "<script>alert" not in html and "{{7*7}}" in html
        for attrs in page.all("script"):
            assert attrs.get("type") == "application/json" or attrs.get("src", "").endswith(  # type: ignore[union-attr]
                "assets/site.js"
            )
        assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    board = next(tmp_path.glob("boards/*.html")).name
    figure = re.search(r'id="plane-data">(.*?)</script>', text(tmp_path, f"boards/{board}"))
    assert figure is not None
    shown = json.loads(figure[1])["data"]
    # Plotly reads a little HTML: names are escaped there once more.
    assert all("<script" not in label for trace in shown for label in trace.get("text", []))


def test_a_goal_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    records = [r.model_copy(update={"goal": HOSTILE}) for r in fake.build(2, ("faces",))]
    with pytest.raises(UserError, match="There is no goal"):
        made(tmp_path, records)


def test_names_that_collide_get_pages_of_their_own() -> None:
    keys = [BoardKey("s", *rest, "g", "labels") for rest in (("a-b", "m"), ("a", "b-m"))]
    assert list(slugs(keys).values()) == ["a-b-m-g-labels", "a-b-m-g-labels-2"]
    assert site._slugs(["a b", "a_b", "a-b-2"]) == {"a b": "a-b", "a-b-2": "a-b-2", "a_b": "a-b-3"}


def test_a_name_without_a_letter_still_gets_a_page() -> None:
    nameless = BoardKey("s", "", "", "", "")
    assert slugs([nameless]) == {nameless: "board"}


def test_no_record_is_one_sentence_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trial records"):
        site.write([], {}, "smoke", tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_only_failures_make_a_site_that_says_why(tmp_path: Path) -> None:
    broken = fake.broken("oom", "MemoryError", "The worker needed more than 4 GiB.")
    made(tmp_path, [fake.trial("faces", "mlp", "none", "brep", 0, **broken)])
    assert "MemoryError: The worker needed more than 4 GiB." in text(tmp_path, "methods.html")
    assert "Nothing was measured here." in text(tmp_path, "index.html")
    assert len(pages(tmp_path)) == 6


def test_only_baselines_make_a_site_without_boards(tmp_path: Path) -> None:
    made(tmp_path, [fake.trial("faces", "mlp", "none", "public_mean", 0)])
    assert "there is no board" in text(tmp_path, "index.html")
    assert sorted(pages(tmp_path)) == [
        "attacks/public-mean.html",
        "changes.html",
        "defenses/none.html",
        "index.html",
        "methods.html",
    ]


def test_flags_shared_by_all_rows_are_said_once(out: Path) -> None:
    html = text(out, WEIGHTS)
    table = html.split('id="rows"')[1].split("</table>")[0]
    assert "Every measured row:" in html
    assert 'class="flag provisional"' not in table
    assert 'class="flag no_effect"' in table


def test_the_numbers_of_a_board_lie_beside_it(out: Path) -> None:
    html = text(out, WEIGHTS)
    stem = WEIGHTS.removesuffix(".html")
    for ending, of in (("", "defense"), ("-attacks", "attack"), ("-seeds", "seed")):
        assert f'href="{Path(stem).name}{ending}.csv"' in html
        table = pd.read_csv(out / f"{stem}{ending}.csv")
        assert of in table and set(table["access"]) == {"weights"}
    assert not table.duplicated(["defense", "attack", "seed"]).any()


def test_a_board_with_several_settings_of_a_defense_shows_tuned_rows(out: Path) -> None:
    html = text(out, WEIGHTS)
    assert ">Tuned defenses</h2>" in html and '<table class="plain tuned">' in html
    cnn = text(out, "boards/faces-cnn-class-representative-weights.html")
    assert ">Tuned defenses</h2>" not in cnn


def test_who_was_noticed_is_shown_where_somebody_watches(out: Path, tmp_path: Path) -> None:
    assert "Who was noticed" not in text(out, "methods.html")
    audit = Audit(
        detected=True,
        stopped=True,
        answered_before=250,
        accounts_refused=1,
        blocked=0.004,
        customers=1000,
    )
    records = [
        r.model_copy(update={"audit": audit}) if r.cell.defense == "dropout" else r
        for r in fake.build(3, ("baskets",))
    ]
    shown = text(made(tmp_path, records), "methods.html")
    Page(shown)
    section = shown.split('id="noticed"')[1].split("</section>")[0]
    assert section.count('<th scope="rowgroup"') == 2  # labels and scores
    assert "Baskets, mlp: the input behind an answer, attacker sees scores" in section
    assert "250" in section and "4.0 <small>[2.1, 7.0]</small>" in section
    assert len(text(tmp_path, "audit.csv").splitlines()) == 3


def test_figures_for_papers_are_drawn_on_request_and_linked(out: Path, tmp_path: Path) -> None:
    assert not any(name.startswith("figures/") for name in files(out))
    site.write(fake.build(2, ("faces",)), {}, "smoke", tmp_path, {}, drawn=True)
    own = {f"figures/{Path(WEIGHTS).stem}.{form}" for form in ("svg", "pdf", "png")}
    assert own <= files(tmp_path).keys() & set(json.loads(text(tmp_path, "site.json")))
    assert {f"../{n}" for n in own} <= {a["href"] for a in Page(text(tmp_path, WEIGHTS)).all("a")}


def test_cost_tells_how_long_answers_take_where_records_say(out: Path, tmp_path: Path) -> None:
    assert "1,000 answers" not in text(out, WEIGHTS)
    ms = [99.0, 2.5, 2.5]  # the first task of a worker takes longer
    made(
        tmp_path,
        [
            r.model_copy(update={"times": Times(answer_ms=ms[r.cell.seed])})
            for r in fake.build(3, ("faces",))
        ],
    )
    assert all(">2.50</td>" in text(tmp_path, n) for n in (WEIGHTS, "defenses/dropout.html"))


def test_what_a_paper_reports_stands_beside_what_was_measured(tmp_path: Path) -> None:
    entry: Mapping[str, str] = {
        "what": "Success of brep",
        "value": "0.91",
        "source": "B. Author 2026",
        "measured": "score",
        "attack": "brep",
        "defense": "none",
    }
    made(tmp_path, fake.build(2, ("faces",)), reported=[entry])
    section = text(tmp_path, "methods.html").split('id="reported"')[1].split("</section>")[0]
    assert "Success of brep" in section and "0.91" in section and "B. Author 2026" in section


def test_the_page_of_an_attack_names_what_it_declares_and_did_not_read(tmp_path: Path) -> None:
    told = {"knowledge": ["K0", "K2", "K3", "K5"], "knowledge_read": ["K2"]}
    records = [
        r.model_copy(update={"attack": r.attack.model_copy(update=told)})
        if r.cell.attack == "brep"
        else r
        for r in fake.build(1, ("faces",))
    ]
    site.write(records, {}, "s", tmp_path, {})
    page = (tmp_path / "attacks" / "brep.html").read_text()
    assert "declares K0, K2, K3, K5; read K2; K3 declared and not read" in page
    assert "K5: shadow models" in page
    assert "declares" not in (tmp_path / "attacks" / "yang.html").read_text()
