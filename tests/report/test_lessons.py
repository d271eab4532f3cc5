"""What the front page says is learned: every figure of a sentence is that of the records."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pandas as pd
import pytest

from bench.contract.record import TrialRecord
from bench.report import site
from tests.report import fake_records as fake


def told(records: list[TrialRecord], out: Path) -> tuple[list[str], pd.DataFrame]:
    """The sentences of the front page, and the leaderboard beside it."""
    site.write(records, {}, "smoke", out, fake.PROVENANCE)
    listed = re.search(r'<ol class="lessons">(.*?)</ol>', (out / "index.html").read_text(), re.S)
    assert listed is not None
    sentences = [html.unescape(text) for text in re.findall(r"<li>(.*?)</li>", listed[1])]
    table = pd.read_csv(out / "leaderboard.csv", keep_default_na=False, na_values=[""])
    return sentences, table


def raised(table: pd.DataFrame, flag: str) -> pd.Series:
    return table["flags"].fillna("").str.split(";").map(lambda flags: flag in flags)


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of boards on which no control failed and attacks are strong enough."""
    bad = raised(table, "void") | raised(table, "weak_attack")
    board = ["dataset", "model", "goal", "access"]
    return table[~bad.groupby([table[name] for name in board]).transform("any")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], pd.DataFrame]:
    return told(fake.build(), tmp_path_factory.mktemp("report"))


def test_undefended_leakage_is_that_of_the_boards(made: tuple[list[str], pd.DataFrame]) -> None:
    sentences, table = made
    plain = judged(table)
    plain = plain[(plain["defense"] == "none") & plain["L_lo"].notna()]
    leaking = int((plain["L_lo"] > 0.05).sum())
    assert sentences[0].startswith(f"Without a defense, {leaking} of {len(plain)} boards leak")
    assert f"L is {plain['L'].max():.2f}." in sentences[0]


def test_more_access_is_compared_on_the_same_models(made: tuple[list[str], pd.DataFrame]) -> None:
    sentences, table = made
    plain = judged(table)
    plain = plain[plain["defense"] == "none"]
    wide = plain.pivot_table(index=["dataset", "model", "goal"], columns="access", values="L")
    both = wide[["labels", "scores"]].dropna()
    low, high = both.mean()
    assert any(
        f"sees scores in place of labels reaches L = {high:.2f} in place of {low:.2f}" in s
        and f"over {len(both)} undefended model" in s
        for s in sentences
    )


def test_defenses_that_help_nowhere_are_named(made: tuple[list[str], pd.DataFrame]) -> None:
    sentences, table = made
    rows = judged(table)
    unplaced = ["no_effect", "non_adaptive", "bypassed", "reproduction"]
    acting = rows[(rows["defense"] != "none") & rows["L"].notna()]
    for flag in unplaced:
        acting = acting[~raised(acting, flag)]
    family = acting["defense"].str.partition("[")[0]
    helped = set(family[acting["verdict"] == "less"])
    idle = sorted(set(family) - helped)
    sentence = next((s for s in sentences if "on no board shown to leak less" in s), "")
    assert bool(sentence) == bool(idle)
    for name in idle[:4]:
        assert name.replace("_", " ").capitalize() in sentence


def test_what_does_nothing_against_weights_is_said(made: tuple[list[str], pd.DataFrame]) -> None:
    sentences, _ = made
    [sentence] = [s for s in sentences if "holds the weights" in s]
    assert "2 defenses do nothing" in sentence
    assert "Label only" in sentence and "Top k" in sentence


def test_records_that_say_something_else_change_the_sentence(tmp_path: Path) -> None:
    records = fake.build(2, ("faces",))
    before, table = told(records, tmp_path / "before")
    halved = [
        r.model_copy(update={"score": r.score.model_copy(update={"L": r.score.L / 2})})
        if r.score is not None and r.score.L is not None
        else r
        for r in records
    ]
    after, _ = told(halved, tmp_path / "after")
    most = judged(table).query("defense == 'none'")["L"].max()
    assert f"L is {most:.2f}." in before[0] and f"L is {most:.2f}." not in after[0]


def test_without_boards_nothing_is_learned(tmp_path: Path) -> None:
    site.write([fake.trial("faces", "mlp", "none", "public_mean", 0)], {}, "smoke", tmp_path, {})
    assert 'class="lessons"' not in (tmp_path / "index.html").read_text()
