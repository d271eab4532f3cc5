"""An attack adapts to a defense where a pair shows it, and declares nothing else (PROTOCOL 3.5)."""

from __future__ import annotations

from statistics import fmean

import pytest

from bench.contract import Attack, Stream
from bench.engine.components import build
from bench.engine.conf import list_options
from bench.engine.config import compose_grid
from tests.adaptive.pair import Case, Pair
from tests.adaptive.pairs import PAIRS, WATCHED

TOLD = {(type(pair.adaptive), pair.adaptive.access, pair.option) for pair in PAIRS}


def _mean(pair: Pair, case: Case, attack: Attack, defense: object) -> float:
    return fmean(case.success(attack, defense, seed) for seed in pair.seeds)


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(pair, id=pair.name, marks=[pytest.mark.slow] if pair.slow else [])
        for pair in PAIRS
    ],
)
def test_the_defense_stops_the_naive_attack_and_not_the_adaptive_one(pair: Pair) -> None:
    naive_case = pair.naive_case or pair.case
    assert _mean(pair, naive_case, pair.naive, pair.defense) <= pair.low
    assert _mean(pair, pair.case, pair.adaptive, pair.defense) >= pair.high
    # What a defense stops must have been a danger.
    assert _mean(pair, naive_case, pair.naive, None) >= 0.8


def _options() -> list[tuple[str, Attack]]:
    rows = compose_grid([f"attack=[{','.join(list_options('attack'))}]"]).options["attack"]
    made = []
    for row in rows:
        layer = {key: value for key, value in row.layers[0].items() if key != "prior"}
        made.append((row.name, build(layer, row.where)))
    return made


def test_no_attack_declares_what_no_pair_shows() -> None:
    unshown = [
        f"{name} declares {defense}"
        for name, attack in _options()
        for defense in attack.adaptive_to
        if (type(attack), attack.access, defense) not in TOLD
    ]
    assert unshown == [], "add a row to tests/adaptive/pairs.py or take the name back"


def test_what_a_pair_shows_is_declared_and_by_the_naive_attack_is_not() -> None:
    known = list_options("defense")
    for pair in PAIRS:
        assert pair.option in known
        if pair in WATCHED:
            continue
        assert pair.option in pair.adaptive.adaptive_to, pair.name
        if pair.naive_case is None:
            assert pair.option not in pair.naive.adaptive_to, pair.name


def test_a_stream_declares_what_a_pair_shows() -> None:
    shown = {pair.option for pair in WATCHED}
    assert set(Stream(accounts=10_000, per_account=15).adaptive_to) <= shown
    assert Stream().adaptive_to == Stream(accounts=10_000).adaptive_to == ()
