"""What every loader does: hash, split, count, refuse."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from bench.contract import (
    Card,
    Split,
    Splits,
    UserError,
    check_splits,
    duplicates_across,
    require,
)

Ints = npt.NDArray[np.int64]
Indices = tuple[Ints, Ints, Ints]
"""Row numbers of train, test, public."""


# ---------------------------------------------------------------- lists of names
def listed(text: str, by: str | None = None) -> tuple[str, ...]:
    """The names in a block of text.

    Args:
        text: names, in any number of lines.
        by: what stands between two names; None: a blank or the end of a line.
    """
    return tuple(" ".join(name.split()) for name in text.split(by))


def columns(text: str) -> dict[str, tuple[str, ...]]:
    """The values of columns: ``COLUMN: VALUE | VALUE``, where values may go on in the next line."""
    parts = re.split(r"\n\s*(?=[\w-]+:\s)", text.strip())
    lines = (part.partition(":") for part in parts)
    return {column: listed(values, "|") for column, _, values in lines}


# ---------------------------------------------------------------- files
def missing_path(name: str, data_root: Path | None, path: str, source: str) -> str | None:
    """One sentence saying that ``data_root/path`` is not there; None if it is.

    Args:
        name: the data set.
        data_root: folder of data sets, None if none was given.
        path: file or folder below it.
        source: where to get it.
    """
    if data_root is not None and (data_root / path).exists():
        return None
    where = Path(path) if data_root is None else data_root / path
    return (
        f"Data set '{name}' needs '{where}', which is missing: get it from {source}, keep it as "
        f"'{path}' in a folder of data sets and name that folder with data_root=FOLDER."
    )


def require_files(missing: str | None, data_root: Path | None) -> Path:
    """The data root, or a UserError made of the ``missing`` sentence."""
    require(missing is None and data_root is not None, missing or "data_root is not set.")
    assert data_root is not None
    return data_root


def sha256_of_files(paths: Iterable[Path]) -> str:
    """Content hash of files in the given order; names and dates do not enter.

    Raises:
        UserError: one of them cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise UserError(
                f"'{path}' cannot be read ({error.strerror}); it must be a file that this user "
                "may read: check data_root."
            ) from error
    return digest.hexdigest()


def sha256_of_arrays(*arrays: npt.NDArray[Any] | Tensor) -> str:
    """Content hash of arrays: type, shape and little-endian values."""
    digest = hashlib.sha256()
    for item in arrays:
        array = np.ascontiguousarray(item.numpy() if isinstance(item, Tensor) else item)
        array = array.astype(array.dtype.newbyteorder("<"))
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_sha256(name: str, what: str, expected: str | None, sha256: str) -> None:
    """Refuse another copy of the data than the one results are comparable with.

    Args:
        name: the data set.
        what: the file, folder or array that was hashed.
        expected: 64 hex digits; None: any copy is accepted.
        sha256: of the copy that is there, 64 hex digits.

    Raises:
        UserError: the hashes differ.
    """
    require(
        expected is None or expected == sha256,
        f"Data set '{name}': {what} has sha256 {sha256}, expected {expected}; it is another or a "
        "damaged copy, and results on it would not be comparable. Get the copy named in its "
        f"source, or accept this one with dataset.{name}.sha256=null (recorded, not checked).",
    )


def check_sha256_option(name: str, value: str | None) -> None:
    """Refuse a ``sha256`` option that is no hash."""
    require(
        value is None or (len(value) == 64 and set(value) <= set("0123456789abcdef")),
        f"dataset.{name}.sha256 is '{value}'; allowed: 64 lower-case hex digits, or null to "
        "accept any copy.",
    )


# ---------------------------------------------------------------- splitting
def stratified(name: str, strata: Ints, train: float, public: float, seed: int) -> Indices:
    """Split rows into train, test and public with equal shares of every stratum.

    Args:
        name: the data set, for the error message.
        strata: int64 ``[n]``.
        train: share of the rows, in (0, 1).
        public: share of the rows, in (0, 1).
        seed: decides who goes where.

    Raises:
        UserError: a stratum has too few rows to stand in every split.
    """
    n, rows = len(strata), np.arange(len(strata))
    try:
        rest, of_public = train_test_split(
            rows, test_size=round(public * n), stratify=strata, random_state=seed
        )
        of_train, of_test = train_test_split(
            rest, train_size=round(train * n), stratify=strata[rest], random_state=seed
        )
    except ValueError as error:
        _, counts = np.unique(strata, return_counts=True)
        require(
            False,
            f"Data set '{name}' cannot be split with train={train}, public={public}: {n} records, "
            f"the smallest class or group has {counts.min()} ({error}) Every group of equal class "
            "and sensitive value needs about 4: join small groups or leave them out.",
        )
    return of_train, of_test, of_public


def without_copies(x: Tensor, *parts: Ints) -> tuple[list[Ints], int]:
    """Drop from each part the records that an earlier part holds too, bit for bit.

    Args:
        x: records ``[n, *shape]``.
        *parts: row numbers; the first part stays whole.

    Returns:
        The parts that are left, in the same order, and how many rows were dropped.
    """
    values = x.contiguous().numpy()
    seen: set[bytes] = set()
    kept = []
    for part in parts:
        keys = [hashlib.sha256(values[row]).digest() for row in part]
        kept.append(part[[key not in seen for key in keys]] if seen else part)
        seen.update(keys)
    return kept, sum(map(len, parts)) - sum(map(len, kept))


# ---------------------------------------------------------------- the end of every loader
def finish(
    card: Card,
    records: Split,
    rows: Indices,
    *,
    sha256: str,
    split_protocol: str,
    allow_duplicates: bool = False,
    fillers: Split | None = None,
    **more: Any,
) -> Splits:
    """Take the splits, check them and count what PROTOCOL C9 asks for.

    ``class_counts`` and ``label_entropy`` (bits) are of the labels; where a number is predicted
    there are no classes, and ``outcome_std`` (in its unit) says that it is no constant.

    Args:
        card: the public description.
        records: all records.
        rows: row numbers of train, test, public.
        sha256: content hash of the source.
        split_protocol: one sentence saying how the split was made.
        allow_duplicates: whether equal records may stand in two splits (baskets of few items
            repeat naturally); they are counted in either case.
        fillers: pictures of people whom only judges see; none at all is None.
        **more: further facts.

    Raises:
        UserError: what :func:`bench.contract.check_splits` refuses, or equal records in two
            splits where they are not allowed.
    """
    train, test, public = (records.take(torch.as_tensor(index)) for index in rows)
    spared = fillers if fillers is not None and len(fillers) else None
    splits = Splits(card, train, test, public, fillers=spared)
    check_splits(splits)
    shared = duplicates_across(splits)
    require(
        allow_duplicates or shared == 0,
        f"Data set '{card.name}' has {shared} records in more than one split; "
        "drop the duplicates from its source.",
    )
    facts: dict[str, Any] = {
        "sha256": sha256,
        "n_rows": len(records),
        "n_train": len(train),
        "n_test": len(test),
        "n_public": len(public),
        "duplicates_across_splits": shared,
        "split_protocol": split_protocol,
    }
    if spared is not None:
        facts |= {"n_fillers": len(spared), "n_people_fillers": len(torch.unique(spared.y))}
    if card.outcome is None:
        y = torch.cat([train.y, test.y])
        share = torch.bincount(train.y, minlength=card.n_classes).double() / len(train)
        facts["class_counts"] = torch.bincount(y, minlength=card.n_classes).tolist()
        facts["label_entropy"] = float(torch.special.entr(share).sum() / np.log(2))
    else:
        facts["class_counts"] = []  # A number has none.
        facts["outcome_std"] = float(card.outcome.natural(train.y).std())
    return replace(splits, facts=facts | more)
