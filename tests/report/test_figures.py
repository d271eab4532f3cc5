from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.contract import UserError
from bench.report import boards, figures, frame
from bench.report.closure import BoardKey
from tests.report import fake_records as fake

WEIGHTS = BoardKey("face", "faces", "mlp", "class_representative", "weights")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    table = frame.build(fake.build(3, ("faces",)), "smoke")
    return figures.drawable(boards.build(table), table)[WEIGHTS]


def texts(svg: bytes) -> list[str]:
    return re.findall(r">([a-z_]+(?:\[[^<]*\])?)</text>", svg.decode())


def test_a_board_is_drawn_in_every_format() -> None:
    table = frame.build(fake.build(2, ("baskets",)), "smoke")
    found = boards.build(table)
    files = figures.files(found, table)
    assert list(files) == [
        f"baskets-mlp-output-reconstruction-{access}.{form}"
        for access in ("labels", "scores")
        for form in figures.FORMATS
    ]
    svg, pdf, png = list(files.values())[:3]
    ElementTree.fromstring(svg)
    assert pdf.startswith(b"%PDF")
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (1005, 825)  # a column at 300 dots an inch


def test_same_rows_same_bytes_and_no_date(rows: pd.DataFrame) -> None:
    first, second = figures.draw(rows), figures.draw(rows.copy())
    assert first == second
    assert b"<dc:date>" not in first["svg"] and b"CreationDate" not in first["pdf"]


def test_rows_without_effect_are_left_out(rows: pd.DataFrame) -> None:
    assert not rows["defense"].isin(["label_only", "top_k[k=3]"]).any()
    names = texts(figures.draw(rows, ["svg"])["svg"])
    assert {"none", "dp_sgd[epsilon=1]", "dp_sgd[epsilon=8]"} <= set(names)


def test_text_stays_text_and_cannot_break_the_file(rows: pd.DataFrame) -> None:
    name = "</text><script>alert(1)</script>$\\frac{x$"
    hostile = rows.replace({"defense": {"none": name}})
    svg = figures.draw(hostile.assign(utility=[*rows["utility"][:-1], 2.0]), ["svg"])["svg"]
    assert b"<script" not in svg
    ElementTree.fromstring(svg)


def test_many_rows_are_named_no_more_than_can_be_read() -> None:
    count = 40
    table = pd.DataFrame(
        {
            "defense": ["none", *(f"d{chr(97 + i % 26)}[s={i}]" for i in range(count))],
            "utility": np.linspace(0.9, 0.8, count + 1),
            "L": np.linspace(0.9, 0.1, count + 1),
            "utility_metric": "accuracy",
            "against": "none",
            "family": ["none", *(f"f{i}" for i in range(count))],
        }
    ).assign(L_lo=np.nan, L_hi=np.nan, utility_lo=np.nan, utility_hi=np.nan)
    names = texts(figures.draw(table, ["svg"])["svg"])
    assert len(names) == figures.LABELS and "none" in names


def test_families_differ_in_grey(rows: pd.DataFrame) -> None:
    image = Image.open(io.BytesIO(figures.draw(rows, ["png"])["png"])).convert("L")
    assert np.asarray(image).min() < 60 and len(set(figures._MARKS)) == 10


def test_one_row_without_intervals_can_be_drawn(rows: pd.DataFrame) -> None:
    ends = ["L_lo", "L_hi", "utility_lo", "utility_hi"]
    one = rows[rows["defense"] == "none"].assign(**dict.fromkeys(ends, np.nan))
    assert texts(figures.draw(one, ["svg"])["svg"]) == ["none"]


def test_an_unknown_format_is_refused() -> None:
    table = frame.build(fake.build(1, ("baskets",)), "smoke")
    with pytest.raises(UserError, match="no format 'gif'; allowed: svg, pdf, png"):
        figures.files(boards.build(table), table, ["gif"])


def test_frontier_keeps_what_nothing_beats() -> None:
    x, y = np.array([0.9, 0.8, 0.7, 0.85, 0.9]), np.array([0.5, 0.3, 0.4, 0.6, 0.6])
    assert figures.frontier(x, y) == [1, 0]


def test_pieces_of_a_falling_line_are_boxes() -> None:
    pieces = figures._pieces(np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    assert pieces.shape == (12, 2, 2)
    np.testing.assert_allclose(pieces[0], [[0, 11 / 12], [1 / 12, 1]])
