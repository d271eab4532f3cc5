"""The files of a report: replaced whole, and those of an older one removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.contract.errors import UserError
from bench.contract.record import TrialRecord
from bench.report import site
from tests.report import fake_records as fake


def files(out: Path) -> dict[str, bytes]:
    """Everything that lies below a folder."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def made(out: Path, records: list[TrialRecord]) -> Path:
    site.write(records, {}, "smoke", out, {})
    return out


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"report cannot be written to .*file"):
        made(tmp_path / "file" / "out", [fake.trial("faces", "mlp", "none", "brep", 0)])


def test_files_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = fake.trial("faces", "mlp", "none", "brep", 0)
    before = files(made(tmp_path, [record]))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        site.write([record], {}, "new", tmp_path, {})
    assert files(tmp_path) == before


def test_pages_of_an_older_report_go_and_nothing_else_does(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made(out, fake.build(1, ("faces",)))
    (out / "notes.txt").write_text("mine")
    (tmp_path / "outside.txt").write_text("mine too")
    listed = json.loads((out / "site.json").read_text(encoding="utf-8"))
    (out / "site.json").write_text(json.dumps([*listed, "../outside.txt"]))
    made(out, fake.build(1, ("baskets",)))
    found = set(files(out))
    assert not any("faces" in name for name in found)
    assert "notes.txt" in found and (tmp_path / "outside.txt").exists()
    assert found - {"notes.txt"} == set(json.loads((out / "site.json").read_text(encoding="utf-8")))
