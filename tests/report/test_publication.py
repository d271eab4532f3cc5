"""A report as something to cite: version, what changed, badges, a feed, commands that run."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from bench.contract.errors import UserError
from bench.contract.record import TrialRecord
from bench.report import site
from bench.report.site.publication import Publication, last
from tests.report import fake_records as fake

BOARD = "boards/faces-mlp-class-representative-weights"
ATOM = "{http://www.w3.org/2005/Atom}"


def write(records: list[TrialRecord], out: Path, **publication: Any) -> dict[str, Any]:
    """Write a site; what it lists of its boards."""
    site.write(records, {}, "smoke", out, fake.PROVENANCE, publication=Publication(**publication))
    listed: dict[str, Any] = json.loads((out / "boards.json").read_text())
    return listed


def leakier(record: TrialRecord) -> TrialRecord:
    """The same trial, where freezing gives more away."""
    if record.score is None or record.score.L is None or record.cell.defense != "freezing":
        return record
    return record.model_copy(
        update={"score": record.score.model_copy(update={"L": record.score.L + 0.2})}
    )


def test_equal_records_are_one_version_and_others_another(tmp_path: Path) -> None:
    records = fake.build(2, ("faces",))
    first = write(records, tmp_path / "a")
    assert write(list(reversed(records)), tmp_path / "b")["version"] == first["version"]
    assert write([leakier(r) for r in records], tmp_path / "c")["version"] != first["version"]
    assert first["version"].startswith(fake.CREATED[:10])
    for page in (f"{BOARD}.html", "index.html"):
        assert first["version"] in (tmp_path / "a" / page).read_text()


def test_what_changed_since_the_report_before_is_kept(tmp_path: Path) -> None:
    records = fake.build(2, ("faces",))
    fewer = [r for r in records if r.cell.model == "mlp" and r.cell.defense != "dropout"]
    write(fewer, tmp_path)
    write(fewer, tmp_path)  # the same again is no change
    listed = write([leakier(r) for r in records], tmp_path)
    newest, first = listed["changes"]
    assert set(first["added"]) | set(newest["added"]) == set(listed["boards"])
    assert first["added"] and newest["added"] and newest["new_rows"] > 0
    moved = {(row["board"], row["defense"]) for row in newest["moved"]}
    assert (BOARD.removeprefix("boards/"), "freezing") in moved
    assert {defense for _, defense in moved} == {"freezing"}
    assert all(row["after"] > row["before"] for row in newest["moved"])
    page = (tmp_path / "changes.html").read_text()
    assert all(change["version"] in page for change in listed["changes"])


HEAD = '{"schema": "invbench.boards/1", "version": "v", "boards": {}, "changes": '


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": "another/1"}',
        HEAD + "[{}]}",
        HEAD + "3}",
        HEAD,
        "[1]",
        "\x00",
        HEAD.replace("{}", '{"\\u001b[2J": 3}') + "[]}",
    ],
)
def test_a_list_that_cannot_be_read_is_none_and_said(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "boards.json").write_text(text)
    assert len(write(fake.build(1, ("faces",)), tmp_path)["changes"]) == 1
    (warning,) = (record.getMessage() for record in caplog.records)
    assert str(tmp_path / "boards.json") in warning and warning.isprintable()


def test_a_list_that_is_no_file_is_none_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "boards.json").mkdir()
    assert last(tmp_path) == {}
    assert len(caplog.records) == 1


def test_nothing_is_said_of_a_good_list_and_of_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = fake.build(1, ("faces",))
    assert last(tmp_path) == last(tmp_path / "new") == {}
    listed = write(records, tmp_path)
    assert last(tmp_path) == {key: listed[key] for key in last(tmp_path)} != {}
    assert not caplog.records


def test_the_feed_has_an_entry_a_version(tmp_path: Path) -> None:
    records = fake.build(2, ("faces",))
    write(records, tmp_path)
    listed = write([leakier(r) for r in records], tmp_path, authors=("A & B",), url="https://x.org")
    feed = ElementTree.parse(tmp_path / "feed.xml").getroot()
    entries = [entry.findtext(f"{ATOM}id") or "" for entry in feed.iter(f"{ATOM}entry")]
    assert [entry.rpartition(":")[2] for entry in entries] == [
        change["version"] for change in listed["changes"]
    ]
    assert feed.findtext(f"{ATOM}author/{ATOM}name") == "A & B"


def test_a_board_says_how_to_cite_it(tmp_path: Path) -> None:
    listed = write(
        fake.build(1, ("faces",)),
        tmp_path,
        authors=("A. Author", "B. Author"),
        licence="CC BY 4.0",
        url="https://boards.example/smoke/",
    )
    html = (tmp_path / f"{BOARD}.html").read_text()
    assert "A. Author; B. Author" in html and "CC BY 4.0" in html
    assert f"https://boards.example/smoke/{BOARD}.html#version={listed['version']}" in html
    bare = write(fake.build(1, ("faces",)), tmp_path / "bare")
    html = (tmp_path / "bare" / f"{BOARD}.html").read_text()
    assert html.count("not stated") >= 2 and bare["version"] == listed["version"]


def test_an_address_is_one_of_the_web() -> None:
    with pytest.raises(UserError, match="https://"):
        Publication(url="javascript:alert(1)")


def test_a_badge_is_the_leakage_of_its_board(tmp_path: Path) -> None:
    listed = write(fake.build(2, ("faces",)), tmp_path)
    leakage = listed["boards"][BOARD.removeprefix("boards/")]["L"]
    badge = ElementTree.parse(tmp_path / f"{BOARD}.svg").getroot()
    text = "".join(badge.itertext())
    known = [value for value in leakage.values() if value is not None]
    assert f"{leakage['none']:.2f}" in text and f"{min(known):.2f}" in text


def test_a_trial_of_a_pack_is_run_again_from_there(tmp_path: Path) -> None:
    records = fake.build(1, ("faces",))
    packs = {record.trial_id: "results/my pack" for record in records}
    write(records, tmp_path / "a", packs=packs)
    write(records, tmp_path / "b")
    commands = [
        re.findall(
            r"<code>(invbench reproduce [^<]*)</code>",
            (tmp_path / name / f"{BOARD}.html").read_text(),
        )
        for name in ("a", "b")
    ]
    assert commands[0] and all("--from" in command for command in commands[0])
    assert commands[1] and not any("--from" in command for command in commands[1])
