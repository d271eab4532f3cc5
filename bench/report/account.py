"""What was run, how it ended and where it comes from, as plain values for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.contract.identity import fits
from bench.contract.names import words
from bench.contract.record import STATUSES
from bench.report import stats
from bench.report.coverage import EVERYTHING, LOST, Coverage
from bench.report.facts import SHOWN, Facts
from bench.report.frame import BASELINE, CELL
from bench.report.text import estimate, number

_EXAMPLES = 3


def counts(
    frame: pd.DataFrame, given: Mapping[str, Any], coverage: Coverage = EVERYTHING
) -> dict[str, Any]:
    """How much was run, how it ended and what it cost."""
    status = frame["status"].value_counts().to_dict() | {LOST: len(coverage.lost)}
    board = frame[(frame["control"] == "") & (frame["status"] != LOST)]
    # Nodes are shared: a target serves all its attacks, an outcome several rows.
    parts = (("target", "train_s"), ("outcome", "attack_s"))
    seconds = sum(float(frame.groupby(node)[time].max().sum()) for node, time in parts)
    return {
        "done": status.get("done", 0),
        "planned": given.get("planned"),
        "other": [
            {"name": "without a record" if s == LOST else s, "n": status[s]}
            for s in (*STATUSES, LOST)
            if s != "done" and status.get(s)
        ],
        "lacking": coverage.sentence,
        "skipped": sum(int(entry.get("count", 1)) for entry in given.get("skipped", ())),
        "datasets": board["dataset"].nunique(),
        "defenses": board["defense"].nunique(),
        "attacks": board.loc[board["access"] != BASELINE, "attack"].nunique(),
        "seeds": board["seed"].nunique(),
        "hours": f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min",
    }


def skipped(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Combinations the plan left out, with the reason and the number of trials."""
    blank = {"what": "", "reason": "", "count": 1}
    return [
        {key: entry.get(key, blank[key]) for key in blank} for entry in given.get("skipped", ())
    ]


def failures(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Trials that did not end in ``done``, by status and reason, the most frequent first."""
    failed = frame[frame["status"] != "done"]
    names = [failed[name].astype(str) for name in CELL]
    failed = failed.assign(cell=[" / ".join(cell) for cell in zip(*names, strict=True)])
    table = [
        {
            "status": status,
            "error": error or "no reason was recorded",
            "n": len(rows),
            "examples": list(rows["cell"].head(_EXAMPLES)),
        }
        for (status, error), rows in failed.groupby(["status", "error"])
    ]
    return sorted(table, key=lambda row: (-row["n"], row["status"], row["error"]))


def reported(frame: pd.DataFrame, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A paper's figures beside ours: the mean and t interval over seeds of the named trials.

    ``measured`` names a column of :func:`bench.report.frame.build`: ``score``, one of its
    ``EXTRA``, ``utility_mae``; or ``error``, 1 minus the utility.
    """
    board = frame[(frame["control"] == "") & (frame["status"] == "done")]
    board = board.assign(error=1 - board["utility"], all="")
    out = []
    for entry in given.get("reported", ()):
        kept = pd.Series(True, index=board.index)
        for axis in ("dataset", "model", "defense", "attack"):
            pattern = entry.get(axis, "*")
            kept &= board[axis].map(lambda name, p=pattern: fits(name, p))
        column = entry["measured"]
        seeds = board[kept].astype({column: "float64"})
        seeds = seeds.groupby(["all", "seed"], as_index=False)[column].mean()
        digits = 1 if column in ("steps", "queries", "attack_s") else 3
        row = stats.summarise(seeds.dropna(), ["all"], [column]).to_dict("records")
        ours = estimate(row[0], column, digits) if row else "not run"
        out.append({**{key: entry[key] for key in ("what", "value", "source")}, "ours": ours})
    return out


def provenance(facts: Facts, given: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, data, judges and the command: what it takes to check or repeat the run."""
    seen = {name: ", ".join(values) for name, values in facts.environments.items()}
    told = {
        "benchmark version": seen.get("benchmark version", ""),
        "protocol version": facts.protocol,
        "record schema": seen.get("record schema", ""),
        "trials recorded": f"{facts.first} to {facts.last}",
        **{name: seen[name] for name in SHOWN if name in seen},
    }
    if facts.coverage.lost:
        told["planned trials without a record"] = facts.coverage.sentence
    if "git commit" in seen:
        told["git commit of the trials"] = seen["git commit"]
    told |= {
        words(str(name)): _plain(value)
        for name, value in sorted(given.items())
        if name not in ("skipped", "command", "reported")
    }
    data = [
        {
            "name": name,
            "source": card.source,
            "terms": card.terms,
            "facts": {words(k): _plain(v) for k, v in sorted(card.facts.items())},
            "evaluators": {words(k): number(v, 3) for k, v in facts.judges.get(name, {}).items()},
        }
        for name, card in facts.cards.items()
    ]
    return {"command": given.get("command", ""), "facts": told, "data": data}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
