"""What the page of the published packs says is what their tables say."""

from __future__ import annotations

from functools import cache

import pytest

from bench.api import decisions
from bench.decide import evidence
from bench.decide import policy as policies
from bench.decide.evidence import Source
from bench.exchange import pack
from tests.published import findings
from tests.published.findings import ADVICE, PAGE, PUBLISHED

PAGE_NOW = PAGE.read_text(encoding="utf-8")


def test_every_figure_is_that_of_the_tables() -> None:
    now = findings.refreshed(PAGE_NOW)
    moved = [
        f"{old}\n{new}"
        for old, new in zip(PAGE_NOW.splitlines(), now.splitlines(), strict=True)
        if old != new
    ]
    assert moved == [], (
        "read the sentences, then write them anew: python -m tests.published.findings"
    )
    assert findings.unfounded(PAGE_NOW) == []


def test_a_figure_that_moved_is_found() -> None:
    source = "<!--credit german/mlp scores none-->"
    start = f"{findings.SECTION}\n"
    right = findings.refreshed(f"{start}L = 0.99 [0.98, 1.00]{source}, 0.99{source}")
    assert "0.99" not in right and findings.refreshed(right) == right
    assert right.partition(" [")[0].endswith(right.rpartition(", ")[2].removesuffix(source))
    assert findings.unfounded(f"{start}L = 0.99 [0.98, 1.00], {right}") == ["0.99", "0.98", "1.00"]
    with pytest.raises(LookupError, match="0 rows"):
        findings.refreshed(f"{start}0.99<!--credit german/mlp scores nobody-->")


@pytest.mark.parametrize("answer", ADVICE.findall(PAGE_NOW), ids=lambda found: " ".join(found[1:3]))
def test_what_is_recommended_is_what_the_rule_says(answer: tuple[str, ...]) -> None:
    name, target, access, tier, wanted = answer
    dataset, model = target.split("/")
    rules = policies.load("default")
    decision = decisions.recommend_by(
        *_evidence(name),
        access,
        rules,
        policies.bars_of(rules, tier, {}),
        tier,
        dataset=dataset,
        model=model,
    )
    chosen = decision.chosen.defense if decision.chosen else "nothing"
    assert chosen == wanted


@cache
def _evidence(name: str) -> tuple[list[pack.Pack], tuple[Source, ...]]:
    packs = [pack.read(PUBLISHED / name)]
    return packs, evidence.read(packs)
