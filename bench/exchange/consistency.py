"""Whether what a pack states follows from its own records: no model is trained for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.contract.errors import require
from bench.contract.identity import PROTOCOL_VERSION
from bench.exchange import recheck
from bench.exchange.pack import Pack
from bench.exchange.recheck import Claim, Ends, Sums
from bench.report import boards, families, frame, tables
from bench.report.boards import Boards

LEADERBOARD, MARKDOWN = "leaderboard.csv", "leaderboard.md"


@dataclass(frozen=True)
class Stated:
    """What a pack states, held against its own records.

    Attributes:
        wrong: a sentence for everything that does not follow from the records.
        looked_at: what was compared, in words.
        ends: where one more seed of each row should fall, by
            :func:`bench.exchange.recheck.predicted`.
    """

    wrong: tuple[str, ...]
    looked_at: str
    ends: Mapping[tuple[str, ...], Ends]


def stated(pack: Pack) -> Stated:
    """Hold what a pack states against its own records; no model is trained for it.

    Raises:
        UserError: its records are damaged, or its rows may not share a board.
    """
    claims = [recheck.claim(record) for record in pack.records]
    old = _protocol(claims)
    if old:
        return Stated(old, "not looked at", {})
    table = frame.build(pack.records, pack.suite)
    made = boards.build(table)
    known = recheck.sums(claims)
    looked_at = f"{len(table)} records"
    if known.alone:
        looked_at += f" ({known.alone} measured from a baseline that is no trial of it)"
    if LEADERBOARD in pack.tables:
        looked_at += f", {len(made.rows)} rows of {LEADERBOARD}"
    if MARKDOWN in pack.tables:
        looked_at += f", {MARKDOWN}"
    wrong = (*_records(pack, claims, known), *_tables(pack, table, made))
    return Stated(wrong, looked_at, recheck.predicted(made))


def faults(
    pack: Pack, claims: Sequence[Claim], table: pd.DataFrame, made: Boards
) -> tuple[str, ...]:
    """Everything in a pack that does not follow from its own records; nothing is trained for it.

    What decides on a pack of somebody else's asks this first: digests say that a pack is whole, not
    that its figures belong together. For what a store has, whose files carry seals of their own,
    only the figures are worked out: trials that have not ended may be absent.

    Args:
        pack: as it was read.
        claims: what its records state, :func:`bench.exchange.recheck.claim` of each.
        table: its trials, :func:`bench.report.frame.build`.
        made: its boards, :func:`bench.report.boards.build`.

    Returns:
        A sentence each, without a full stop; empty: everything follows.

    """
    known = recheck.sums(claims)
    if not pack.digest:
        return known.wrong
    return _protocol(claims) or (*_records(pack, claims, known), *_tables(pack, table, made))


def require_sound(pack: Pack, name: str) -> None:
    """Refuse to show or join a pack whose figures do not follow from its own records.

    Its tables are not looked at: they are made anew of the records. What is no pack comes from this
    user's own store, whose files are held against their seals; of another protocol, other formulas.

    Args:
        pack: as it was read.
        name: how the message calls it.

    Raises:
        UserError: says what does not follow.
    """
    if not pack.digest:
        return
    claims = [recheck.claim(record) for record in pack.records]
    if _protocol(claims):
        return
    wrong = _records(pack, claims, recheck.sums(claims))
    require(
        not wrong,
        f"'{name}' does not follow from its own records ({len(wrong)} faults): "
        f"{'; '.join(wrong[:3])}; 'invbench verify --sample 0' tells all of them; get it again, "
        "or ask who made it.",
    )


def _protocol(claims: Sequence[Claim]) -> tuple[str, ...]:
    """That its figures follow other rules than those known here; empty: they do not."""
    protocols = {made.protocol for made in claims}
    if protocols == {PROTOCOL_VERSION}:
        return ()
    return (
        f"its records are of protocol version {', '.join(sorted(protocols))}, this program is of "
        f"{PROTOCOL_VERSION}: verify it with the program of its commit",
    )


def _records(pack: Pack, claims: Sequence[Claim], known: Sums) -> tuple[str, ...]:
    return (*recheck.listed(claims, pack.manifest["trials"]), *known.wrong)


def _tables(pack: Pack, table: pd.DataFrame, made: Boards) -> tuple[str, ...]:
    """Where the tables of a pack differ from those that its records give."""
    wrong: list[str] = []
    if LEADERBOARD in pack.tables:
        wrong += recheck.drift(pack.tables[LEADERBOARD], tables.leaderboard_csv(made, pack.suite))
    if MARKDOWN in pack.tables:
        text = tables.leaderboard_md(made, families.tuned(table), pack.suite)
        wrong += recheck.prose(pack.tables[MARKDOWN], text)
    return tuple(wrong)
