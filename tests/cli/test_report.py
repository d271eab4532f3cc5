"""Boards from a store, from packs and with submissions, and whose they are said to be."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path

import pytest

from bench.engine.backends.local import InProcess
from bench.engine.store import Store
from bench.exchange import pack, parts
from bench.exchange.handled import handled
from bench.exchange.pack import Pack
from tests.cli.conftest import CONF

OWN = ("--config-dir", CONF)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _row(folder: Path, defense: str) -> str:
    lines = (folder / "leaderboard.md").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if f"| {defense} |" in line)


def test_a_pack_gives_the_bytes_of_the_store_but_for_who_submitted_and_the_command(
    verb, stores, packed, tmp_path: Path
) -> None:
    folder = packed("strong", to="folder")
    code, out, err = verb(
        "report", "suite=toy", f"store={stores['strong']}", "--to", tmp_path / "a", *OWN
    )
    assert code == 0, err
    assert out.startswith("toy: ")
    code, _, err = verb("report", folder, "--to", tmp_path / "b", *OWN)
    assert code == 0, err
    ours, theirs = _files(tmp_path / "a"), _files(tmp_path / "b")
    assert set(ours) == set(theirs)
    words = "<div><dt>submitted</dt><dd>by strong</dd></div>"
    portable = json.loads(parts.read(folder)[pack.INDEX])["manifest"]["command"]
    command = next(Store(stores["strong"]).executions())["command"]
    differ = {name for name in ours if ours[name] != theirs[name]}
    board = "boards/toy-toy-attribute-scores.html"
    authors = {"index.html", "feed.xml"}  # who submitted is the author
    assert differ == {"methods.html", board, *authors}
    was, now = (html.unescape(files["methods.html"].decode()) for files in (ours, theirs))
    assert now.replace(words, "").replace(portable, "") == was.replace(command, "") != now
    was, now = (html.unescape(files[board].decode()) for files in (ours, theirs))
    assert " --from " in now and " --from " not in was and "strong" in now


@pytest.mark.parametrize("by", ["suite", "execution", "zip"])
def test_boards_by_the_name_of_a_suite_or_an_execution_or_a_file(
    verb, stores, packed, tmp_path: Path, by: str
) -> None:
    execution = next(Store(stores["weak"]).executions())["name"]
    name = {"suite": "toy", "execution": execution, "zip": packed("weak")}[by]
    code, out, err = verb(
        "report", name, f"store={stores['weak']}", f"report_dir={tmp_path / 'out'}", *OWN
    )
    assert code == 0, err
    page = tmp_path / "out" / "toy" / "index.html"
    assert out.strip().endswith(str(page))
    assert page.exists()


def test_several_packs_make_one_site(verb, packed, tmp_path: Path) -> None:
    code, _, err = verb("report", packed("weak"), packed("strong"), "--to", tmp_path / "site", *OWN)
    assert code == 0, err
    trials = (tmp_path / "site" / "trials.csv").read_text(encoding="utf-8")
    assert {"toy[does=idle]", "toy[does=work]"} <= {
        line.split(",")[6] for line in trials.splitlines()
    }
    methods = (tmp_path / "site" / "methods.html").read_text(encoding="utf-8")
    assert "toy: by weak. toy (2): by strong" in methods


def test_a_submission_raises_a_row_and_the_site_says_whose_it_is(
    verb, packed, tmp_path: Path
) -> None:
    base, more = packed("weak"), packed("strong", "--attack", "toy")
    code, _, err = verb("report", base, "--to", tmp_path / "a", *OWN)
    assert code == 0, err
    code, out, err = verb("report", base, "--with", more, "--to", tmp_path / "b", *OWN)
    assert code == 0, err
    assert f"Joined from {more} by strong: " in err
    assert out.startswith("toy: ")
    before, after = _row(tmp_path / "a", "none"), _row(tmp_path / "b", "none")
    assert "toy\\[does=idle\\]" in before
    assert "toy\\[does=work\\]" in after
    methods = (tmp_path / "b" / "methods.html").read_text(encoding="utf-8")
    assert "<dt>joined by</dt>" in methods
    assert "by strong; nobody ran a sample of it again" in methods


def test_figures_are_drawn_where_they_are_asked_for(verb, packed, tmp_path: Path) -> None:
    path = packed("weak")
    code, _, err = verb("report", path, "--to", tmp_path / "site", "--figures", *OWN)
    assert code == 0, err
    drawn = {p.suffix for p in (tmp_path / "site" / "figures").iterdir()}
    assert drawn == {".svg", ".pdf", ".png"}
    code, _, err = verb("report", path, "--to", tmp_path / "site", *OWN)
    assert code == 0, err
    assert not list((tmp_path / "site").glob("figures/*"))


def test_a_joined_pack_keeps_who_joined_and_holds_what_it_lists(
    verb, packed, tmp_path: Path
) -> None:
    base, more, to = packed("weak"), packed("strong"), tmp_path / "joined.zip"
    code, _, err = verb("submit", base, "--with", more, "--to", to, "--by", "host", "--allow-dirty")
    assert code == 0, err
    found = pack.read(to)
    assert found.notes["submitter"] == "weak, packed again by host"
    assert [told["submitter"] for told in found.notes["submissions"]] == ["strong"]
    assert {r.trial_id for r in found.records} == set(found.manifest["trials"])
    code, out, _ = verb("verify", to, "--sample", "0")
    assert code == 0, out
    code, out, _ = verb("compare", base, to, "--fail-on", "any")
    assert code == 1
    again = verb("compare", base, base, "--with", more, "--fail-on", "any")
    assert again[:2] == (code, out), "the same without writing it"


def test_what_cannot_be_reported_is_one_sentence(verb, stores, packed, tmp_path: Path) -> None:
    store = Store(tmp_path / "planned")
    manifest = next(Store(stores["weak"]).executions())
    store.put_execution(manifest["name"], manifest)
    for words, message in (
        ((packed("weak"), "--from", "mlflow"), "--from mlflow reads suite="),
        (("suite=toy", f"store={store.root}"), "No trial of suite 'toy' has ended yet"),
        (("toy", f"store={store.root}"), "No trial of suite 'toy' has ended yet"),
        (("nothing", f"store={store.root}"), "it has suites: toy"),
        ((f"store={tmp_path / 'absent'}",), "is not there and has no run of suite"),
        ((packed("weak"), "--with", "absent.zip"), "'absent.zip' is no pack"),
    ):
        code, out, err = verb("report", *words, *OWN)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err
    assert not (tmp_path / "absent").exists()


def test_a_place_that_is_no_pack_is_not_written_over(verb, stores, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine", encoding="utf-8")
    (tmp_path / "x.zip").write_bytes(b"mine")
    for to in ("thesis", "x.zip"):
        code, _, err = verb(
            "submit", "toy", f"store={stores['weak']}", "--to", tmp_path / to, "--allow-dirty"
        )
        assert code == 2
        assert "is there and is no pack" in err


CHECKED = {
    "by": "me",
    "utc": "2026-01-02T03:04:05+00:00",
    "said": "Verified on a sample",
    "outcome": "verified",
}


def _said(**notes: object) -> dict[str, str]:
    return handled(Pack("toy", (), {}, notes=notes))


def test_who_submitted_and_who_verified() -> None:
    assert not any(_said().values())
    assert not any(_said(submitter="", note="alone").values())
    assert _said(submitter="them")["submitted"] == "by them"
    assert _said(submitter="them", note="new")["submitted"] == "by them (new)"
    assert _said(verification=CHECKED)["verified"] == (
        "by me on 2026-01-02 (claimed, not signed): Verified on a sample"
    )


def test_who_joined_and_what_is_known_of_it() -> None:
    joined = {"joined": 3, "suite": "toy", "digest": "0123456789abcdef0", "submitter": "them"}
    said = _said(submissions=[joined])["joined by"]
    assert said == (
        "3 trials of toy (pack 0123456789abcdef), by them; nobody ran a sample of it again"
    )
    more = joined | {"submitter": "", "verification": CHECKED, "unmet": ["x was not run against y"]}
    assert _said(submissions=[more])["joined by"] == (
        "3 trials of toy (pack 0123456789abcdef), somebody; checked by me on 2026-01-02 "
        "(claimed, not signed): Verified on a sample; x was not run against y"
    )
    assert _said(submissions=[joined, more])["joined by"].count("3 trials") == 2


def test_of_several_suites_it_is_said_whose_is_what() -> None:
    said = _said(parts={"face": {"submitter": "a"}, "credit": {}, "retail": {"submitter": "b"}})
    assert said["submitted"] == "face: by a. retail: by b"


def test_a_trial_deleted_in_the_store_is_said_and_flags_its_row(
    verb, stores, tmp_path: Path
) -> None:
    own = tmp_path / "store"
    shutil.copytree(stores["strong"], own)
    store = Store(own)
    cells = next(store.executions())["trials"]
    lost = next(
        key for key, cell in cells.items() if cell.endswith("toy_training/toy[does=work]/1")
    )
    store.remove("trial", lost)
    words = ("report", "suite=toy", f"store={own}", "--to", tmp_path / "site", *OWN)
    code, out, err = verb(*words)
    assert code == 0, err
    said = f"{len(cells) - 1} of {len(cells)} planned trials are there"
    assert said in out
    assert said in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "missing" in _row(tmp_path / "site", "toy_training")
    assert "missing" not in _row(tmp_path / "site", "none")
    code, _, err = verb(
        "submit", "toy", f"store={own}", "--to", tmp_path / "x.zip", "--allow-dirty"
    )
    assert code == 2
    assert "planned trials" in err
    code, out, _ = verb("compare", "toy", "toy", f"store={own}")
    assert code == 1
    assert "lacks trials" in out


def test_an_interrupted_run_says_what_it_has_not_run(
    verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "run",
        *OWN,
        "suite=toy",
        "label=toy",
        "seeds=2",
        "attack=[toy]",
        f"store={tmp_path / 'store'}",
        f"report_dir={tmp_path}",
        "backend=local",
        "tracking=none",
        "progress=none",
    )
    real, polls = InProcess.poll, iter(range(12))

    def stopped_after_some(self, timeout):
        if next(polls, None) is None:
            raise KeyboardInterrupt
        return real(self, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(InProcess, "poll", stopped_after_some)
        code, out, err = verb(*words)
    assert code == 130, err
    assert "planned trials are there" in out
    rows = (tmp_path / "toy" / "leaderboard.md").read_text(encoding="utf-8").splitlines()
    assert all("missing" in line for line in rows if line.startswith("| 1 |"))
    code, out, err = verb(*words)
    assert "planned trials are there" not in out, err
