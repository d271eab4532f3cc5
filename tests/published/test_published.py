"""The boards that are committed follow from the records beside them, and still mean what they say.

What fails here is mended by packing the suite again (``invbench submit SUITE --to
results/published/NAME``), after running it again where its records are of an older protocol.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from bench.contract.identity import PROTOCOL_VERSION
from bench.contract.record import TrialRecord
from bench.exchange import pack, recheck
from bench.report import boards, families, frame, tables
from bench.report.judgement import RANKED_SEEDS

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
PACKS = sorted(p.parent.name for p in PUBLISHED.glob(f"*/{pack.INDEX}"))
EARLIER = sorted(p.parent.name for p in PUBLISHED.glob(f"first/*/{pack.INDEX}"))
HARMLESS = {".json", ".xz", ".csv", ".md", ".svg", ".png", ".sig"}
DATA = os.environ.get("INVBENCH_DATA_ROOT")

MENDED = "run its suite and pack it again"

pytestmark = pytest.mark.skipif(not PACKS, reason="results/published holds no pack yet")
each = pytest.mark.parametrize("name", PACKS or ["none"])


@cache
def _read(name: str) -> tuple[pack.Pack, tuple[TrialRecord, ...]]:
    """A pack, every part of which has its digest, and its records."""
    found = pack.read(PUBLISHED / name)
    return found, tuple(found.records)


@cache
def _built(name: str) -> tuple[boards.Boards, str]:
    found, records = _read(name)
    table = frame.build(records, found.suite)
    made = boards.build(table)
    return made, tables.leaderboard_md(made, families.tuned(table), found.suite)


@each
def test_figures_follow_from_the_records(name: str) -> None:
    found, records = _read(name)
    claims = [recheck.claim(record) for record in records]
    assert recheck.listed(claims, found.manifest["trials"]) == []
    assert list(recheck.sums(claims).wrong) == []


@each
def test_tables_follow_from_the_records(name: str) -> None:
    found, _ = _read(name)
    made, markdown = _built(name)
    tables_of = found.tables
    assert {"leaderboard.csv", "leaderboard.md"} <= set(tables_of)
    stated = tables_of["leaderboard.csv"]
    assert recheck.drift(stated, tables.leaderboard_csv(made, found.suite)) == []
    assert recheck.prose(tables_of["leaderboard.md"], markdown) == []


@each
def test_every_row_has_the_seeds_to_be_ranked_or_says_that_it_has_not(name: str) -> None:
    rows = _built(name)[0].rows
    few = rows[rows["n_seeds"] < RANKED_SEEDS]
    silent = [
        "/".join(str(row[column]) for column in boards.ROW)
        for row in few.to_dict("records")
        if not {"provisional", "missing"} & set(row["flags"])
    ]
    assert silent == []
    assert len(few) < len(rows), "a board on which no row is ranked is not worth publishing"


@each
def test_records_are_of_this_protocol_and_of_a_commit(name: str) -> None:
    found, records = _read(name)
    assert {r.protocol_version for r in records} == {PROTOCOL_VERSION}, MENDED
    assert [r.cell.key() for r in records if "dirty" in r.flags] == [], MENDED
    assert not found.manifest.get("git", {}).get("dirty"), MENDED
    assert found.notes.get("submitter"), "it says whose it is: submit --by"


@pytest.mark.parametrize("name", EARLIER)
def test_an_earlier_edition_can_still_be_read_and_compared(name: str) -> None:
    before, after = (pack.read(place / name) for place in (PUBLISHED / "first", PUBLISHED))
    assert recheck.sums([recheck.claim(r) for r in before.records]).wrong == ()
    old, new = (boards.build(frame.build(p.records, p.suite)).rows for p in (before, after))
    shared = ["dataset", "model", "goal", "access", "defense"]
    assert len(old.merge(new, on=shared)) > 0, "no row can be compared"


@each
def test_nothing_in_it_is_a_script(name: str) -> None:
    for path in (PUBLISHED / name).rglob("*"):
        if path.is_file():
            assert path.suffix in HARMLESS, path
            assert not path.stat().st_mode & 0o111, path
            assert not path.is_symlink(), path
            if path.suffix == ".svg":
                text = path.read_text(encoding="utf-8").lower()
                assert "<script" not in text, path
                assert "javascript:" not in text, path


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="INVBENCH_DATA_ROOT is not set")
def test_a_sample_of_the_cheapest_holds_when_it_is_run_again(
    verb, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bit for bit, or within its row's interval where the source has changed since."""
    cheapest = min(PACKS, key=_seconds)
    code, out, err = verb(
        "verify", PUBLISHED / cheapest, "--sample", "2", f"data_root={DATA}", "progress=none"
    )
    assert code == 0, out + err
    if "nothing can be run here" in out:
        pytest.skip(f"the data of '{cheapest}' is not below INVBENCH_DATA_ROOT")
    with capsys.disabled():
        changed = [line for line in out.splitlines() if line.startswith("  changed: ")]
        print(*(f"\n{cheapest}:{line}" for line in changed), end="")
    assert "Verified on a sample" in out


def _seconds(name: str) -> float:
    """Mean seconds of a trial with all it needs, as its records say."""
    times = [r.times for r in _read(name)[1] if r.status == "done" and r.access != "none"]
    return sum((t.train_s or 0) + (t.attack_s or 0) for t in times) / max(1, len(times))
