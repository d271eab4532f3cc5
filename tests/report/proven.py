"""Ceilings of the published private rows: ``python -m tests.report.proven``.

Records from before the ledger stated its advantage get it here from sigma, rate and steps, by the
accountant that would state it now. Takes a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench.contract.record import TrialRecord
from bench.exchange import pack
from bench.report import boards, frame
from bench.report.closure import ROW
from defenses.common.accounting import advantage

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


def stated(records: Iterator[TrialRecord]) -> Iterator[TrialRecord]:
    """The records, each ledger of Gaussian steps with its advantage."""
    for record in records:
        ledger = record.privacy
        if ledger is None or ledger.accountant != "prv" or ledger.advantage is not None:
            yield record
            continue
        most = advantage(ledger.noise_multiplier, ledger.sample_rate, ledger.steps, ledger.delta)
        yield record.model_copy(update={"privacy": replace(ledger, advantage=most)})


def rows() -> pd.DataFrame:
    """Every row that claims an epsilon, with what was measured and what is proven."""
    tables = []
    for index in sorted(PUBLISHED.glob(f"*/{pack.INDEX}")):
        found = pack.read(index.parent)
        table = boards.build(frame.build(stated(iter(found.records)), found.suite)).rows
        tables.append(table[table["epsilon"].notna()])
    wanted = [*ROW[1:5], "defense", "epsilon", "advantage", "L", "L_hi", "M", "M_hi", "M_most"]
    return pd.concat(tables, ignore_index=True)[[*wanted, "unproven"]]


if __name__ == "__main__":
    with pd.option_context("display.width", 250, "display.max_rows", None):
        print(rows().round(3).to_string(index=False))
