from __future__ import annotations

import json
import lzma
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bench.contract.errors import UserError
from bench.exchange import pack, parts, records
from bench.exchange.pack import Pack
from bench.report import frame
from tests.report import fake_records as fake

PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x20" + bytes(20)


def made(**changes: object) -> Pack:
    records = fake.build(2, ("baskets",))
    given = {
        "suite": "tiny",
        "records": records,
        "manifest": {"suite": "tiny", "command": "invbench run", "trials": {}},
        "pictures": {records[0].trial_id: PICTURE},
        "notes": {"submitter": "someone"},
    }
    return Pack(**(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["folder", "one.zip"])
def test_what_is_read_is_what_was_written(tmp_path: Path, name: str) -> None:
    ours = made()
    digest = pack.write(ours, tmp_path / name, {"leaderboard.csv": b"a,b\n"})
    theirs = pack.read(tmp_path / name)
    key = lambda r: r.trial_id  # noqa: E731
    assert sorted(theirs.records, key=key) == sorted(ours.records, key=key)
    assert list(theirs.records) == list(theirs.records), "records may be iterated again"
    assert theirs.manifest.items() >= ours.manifest.items()
    assert (theirs.suite, theirs.pictures, theirs.notes) == (ours.suite, ours.pictures, ours.notes)
    assert theirs.digest == digest
    assert parts.read(tmp_path / name)["leaderboard.csv"] == b"a,b\n"


def test_equal_packs_are_equal_bytes_and_notes_do_not_change_the_digest(tmp_path: Path) -> None:
    records = list(made().records)
    first = pack.write(made(), tmp_path / "a.zip")
    again = pack.write(made(records=records[::-1]), tmp_path / "b.zip")
    assert first == again
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    noted = pack.write(made(notes={"verification": {"by": "me"}}), tmp_path / "c.zip")
    assert noted == first
    assert pack.write(made(records=records[1:]), tmp_path / "d.zip") != first


def test_boards_of_a_pack_are_boards_of_its_records(tmp_path: Path) -> None:
    pack.write(made(), tmp_path / "p")
    assert frame.build(pack.read(tmp_path / "p").records, "tiny").equals(
        frame.build(made().records, "tiny")
    )


def test_a_changed_part_is_named(tmp_path: Path) -> None:
    pack.write(made(), tmp_path / "p", {"leaderboard.csv": b"L\n0.10\n"})
    (tmp_path / "p" / "leaderboard.csv").write_bytes(b"L\n0.00\n")
    with pytest.raises(UserError, match=r"'leaderboard.csv' .* is not what the pack was made with"):
        pack.read(tmp_path / "p")
    (tmp_path / "p" / "leaderboard.csv").unlink()
    with pytest.raises(UserError, match="lacks its part"):
        pack.read(tmp_path / "p")


def test_a_damaged_record_is_placed(tmp_path: Path) -> None:
    index = json.loads(_written(tmp_path / "p")[pack.INDEX])
    assert index["trials"] == len(list(made().records))
    bad = records.of_lines(b"no xz", "here", 1)
    with pytest.raises(UserError, match="'here' is damaged"):
        list(bad)

    with pytest.raises(UserError, match=r"here, line 1 is no trial record of schema .*: "):
        list(records.of_lines(lzma.compress(b'{"cell": 1}\n'), "here", 1))


def _written(path: Path) -> dict[str, bytes]:
    pack.write(made(), path)
    return parts.read(path)


def test_parts_of_an_earlier_pack_do_not_stay(tmp_path: Path) -> None:
    pack.write(made(), tmp_path / "p", {"old.csv": b"x"})
    (tmp_path / "p" / "README.md").write_text("mine", encoding="utf-8")
    pack.write(made(), tmp_path / "p", {"tables/new.csv": b"x"})
    names = {str(p.relative_to(tmp_path / "p")) for p in (tmp_path / "p").rglob("*") if p.is_file()}
    assert "old.csv" not in names
    assert {"tables/new.csv", "README.md", pack.INDEX, pack.RECORDS} <= names


def test_only_packs_are_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no pack"):
        pack.read(tmp_path)
    (tmp_path / "pack.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as"):
        pack.read(tmp_path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("a.txt", "b")
    with pytest.raises(UserError, match="cannot be read as"):
        pack.read(tmp_path / "other.zip")


def test_a_newer_pack_and_parts_outside_are_refused(tmp_path: Path) -> None:
    pack.write(made(), tmp_path / "p")
    path = tmp_path / "p" / pack.INDEX
    index = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(index | {"pack_version": 99}), encoding="utf-8")
    with pytest.raises(UserError, match="pack version 99"):
        pack.read(tmp_path / "p")
    outside = index | {"sha256": index["sha256"] | {"../secret": "0" * 64}}
    path.write_text(json.dumps(outside), encoding="utf-8")
    with pytest.raises(UserError, match="outside of the pack"):
        pack.read(tmp_path / "p")


def test_an_empty_suite_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no records to pack"):
        pack.write(made(records=[]), tmp_path / "p")


def test_several_suites_are_one_site() -> None:
    one = made()
    two = made(suite="other", records=fake.build(2, ("diabetes",)), pictures={})
    both = pack.together([one, two])
    assert both.suite == "boards"
    assert set(frame.build(both.records, "all")["dataset"]) == {"baskets", "diabetes"}
    assert both.manifest["command"] == "invbench run", "said once"
    assert both.pictures == one.pictures
    assert set(both.notes["parts"]) == {one.suite, "other"}
    named = [replace(one, suite="reference/retail"), replace(two, suite="reference/medical")]
    assert pack.together(named).suite == "reference"
    assert pack.together([two]) is two


def _index(path: Path, **changes: object) -> None:
    index = json.loads((path / pack.INDEX).read_text(encoding="utf-8"))
    (path / pack.INDEX).write_text(json.dumps(index | changes), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"manifest": []}, "manifest: Input should be"),
        ({"manifest": {"trials": [1]}}, "manifest.trials: Input should be"),
        ({"manifest": {"trials": {}, "overrides": "rm"}}, "manifest.overrides: "),
        ({"notes": {"submissions": {"a": 1}}}, "notes.submissions: "),
        ({"sha256": ["records"]}, "cannot be read as a pack"),
        ({"pack_version": "new"}, "cannot be read as a pack"),
        ({"trials": "3"}, "trials: "),
        ({"sha256": {"/etc/passwd": "0" * 64}}, "outside of the pack"),
        ({"sha256": {"a/../../x": "0" * 64}}, "outside of the pack"),
    ],
)
def test_what_is_no_index_is_one_sentence(tmp_path: Path, changes: dict, words: str) -> None:
    pack.write(made(), tmp_path / "p")
    _index(tmp_path / "p", **changes)
    with pytest.raises(UserError, match=words):
        pack.read(tmp_path / "p")


def test_deep_nesting_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / pack.INDEX).write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as"):
        pack.read(tmp_path)


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    pack.write(made(), tmp_path / "p", {"leaderboard.csv": b"a"})
    (tmp_path / "secret").write_text("a", encoding="utf-8")
    (tmp_path / "p" / "leaderboard.csv").unlink()
    (tmp_path / "p" / "leaderboard.csv").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="outside of the pack"):
        pack.read(tmp_path / "p")


def test_writing_over_a_pack_removes_nothing_outside_of_it(tmp_path: Path) -> None:
    pack.write(made(), tmp_path / "p")
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    _index(tmp_path / "p", sha256={"../mine": "0" * 64})
    with pytest.raises(UserError, match="outside of the pack"):
        pack.write(made(), tmp_path / "p")
    assert (tmp_path / "mine").exists()


def test_a_file_with_more_than_its_index_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    pack.write(made(), path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("leaderboard.csv", "a")
    with pytest.raises(UserError, match=r"a part 'leaderboard.csv' that pack\.json does not name"):
        pack.read(path)


def test_a_file_with_two_parts_of_one_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    pack.write(made(), path)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr(pack.INDEX, "{}")
    with pytest.raises(UserError, match="two parts of one name"):
        pack.read(path)


def test_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(pack.INDEX, b"0" * (8 << 20))
    monkeypatch.setattr(parts, "MOST_BYTES", 1 << 20)
    with pytest.raises(UserError, match="takes more than 1 MiB unpacked"):
        pack.read(path)
    monkeypatch.setattr(records, "MOST_RECORD", 1 << 10)
    with pytest.raises(UserError, match="a record of more than 1 KiB"):
        list(records.of_lines(lzma.compress(b"0" * (1 << 20)), "here", 1))


def test_there_are_as_many_records_as_the_index_says(tmp_path: Path) -> None:
    count = len(list(made().records))
    for stated, words in ((count - 1, "has more records"), (count + 1, f"has {count} records")):
        pack.write(made(), tmp_path / "p")
        _index(tmp_path / "p", trials=stated)
        with pytest.raises(UserError, match=words):
            list(pack.read(tmp_path / "p").records)


def test_a_broken_zip_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    pack.write(made(), path)
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"cannot be read as a pack|not what the pack was made"):
        pack.read(path)
