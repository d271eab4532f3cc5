"""How the figures came about, generated from what ran, as plain values."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.contract.access import ACCESS, ACCESS_ORDER
from bench.goals import goal_named
from bench.report import account, audits, closure, families, stats
from bench.report.boards import FLAGS
from bench.report.closure import BOARD
from bench.report.coverage import LOST
from bench.report.frame import BASELINE, dicts, flags_of
from bench.report.judgement import RANKED_SEEDS
from bench.report.names import sees
from bench.report.site import details
from bench.report.site.suite import Suite
from bench.report.text import KEEPS

Row = dict[str, Any]


def page(suite: Suite, tuned: pd.DataFrame, audited: pd.DataFrame) -> Row:
    """Everything the template of the methods page needs."""
    known = families.FLAGS | FLAGS
    raised = {
        f for t in (suite.boards.rows, tuned) for row in dicts(t[["flags"]]) for f in flags_of(row)
    }
    return {
        "scale": [{"at": v, "text": f"{v / 100:.2f}"} for v in (0, 25, 50, 75, 100)],
        "flags": {name: text for name, text in known.items() if name in raised},
        "statistics": _statistics(suite),
        "access": _access(suite.frame),
        "goals": [goal_named(g).words.title.lower() for g in sorted(suite.frame["goal"].unique())],
        "controls": details.checks(suite, suite.boards.controls),
        "audits": [
            row
            | {"scenario": f"{suite.scenario(row)}, {sees(row['access'], row['budget']).lower()}"}
            for row in audits.shown(audited)
        ],
        "reported": account.reported(suite.frame, suite.given),
        "failures": account.failures(suite.frame),
        "skipped": account.skipped(suite.given),
        "provenance": account.provenance(suite.facts, suite.given),
    }


def _statistics(suite: Suite) -> list[tuple[str, str]]:
    rows = suite.boards.rows
    there = (suite.frame["control"] == "") & (suite.frame["status"] != LOST)
    seeds = {int(seed) for seed in suite.frame.loc[there, "seed"]}
    tests = rows[rows["dL_p"].notna()].groupby(BOARD).size()
    margin = (
        f"{stats.MARGIN:.2f}: \N{LEFT DOUBLE QUOTATION MARK}less\N{RIGHT DOUBLE QUOTATION MARK} "
        "or \N{LEFT DOUBLE QUOTATION MARK}more\N{RIGHT DOUBLE QUOTATION MARK} needs at least this "
        "difference, an interval that excludes 0 and Holm's p below alpha"
    )
    return [
        (
            "seeds",
            f"{closure.spans(seeds)}: each one an independently split and trained target; "
            "targets are never pooled",
        ),
        ("worst attack", "the largest mean over all seeds"),
        (
            "interval of leakage",
            f"{1 - stats.ALPHA:.0%}, for the largest of all attacks at once; of each attack the "
            "union of Student's t and the exact binomial interval of as many independent victims "
            "as the spread over seeds is worth",
        ),
        ("other intervals", f"{1 - stats.ALPHA:.0%} Student t over the means of seeds"),
        (
            "what they are for",
            "other targets trained on other splits of this data set; other data were not measured",
        ),
        (
            "difference to undefended",
            "paired by seed, before clipping, each side by its own worst attack",
        ),
        (
            "several comparisons",
            f"Holm's p within each board ({int(tests.to_numpy().sum())} comparisons on "
            f"{len(tests)} boards), alpha {stats.ALPHA:.2f}",
        ),
        ("practical margin", margin),
        (
            "places",
            "rows that share places cannot be told apart from the first of them: the difference is "
            "below the margin, or an interval that holds for all comparisons with that row at "
            "once does not exclude 0",
        ),
        ("provisional", f"fewer than {RANKED_SEEDS} seeds"),
        (
            "keeping utility",
            f"a loss of at most {KEEPS:.2f} by the lower end of the paired interval",
        ),
        (
            "tuned rows",
            "setting chosen on the first third of the seeds (utility budget "
            f"{families.BUDGET:.2f}), reported on the others where there are enough",
        ),
    ]


def _access(frame: pd.DataFrame) -> list[Row]:
    found = set(frame["access"]) - {BASELINE}
    return [{"name": name, "text": ACCESS[name].sentence} for name in ACCESS_ORDER if name in found]
