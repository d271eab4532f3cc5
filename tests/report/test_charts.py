"""Figures of the site as data."""

from __future__ import annotations

import html
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.report import boards, closure, frame
from bench.report.site import charts, details
from tests.report import fake_records as fake

KEY = closure.BoardKey("face", "faces", "mlp", "class_representative", "weights")


def called(_: str, name: str) -> str:
    return html.escape(name)


@pytest.fixture(scope="module")
def found() -> boards.Boards:
    return boards.build(frame.build(fake.build(3, ("faces",)), "smoke"))


def of_seeds(found: boards.Boards, rows: pd.DataFrame) -> pd.DataFrame:
    mine = (found.seeds[boards.BOARD] == list(KEY)).all(axis=1)
    return details.seeds(found.seeds[mine], rows)


def plane(rows: pd.DataFrame) -> Any:
    rows = rows.assign(family=rows["defense"].str.split("[", n=1).str[0])
    return charts.plane(rows, "accuracy", {d: ["training"] for d in rows["defense"]}, called)


def test_a_trace_per_family_that_acts_and_the_reference_on_top(found: boards.Boards) -> None:
    rows = dict(iter(found))[KEY]
    traces = plane(rows)["data"]
    families = [trace.get("meta") for trace in traces]
    assert families == [None, "dropout", "freezing", "label_smoothing", "dp_sgd", "none"]
    weakest = traces[4]
    assert weakest["customdata"] == ["dp_sgd[epsilon=1]", "dp_sgd[epsilon=8]"]
    row = rows[rows["defense"] == "dp_sgd[epsilon=1]"].iloc[0]
    assert weakest["y"][0] == pytest.approx(row["L"], rel=1e-5)
    above = weakest["y"][0] + weakest["error_y"]["array"][0]
    assert above == pytest.approx(row["L_hi"], rel=1e-4)


def test_a_figure_is_json_without_colours_of_its_own(found: boards.Boards) -> None:
    for figure in (
        plane(dict(iter(found))[KEY]),
        charts.strip(of_seeds(found, dict(iter(found))[KEY]), ["none", "dropout"], called),
    ):
        text = json.dumps(figure, allow_nan=False)
        assert "#" not in text and "rgb" not in text and "var(--" in text


def test_nothing_to_draw_is_no_figure(found: boards.Boards) -> None:
    rows = dict(iter(found))[KEY]
    assert plane(rows.assign(L=np.nan)) is None
    seeds = of_seeds(found, rows)
    assert charts.strip(seeds.assign(L=np.nan), ["none"], called) is None


@pytest.mark.parametrize(
    ("x", "y", "front"),
    [
        ([0.9, 0.8, 0.7], [0.5, 0.2, 0.3], [1, 0]),
        ([0.9, 0.9], [0.5, 0.4], [1]),
        ([0.5], [0.5], [0]),
        ([0.6, 0.7, 0.8], [0.1, 0.2, 0.3], [0, 1, 2]),
    ],
)
def test_the_front_is_what_no_point_beats_on_both_axes(
    x: list[float], y: list[float], front: list[int]
) -> None:
    assert charts.frontier(np.array(x), np.array(y)) == front


def test_every_seed_of_the_worst_attack_is_a_point_of_its_line(found: boards.Boards) -> None:
    rows = dict(iter(found))[KEY]
    figure = charts.strip(of_seeds(found, rows), list(rows["defense"]), called)
    assert figure is not None and not figure["cut"]
    points = [y for trace in figure["data"] for y in trace["y"]]
    assert sorted(points) == sorted(3 * list(rows["defense"]))
    assert figure["layout"]["yaxis"]["categoryarray"][-1] == rows["defense"].iloc[0]


def test_a_long_strip_is_cut_and_says_so(
    found: boards.Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "MOST_STRIPS", 2)
    rows = dict(iter(found))[KEY]
    figure = charts.strip(of_seeds(found, rows), list(rows["defense"]), called)
    assert figure is not None and figure["cut"]
    assert len(figure["layout"]["yaxis"]["categoryarray"]) == 2


def test_markup_in_a_name_is_no_markup_in_a_figure(found: boards.Boards) -> None:
    rows = dict(iter(found))[KEY]
    rows = rows.assign(defense=rows["defense"].str.replace("dropout", "<b>&"))
    figure = plane(rows)
    texts = [label for trace in figure["data"] for label in trace.get("text", [])]
    assert any(label.startswith("&lt;b&gt;&amp;<br>") for label in texts)


def test_leakage_rises_with_the_queries_of_stronger_attacks(found: boards.Boards) -> None:
    key = KEY._replace(access="scores")
    rows = dict(iter(found))[key]
    attacks = found.attacks[(found.attacks[boards.BOARD] == list(key)).all(axis=1)]
    asking = attacks[attacks["defense"] == "none"].iloc[:1]
    # The second asks more and is weaker: it is no step.
    spent = [(10.0, 0.15), (100.0, 0.1), (1000.0, 0.5)]
    ladder = pd.concat([asking.assign(queries=queries, L=leak) for queries, leak in spent])
    figure = charts.asked(rows, ladder, called)
    assert figure is not None
    [line] = figure["data"]
    assert line["x"] == [10.0, 1000.0, 1000.0] and line["y"] == [0.15, 0.5, 0.5]
    assert charts.asked(rows, ladder.assign(queries=0.0), called) is None
    weights = dict(iter(found))[KEY]
    assert charts.asked(weights, ladder, called) is None
