"""Interactions of your own: who took what, in a long table or a basket a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge, Le
from scipy.sparse import csr_matrix

from bench.contract import Count, nearest, require, sparse
from bench.contract.options import NonNegative
from bench.data.events import Codes, Events
from bench.data.interaction_files import ROLES, Layout, basket_a_line, read_events
from bench.data.stored_baskets import Purchases, SegmentedBaskets

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Interactions(SegmentedBaskets):
    """Records are users, as 0/1 vectors over the items; class = segment, found by k-means.

    Layouts, told by the end of the file's name (``layout=auto``) or named:

    - ``table``: ``.csv``, ``.tsv`` or ``.parquet`` with columns for the user and the item and, if
      you like, a rating and a timestamp; columns with usual names (``user``, ``userId``,
      ``item_id``, ``movieId``, ``rating``, ``timestamp``) are found, others are named by options;
    - ``recbole``: ``.inter`` with a typed header, ``user_id:token``, ``item_id:token``;
    - ``movielens``: ``u.data`` (tabs) or ``ratings.dat`` (``::``), without a header;
    - ``baskets``: ``.dat``, ``.txt`` or ``.basket``, a basket a line (FIMI, SPMF), items separated
      by commas or else by blanks; every line is a user.

    A line that is not as it should be is refused by its number. What the options leave out is
    counted in the facts: first ratings below ``least_rating``, then items beyond ``item_cap``, then
    users and items outside the core. An item that a user took twice counts once.

    Where work on dense records would take more than ``dense_gib``, for the records and for the
    matrices of item by item that models and attacks hold, they are kept in compressed rows, and
    only models and attacks that can read these take part.

    Attributes:
        file: a full path, or one below the data root.
        layout: how it is laid out.
        user: column of the user; None: one with a usual name. So ``item``, ``rating``,
            ``timestamp``.
        item: column of the item.
        rating: column of the rating.
        timestamp: column of the time; it is checked, and nothing else.
        least_rating: lowest rating that counts; None: all do.
        item_cap: only so many items, the most popular ones; None: all.
        min_users: only items that so many users took.
        min_items: only users who took so many items.
        sensitive_items: items whose recovery weighs most; empty: every fourth of the rarer half.
        segments: number of classes.
        dense_gib: most GiB that work on dense records may take.
        name: of the data set, on boards and in cards.
        sector: your word for what it is about.
        source: where it is from.
        terms: licence or terms.
        publishable: whether a published report may show records.
    """

    file: str = "interactions/interactions.csv"
    layout: Layout = "auto"
    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    least_rating: float | None = None
    item_cap: Annotated[int, Ge(2)] | None = None
    min_users: Count = 1
    min_items: Count = 1
    sensitive_items: tuple[str, ...] = ()
    segments: Annotated[int, Ge(2), Le(100)] = 10
    dense_gib: NonNegative = 1.0
    name: str = "interactions"
    sector: str = "retail"  # type: ignore[misc]
    source: str = "not stated"
    terms: str = "not stated"
    publishable: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            bool(self.name.strip()) and not set(self.name) & set("/[]"),
            f"dataset.interactions.name is {self.name!r}; it names boards and trials: use letters, "
            "digits, blanks and dashes, no '/', '[' or ']'.",
        )

    @property
    def called(self) -> str | None:
        """As the option ``name`` says."""
        return None if self.name == "interactions" else self.name

    @property
    def unit(self) -> str:  # type: ignore[override]
        """A person is one record, of a basket a line the basket."""
        return "record" if basket_a_line(Path(self.file), self.layout) else "person"

    # ------------------------------------------------------------ files
    def _base(self, data_root: Path | None) -> Path | None:
        """The data root; a full path needs none."""
        return Path("/") if data_root is None and Path(self.file).is_absolute() else data_root

    def files(self, data_root: Path | None) -> Mapping[str, Path | Sequence[Path]]:
        """Its file; see the base class."""
        return super().files(self._base(data_root))

    def missing(self, data_root: Path | None) -> str | None:
        """Whether the file is not there; see the base class."""
        if super().missing(self._base(data_root)) is None:
            return None
        where = self.file if data_root is None else data_root / self.file
        return (
            f"Data set 'interactions' needs your file '{where}', which is missing: give its full "
            "path, or one below data_root=FOLDER, with dataset.interactions.file=FILE."
        )

    def _root(self, data_root: Path | None) -> Path:
        return super()._root(self._base(data_root))

    # ------------------------------------------------------------ records
    def kept_sparse(self, data_root: Path | None) -> str | None:
        """What dense records would take, where that is too much; see the base class."""
        base = self._base(data_root)
        if base is None or not (base / self.file).is_file():
            return None
        bought = self._bought(base / self.file).matrix
        if not self._too_large(bought.shape):
            return None
        n, items = bought.shape
        return (
            f"{n:,} x {items:,} would take {_dense_bytes(n, items) / 2**30:.2g} GiB to work on; "
            "lower dataset.interactions.item_cap, or raise dataset.interactions.dense_gib "
            f"({self.dense_gib:g})"
        )

    def understood(self, data_root: Path | None) -> dict[str, list[dict[str, Any]] | list[str]]:
        """What was read and what every step left out, for ``invbench data verify``."""
        bought = self._bought(self._root(data_root) / self.file)
        facts, sides = bought.facts, ("users", "items", "interactions")
        steps: list[dict[str, Any]] = [{"step": "read", **{k: facts[f"{k}_read"] for k in sides}}]
        for step in ("least_rating", "item_cap", "core"):
            if f"removed_by_{step}" in facts:
                steps.append({"step": f"removed by {step}", **facts[f"removed_by_{step}"]})
        steps.append({"step": "kept", **{k: facts[f"{k}_kept"] for k in sides}})
        size = np.diff(bought.matrix.indptr)
        lines = [
            f"layout {facts['layout']}; columns not read: {facts['columns_unread'] or 'none'}",
            f"{facts['duplicates_collapsed']} interactions that a user had already count once",
            f"items a user: {size.mean():.1f} on average, {size.min()} to {size.max()}",
            f"first items: {', '.join(bought.items[:5])}",
        ]
        large = self.kept_sparse(data_root)
        if large:
            lines.append(f"kept in compressed rows, since dense records {large}")
        sections: dict[str, list[dict[str, Any]] | list[str]] = {"steps": steps, "reading": lines}
        alone = int((size == 1).sum())
        if 2 * alone > len(size):
            sections["warnings"] = [
                f"{alone} of {len(size)} users have one item: is '{self.file}' a list of items, or "
                "the user's column another one?"
            ]
        return sections

    def _too_large(self, shape: tuple[int, int]) -> bool:
        return _dense_bytes(*shape) > self.dense_gib * 2**30

    def _bought(self, path: Path) -> Bought:
        named = tuple(getattr(self, role) for role in ROLES)
        limits = (self.least_rating, self.item_cap, self.min_users, self.min_items)
        state = (path.stat().st_mtime_ns, path.stat().st_size)
        return _selected(path, self.layout, named, limits, state)

    def _read(self, path: Path, seed: int) -> Purchases:
        bought = self._bought(path)
        for item in self.sensitive_items:
            require(
                item in bought.items,
                f"dataset.interactions.sensitive_items names '{item}', which is not among the "
                f"{len(bought.items)} items that are kept."
                + (nearest(item, bought.items) if len(bought.items) <= 50 else ""),
            )
        place = {item: i for i, item in enumerate(bought.items)}
        sensitive = tuple(sorted(place[item] for item in self.sensitive_items))
        x = sparse.compressed(bought.matrix)
        large = self._too_large(bought.matrix.shape)
        return Purchases(
            x if large else sparse.dense(x),
            torch.arange(len(x)),
            bought.items,
            f"users with {self.min_items} items or more that {self.min_users} users or more took",
            sensitive or None,
            facts={**bought.facts, "kept_sparse": large},
        )


def _dense_bytes(n: int, items: int) -> int:
    """Memory that records take, and about eight matrices of item by item in float64."""
    return 4 * n * items + 8 * 8 * items**2


@dataclass(frozen=True)
class Bought:
    """What is left of a file.

    Attributes:
        matrix: 0/1 ``[users, items]``, compressed rows.
        items: names of the items.
        facts: what was counted, and what every step left out.
    """

    matrix: Any
    items: tuple[str, ...]
    facts: Mapping[str, Any]


Limits = tuple[float | None, int | None, int, int]


@lru_cache(maxsize=1)
def _selected(
    path: Path,
    layout: Layout,
    named: tuple[str | None, ...],
    limits: Limits,
    state: tuple[int, int],
) -> Bought:
    """What is left of a file as it is in this ``state``: a plan and its seeds read it once."""
    return select(read_events(path, layout, dict(zip(ROLES, named, strict=True))), *limits)


def select(
    events: Events, least_rating: float | None, item_cap: int | None, min_users: int, min_items: int
) -> Bought:
    """Ratings that count, each item of a user once, the popular items, and their core.

    Raises:
        UserError: a rating is asked for and there is none, or fewer than ten users or two items
            are left.
    """
    user, item = events.user, events.item
    shape = (len(events.users), len(events.items))
    facts = {**events.facts, "interactions_read": len(user)}
    facts |= {"users_read": shape[0], "items_read": shape[1]}
    if least_rating is not None:
        require(
            events.rating is not None,
            f"dataset.interactions.least_rating is {least_rating:g}, and the file has no rating; "
            "name its column with dataset.interactions.rating=COLUMN, or leave least_rating out.",
        )
        assert events.rating is not None
        kept = events.rating >= least_rating
        facts["removed_by_least_rating"] = _removed(user, item, kept)
        user, item = user[kept], item[kept]
    pairs = np.unique(user.astype(np.int64) * shape[1] + item)
    facts["duplicates_collapsed"] = len(user) - len(pairs)
    user, item = (pairs // shape[1]).astype(np.int32), (pairs % shape[1]).astype(np.int32)
    if item_cap is not None:
        count = np.bincount(item, minlength=shape[1])
        popular = np.zeros(shape[1], bool)
        popular[np.argsort(-count, kind="stable")[:item_cap]] = True
        facts["removed_by_item_cap"] = _removed(user, item, popular[item])
        user, item = user[popular[item]], item[popular[item]]
    kept = core(user, item, min_items, min_users)
    facts["removed_by_core"] = _removed(user, item, kept)
    who, row = np.unique(user[kept], return_inverse=True)
    what, column = np.unique(item[kept], return_inverse=True)
    require(
        len(who) >= 10 and len(what) >= 2,
        f"Data set 'interactions': {len(who)} users and {len(what)} items are left with "
        f"least_rating={least_rating}, item_cap={item_cap}, min_users={min_users}, "
        f"min_items={min_items}; lower these until ten users and two items stay.",
    )
    facts |= {"interactions_kept": len(row), "users_kept": len(who), "items_kept": len(what)}
    ones = np.ones(len(row), np.float32)
    matrix = csr_matrix((ones, (row, column)), (len(who), len(what)))
    return Bought(matrix, tuple(events.items[i] for i in what), facts)


def core(user: Codes, item: Codes, min_items: int, min_users: int) -> Mask:
    """The largest part in which each user has ``min_items`` and each item ``min_users``.

    Args:
        user: int32 ``[m]``; no pair of user and item stands twice.
        item: int32 ``[m]``.
        min_items: items that a user must have within the part.
        min_users: users that an item must have within the part.

    Returns:
        Which interactions belong to it, bool ``[m]``.
    """
    kept = np.ones(len(user), np.bool_)
    while True:
        enough = kept.copy()
        for part, least in ((user, min_items), (item, min_users)):
            enough &= np.bincount(part[kept], minlength=int(part.max(initial=0)) + 1)[part] >= least
        if (enough == kept).all():
            return kept
        kept = enough


def _removed(user: Codes, item: Codes, kept: Mask) -> dict[str, int]:
    """How many users, items and interactions go with those that are not kept."""
    return {
        "users": len(np.unique(user)) - len(np.unique(user[kept])),
        "items": len(np.unique(item)) - len(np.unique(item[kept])),
        "interactions": int((~kept).sum()),
    }
