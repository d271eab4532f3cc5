"""Digests of files: contents decide, and a file that has not changed is read once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench.contract import UserError
from bench.engine.check.reads import opened_files, undeclared
from bench.engine.contents import contents


@pytest.fixture(autouse=True)
def own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as settled at once, as they do two seconds after they were written."""
    now = time.time_ns
    monkeypatch.setattr("bench.engine.contents.time.time_ns", lambda: now() + 10**10)


def test_contents_decide_and_not_the_place(tmp_path: Path) -> None:
    one, two = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("same")
    two.write_text("same")
    assert contents([one]) == contents([two])
    two.write_text("othr")
    assert contents([one]) != contents([two])
    assert contents([one, two]) != contents([two, one])


@pytest.mark.usefixtures("settled")
def test_a_file_is_read_again_only_if_it_was_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("first")
    before = contents([path])
    with opened_files() as opened:
        assert contents([path]) == before
    assert path not in opened
    # Same length, same place, and the time set back: the system knows better.
    times = path.stat()
    path.write_text("other")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert contents([path]) != before


def test_a_file_that_has_just_changed_is_not_taken_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("first")
    contents([path])
    with opened_files() as opened:
        contents([path])
    assert path in opened


def test_a_folder_is_its_names_and_files(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    (folder / "ann").mkdir(parents=True)
    (folder / "ann" / "1.png").write_bytes(b"1")
    seen = [contents([folder])]
    (folder / ".hidden").write_text("")
    assert contents([folder]) == seen[0]
    (folder / "ann" / "1.png").rename(folder / "ann" / "2.png")
    seen.append(contents([folder]))
    (folder / "ann" / "3.png").write_bytes(b"")
    seen.append(contents([folder]))
    (folder / "ann" / "3.png").write_bytes(b"3")
    seen.append(contents([folder]))
    (folder / "ann").rename(folder / "bob")
    seen.append(contents([folder]))
    assert len(set(seen)) == 5
    moved = folder.rename(tmp_path / "elsewhere")
    assert contents([moved]) == seen[-1]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.csv"):
        contents([tmp_path / "nothing.csv"])


def test_without_a_place_to_remember_it_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text")
    before = contents([path])
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert contents([path]) == before
    damaged = tmp_path / "damaged" / "invbench"
    damaged.mkdir(parents=True)
    (damaged / "contents.sqlite").write_text("this is no database, whatever its name says")
    monkeypatch.setenv("XDG_CACHE_HOME", str(damaged.parent))
    assert contents([path]) == before


def test_files_that_nobody_declared_are_found(tmp_path: Path) -> None:
    for name in ("declared.csv", "other.csv", "written.csv"):
        (tmp_path / name).write_text("")
    with opened_files() as opened:
        (tmp_path / "declared.csv").read_text()
        (tmp_path / "other.csv").read_bytes()
        (tmp_path / "written.csv").write_text("")
    found = undeclared(opened, [tmp_path / "declared.csv"], [])
    assert found == [tmp_path / "other.csv"]
