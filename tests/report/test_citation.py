from __future__ import annotations

import datetime as dt

import pytest

from bench.report.citation import bibtex

DIGEST = "0123456789abcdef" * 4
DATE = dt.date(2026, 11, 28)


def read(entry: str) -> tuple[str, str, dict[str, str]]:
    """Type, key and fields of an entry, read as BibTeX does: braces are counted, escaped or not."""
    kind, _, rest = entry.partition("{")
    key, _, rest = rest.partition(",")
    fields: dict[str, str] = {}
    while not rest.lstrip().startswith("}"):
        name, _, rest = rest.partition("=")
        rest = rest.lstrip()
        depth = end = 0
        while depth or rest[end] != ",":
            depth += {"{": 1, "}": -1}.get(rest[end], 0)
            assert depth >= 0, "a brace closes that was not opened"
            end += 1
        fields[name.strip()] = rest[:end]
        rest = rest[end + 1 :]
    assert rest.strip() == "}", "something stands after the entry"
    return kind, key, fields


def test_an_entry_says_what_and_whose_it_is() -> None:
    authors = ["Ada Lovelace", "{The Bench Group}", "Müller and Sons"]
    kind, key, fields = read(
        bibtex("Credit scoring", "1.2", DATE, authors, "https://e.org/a_b?c=d%20e#f", DIGEST)
    )
    assert kind == "@misc"
    assert key == "invbench-credit-scoring-01234567"
    assert fields == {
        "title": "{{Credit scoring}}",
        "author": "{Ada Lovelace and {The Bench Group} and {Müller and Sons}}",
        "year": "{2026}",
        "month": "nov",
        "version": "{1.2}",
        "note": "{Inversion Bench, version 1.2, records 0123456789ab}",
        "url": "{https://e.org/a_b?c=d%20e#f}",
        "digest": f"{{{DIGEST}}}",
    }


def test_what_is_not_known_is_left_out() -> None:
    _, _, fields = read(bibtex("A board", "1", DATE, [], None, DIGEST))
    assert {"author", "url"}.isdisjoint(fields)


@pytest.mark.parametrize("text", ["a } b", "{{{", "a, b = {c", "50 % & $x_1$ #2 \\", "\n@misc{x,"])
def test_no_text_breaks_an_entry(text: str) -> None:
    _, key, fields = read(bibtex(text, text, DATE, [text], "https://e.org/" + text, DIGEST))
    assert list(fields)[:3] == ["title", "author", "year"]
    assert key.startswith("invbench-") and set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert fields["year"] == "{2026}"


def test_boards_and_editions_have_keys_of_their_own() -> None:
    entries = [
        bibtex(title, "1", DATE, [], None, digest)
        for title in ("Credit scoring by labels", "Credit scoring by scores")
        for digest in (DIGEST, DIGEST[::-1])
    ]
    assert len({read(entry)[1] for entry in entries}) == 4
