from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.contract import Card, Outcome, Split, UserError
from bench.data import common


def splits(n: int = 400) -> tuple[Card, Split, common.Indices]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 3))
    card = Card(
        name="toy",
        sector="medical",
        modality="table",
        shape=(3,),
        class_names=("no", "yes"),
        privacy_unit="record",
        source="",
        terms="",
        publishable=False,
    )
    records = Split(
        torch.tensor(x, dtype=torch.float32),
        torch.tensor(rng.integers(0, 2, n)),
        torch.arange(n),
    )
    third = n // 3
    rows = np.split(np.arange(n), [third, 2 * third])
    return card, records, (rows[0], rows[1], rows[2])


def test_strata_keep_their_shares() -> None:
    strata = np.repeat([0, 1], [300, 100])
    rows = common.stratified("toy", strata, 0.5, 0.2, 0)
    assert [len(r) for r in rows] == [200, 120, 80]
    assert sorted(np.concatenate(rows)) == list(range(400))
    assert [strata[r].mean() for r in rows] == pytest.approx([0.25] * 3)
    again = common.stratified("toy", strata, 0.5, 0.2, 0)
    assert all(np.array_equal(a, b) for a, b in zip(rows, again, strict=True))
    assert not np.array_equal(rows[0], common.stratified("toy", strata, 0.5, 0.2, 1)[0])


def test_a_stratum_of_one_is_refused() -> None:
    with pytest.raises(UserError, match="smallest class or group has 1"):
        common.stratified("toy", np.array([0] * 20 + [1]), 0.4, 0.3, 0)


def test_names_in_a_block_of_text() -> None:
    assert common.listed("a b\n  c") == ("a", "b", "c")
    assert common.listed("a b |\n  c", "|") == ("a b", "c")
    block = "\n  x: a b | c |\n    r:d e\n  y-z: 1"
    assert common.columns(block) == {"x": ("a b", "c", "r:d e"), "y-z": ("1",)}


def test_hashes_see_content_type_and_shape(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"12")
    b.write_bytes(b"13")
    assert common.sha256_of_files([a]) == (
        "6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918"
    )
    assert common.sha256_of_files([a]) != common.sha256_of_files([b])
    zeros = np.zeros(4, dtype=np.float32)
    found = {
        common.sha256_of_arrays(zeros),
        common.sha256_of_arrays(zeros.reshape(2, 2)),
        common.sha256_of_arrays(zeros.astype(np.int32)),
        common.sha256_of_arrays(zeros, zeros),
    }
    assert len(found) == 4
    assert common.sha256_of_arrays(torch.zeros(4)) == common.sha256_of_arrays(zeros)


def test_another_copy_is_refused_with_both_hashes_and_the_way_out() -> None:
    with pytest.raises(UserError) as error:
        common.check_sha256("toy", "file 'x'", "e" * 64, "f" * 64)
    for word in ("file 'x'", "e" * 64, "f" * 64, "dataset.toy.sha256=null"):
        assert word in str(error.value)
    common.check_sha256("toy", "file 'x'", None, "f" * 64)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        common.sha256_of_files([tmp_path])


def test_missing_names_path_source_and_data_root(tmp_path: Path) -> None:
    for root in (None, tmp_path):
        sentence = common.missing_path("toy", root, "toy/file.csv", "https://example.org")
        assert sentence is not None
        for word in ("toy/file.csv", "https://example.org", "data_root="):
            assert word in sentence
        with pytest.raises(UserError, match="data_root="):
            common.require_files(sentence, root)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/file.csv").touch()
    assert common.missing_path("toy", tmp_path, "toy/file.csv", "") is None


def test_finish_counts_what_the_protocol_asks_for() -> None:
    card, records, rows = splits()
    facts = common.finish(card, records, rows, sha256="0", split_protocol="thirds", more=1).facts
    assert facts["n_rows"] == 400
    assert (facts["n_train"], facts["n_test"], facts["n_public"]) == (133, 133, 134)
    assert sum(facts["class_counts"]) == 266
    assert 0.9 < facts["label_entropy"] <= 1.0
    assert facts["duplicates_across_splits"] == 0
    assert facts["more"] == 1


def test_equal_records_in_two_splits_are_refused_or_counted() -> None:
    card, records, rows = splits()
    records.x[rows[2][0]] = records.x[rows[0][0]]
    with pytest.raises(UserError, match="1 records in more than one split"):
        common.finish(card, records, rows, sha256="", split_protocol="")
    taken = common.finish(card, records, rows, sha256="", split_protocol="", allow_duplicates=True)
    assert taken.facts["duplicates_across_splits"] == 1


def test_an_outcome_is_counted_by_its_spread() -> None:
    card, records, rows = splits()
    outcome = Outcome("dose", "mg", mean=3.0, scale=2.0)
    card = replace(card, class_names=(), tasks=("regression",), outcome=outcome)
    records = replace(records, y=torch.randn(400, generator=torch.Generator().manual_seed(0)))
    facts = common.finish(card, records, rows, sha256="", split_protocol="").facts
    expected = 2.0 * float(records.y[torch.as_tensor(rows[0])].std())
    assert facts["outcome_std"] == pytest.approx(expected, rel=1e-4)
    assert facts["class_counts"] == []
    assert "label_entropy" not in facts
    with pytest.raises(UserError, match="one outcome only"):
        common.finish(card, replace(records, y=torch.ones(400)), rows, sha256="", split_protocol="")


def test_a_constant_label_is_refused() -> None:
    card, records, rows = splits()
    records.y[:] = 1
    with pytest.raises(UserError, match="one class only"):
        common.finish(card, records, rows, sha256="", split_protocol="")


def test_copies_are_dropped_from_later_parts_only() -> None:
    x = torch.tensor([[0.0], [1.0], [1.0], [2.0], [0.0], [3.0]])
    parts = (np.array([0, 3]), np.array([1, 2]), np.array([4, 5]))
    kept, dropped = common.without_copies(x, *parts)
    assert [part.tolist() for part in kept] == [[0, 3], [1, 2], [5]]
    assert dropped == 1
