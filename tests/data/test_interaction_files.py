"""Every layout of one set of interactions reads as the same set, and a wrong line has a number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.contract import UserError
from bench.data.events import Events
from bench.data.interaction_files import Layout, read_events

ROWS = [
    ("1", "b", 4.0, 100),
    ("2", "a", 2.5, 90),
    ("10", "b", 0.5, 80),
    ("1", "a", 5.0, 70),
    ("2", "a", 3.0, 60),
]
NAMED: dict[str, str | None] = dict.fromkeys(("user", "item", "rating", "timestamp"))


def read(path: Path, content: str | bytes, layout: Layout = "auto", **named: str) -> Events:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_events(path, layout, NAMED | named)


def lines(separator: str, head: str = "", rows: list[tuple[object, ...]] | None = None) -> str:
    body = [separator.join(map(str, row)) for row in (ROWS if rows is None else rows)]
    return "\n".join([*([head] if head else []), *body]) + "\n"


def pairs(events: Events) -> list[tuple[str, str, float]]:
    assert events.rating is not None
    return [
        (events.users[u], events.items[i], r)
        for u, i, r in zip(events.user, events.item, events.rating, strict=True)
    ]


TEXTS = [
    ("a.csv", lines(",", "userId,movieId,rating,timestamp")),
    ("a.csv", lines(";", "user;item;rating;timestamp")),
    ("a.csv", "\ufeff" + lines(",", '"user", "item","rating",time').replace("\n", "\r\n")),
    ("a.tsv", lines("\t", "user_id\titem_id\trating\ttimestamp")),
    ("a.inter", lines("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float")),
    ("u.data", lines("\t")),
    ("ratings.dat", lines("::")),
    (
        "a.csv",
        lines(",", "kind,user,item,rating", [("view", *row[:3]) for row in ROWS]),
    ),
]


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_every_layout_reads_the_same(name: str, text: str, tmp_path: Path) -> None:
    events = read(tmp_path / name, text)
    assert events.users == ("1", "2", "10"), "whole numbers in their order"
    assert pairs(events) == [row[:3] for row in ROWS]


def test_parquet_reads_as_the_text_does(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=["user", "item", "rating", "timestamp"])
    for column in (frame["user"], frame["user"].astype(int), frame["user"].astype("category")):
        frame.assign(user=column).to_parquet(tmp_path / "a.parquet")
        assert pairs(read_events(tmp_path / "a.parquet", "auto", NAMED)) == [r[:3] for r in ROWS]
    for bad, words in (
        (frame.assign(user=frame["user"].astype(float)), "texts or whole numbers"),
        (frame.assign(item=[None, *frame["item"][1:]]), "record 1 has no item"),
        (frame.assign(rating=[1, 2, np.inf, 4, 5]), "record 3 has the rating 'inf'"),
    ):
        bad.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(UserError, match=words):
            read_events(tmp_path / "a.parquet", "auto", NAMED)
    (tmp_path / "a.parquet").write_bytes(b"user,item\n1,2\n")
    with pytest.raises(UserError, match="no Parquet file"):
        read_events(tmp_path / "a.parquet", "auto", NAMED)


@pytest.mark.parametrize("text", ["1 5 9\n5\n9 1\n", "1,5,9\n5\n9,1\n", "1, 5 ,9\r\n5\r\n9,1"])
def test_baskets_are_a_user_a_line(text: str, tmp_path: Path) -> None:
    events = read(tmp_path / "retail.dat", text)
    long = read(tmp_path / "a.csv", "user,item\n1,1\n1,5\n1,9\n2,5\n3,9\n3,1\n")
    assert (events.users, events.items) == (long.users, long.items)
    assert events.user.tolist() == long.user.tolist()
    assert events.item.tolist() == long.item.tolist()


HEAD = "user,item,rating\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "line 1 is empty"),
        ("a.csv", HEAD, "holds no interactions"),
        ("a.csv", "1,31,2.5\n", "no column that may be the user"),
        ("a.csv", "user,userId,item\n1,2,3\n", "several columns that may be the user"),
        ("a.csv", "user,item,user\n1,2,3\n", "twice"),
        ("a.csv", HEAD + "1,2,3\n1,2\n", "line 3 has 2 fields, it must have 3"),
        ("a.csv", HEAD + "1,2,3,\n", "line 2 has 4 fields"),
        ("a.csv", HEAD + "1,2,3\n\n1,3,3\n", "line 3 is empty"),
        ("a.csv", HEAD.encode() + b"1,caf\xe9,3\n", "line 2 is not UTF-8"),
        ("a.csv", HEAD + "1,2,3\n ,2,3\n", "line 3 has an empty user"),
        ("a.csv", HEAD + "1,,3\n", "line 2 has an empty item"),
        ("a.csv", HEAD + "1,2,-1\n", "line 2 has the rating '-1'"),
        ("a.csv", HEAD + "1,2,3\n1,3,nan\n", "line 3 has the rating 'nan'"),
        ("a.csv", HEAD + "1,2,good\n", "line 2 has the rating 'good'"),
        ("a.csv", HEAD + "1,2,\n", "line 2 has the rating ''"),
        ("a.inter", "user_id\titem_id:token\n1\t2\n", "a name and a type"),
        ("a.inter", "user_id:float\titem_id:token\n1\t2\n", "must be 'user_id:token'"),
        ("u.data", "1\t2\t3\t4\t5\n", "line 1 has 5 fields"),
        ("ratings.dat", "1::2::3::4\n1::2::3\n", "line 2 has 3 fields"),
        ("a.dat", "", "holds no baskets"),
        ("a.dat", "1 2\n\n3\n", "line 2 is empty"),
        ("a.dat", "1 2\n3,4\n", "line 2 holds a comma"),
        ("a.dat", "1,2\n3,,4\n", "line 2 has an empty item"),
        ("a.dat", "1,2,\n", "line 1 has an empty item"),
        ("a.dat", b"1 2\n\xff\n", "line 2 is not UTF-8"),
        ("a.dat", "@ITEM=1=apple\n1 2\n", "line 1 begins with '@'"),
        ("a.txt", "1 -1 2 -1 -2\n", "SPMF"),
        ("a.xlsx", "1 2\n", "tells no layout"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(
    name: str, content: str | bytes, words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        read(tmp_path / name, content)


def test_columns_may_be_named(tmp_path: Path) -> None:
    text = "who,what,when\n1,b,3\n"
    events = read(tmp_path / "a.csv", text, user="who", item="what")
    assert events.facts["columns_unread"] == ["when"] and events.rating is None
    with pytest.raises(UserError, match="no column 'whom'"):
        read(tmp_path / "a.csv", text, user="whom", item="what")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.text("1a,;\t\"'\n\r é:.-", max_size=40),
    name=st.sampled_from(["a.csv", "a.inter", "u.data", "a.dat"]),
    headed=st.booleans(),
)
def test_any_text_is_read_or_refused_in_a_sentence(
    text: str, name: str, headed: bool, tmp_path: Path
) -> None:
    head = {"a.csv": "user,item\n", "a.inter": "user:token\titem:token\n"}.get(name, "")
    try:
        events = read(tmp_path / name, head * headed + text)
    except UserError as error:
        assert name in str(error)
        return
    assert len(events.user) == len(events.item) > 0
    assert all(name.strip() for name in (*events.users, *events.items))
