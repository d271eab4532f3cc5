"""What was run, how it ended and where it comes from, as plain values for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import pandas as pd

from bench.contract.record import SCHEMA_VERSION, STATUSES, TrialRecord
from bench.report import stats
from bench.report.frame import CELL, unique
from bench.report.text import estimate, interval, number, words

_EXAMPLES = 3


def counts(frame: pd.DataFrame, given: Mapping[str, Any]) -> dict[str, Any]:
    """How much was run, how it ended and what it cost."""
    status = frame["status"].value_counts().to_dict()
    board = frame[frame["control"] == ""]
    # Nodes are shared: a target serves all its attacks, an outcome several rows.
    parts = (("target", "train_s"), ("outcome", "attack_s"))
    seconds = sum(float(frame.groupby(node)[time].max().sum()) for node, time in parts)
    return {
        "done": status.get("done", 0),
        "planned": given.get("planned"),
        "other": [{"name": s, "n": status[s]} for s in STATUSES if s != "done" and s in status],
        "skipped": sum(int(entry.get("count", 1)) for entry in given.get("skipped", ())),
        "datasets": board["dataset"].nunique(),
        "defenses": board["defense"].nunique(),
        "attacks": board["attack"].nunique(),
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
            "status": status, "error": error or "no reason was recorded", "n": len(rows),
            "examples": list(rows["cell"].head(_EXAMPLES)),
        }
        for (status, error), rows in failed.groupby(["status", "error"])
    ]  # fmt: skip
    return sorted(table, key=lambda row: (-row["n"], row["status"], row["error"]))


def controls(checks: pd.DataFrame) -> list[dict[str, Any]]:
    """The checks, one line each, scenario by scenario."""
    return [
        {
            "scenario": f"{row['dataset']}, {row['model']}: {words(row['goal'])}",
            "code": row["code"], "claim": row["claim"], "of": row["of"],
            "value": number(row["value"], 3), "interval": interval(row["lo"], row["hi"], 3),
            "bar": row["bar"], "state": row["state"],
        }
        for row in checks.to_dict("records")
    ]  # fmt: skip


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
            kept &= board[axis].map(lambda name, p=pattern: fnmatchcase(name, p))
        column = entry["measured"]
        seeds = board[kept].astype({column: "float64"})
        seeds = seeds.groupby(["all", "seed"], as_index=False)[column].mean()
        digits = 1 if column in ("steps", "queries", "attack_s") else 3
        row = stats.summarise(seeds.dropna(), ["all"], [column]).to_dict("records")
        ours = estimate(row[0], column, digits) if row else "not run"
        out.append({**{key: entry[key] for key in ("what", "value", "source")}, "ours": ours})
    return out


def provenance(records: Sequence[TrialRecord], given: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, data, judges and the command: what it takes to check or repeat the run."""
    ordered = unique(records)
    stamps = sorted(record.created_utc for record in records)
    facts = {
        "benchmark version": _distinct(r.benchmark_version for r in ordered),
        "protocol version": ordered[0].protocol_version,
        "record schema": SCHEMA_VERSION,
        "trials recorded": f"{stamps[0]} to {stamps[-1]}",
    }
    for name in ("device", "threads", "machine", "python", "torch", "numpy"):
        seen = _distinct(r.env[name] for r in ordered if name in r.env)
        facts |= {name: seen} if seen else {}
    commits = _distinct(r.env["git"]["commit"] for r in ordered if "commit" in r.env.get("git", {}))
    facts |= {"git commit of the trials": commits} if commits else {}
    facts |= {
        words(str(name)): _plain(value)
        for name, value in sorted(given.items())
        if name not in ("skipped", "command", "reported")
    }
    data: dict[str, dict[str, Any]] = {}
    judges: dict[str, dict[tuple[int, str], float]] = {}
    for record in sorted(ordered, key=lambda r: r.status != "done"):  # a failure may lack facts
        name = record.cell.dataset
        if name not in data:
            facts_of = {words(k): _plain(v) for k, v in sorted(record.data.facts.items())}
            data[name] = {
                "name": name, "source": record.data.source, "terms": record.data.terms,
                "facts": facts_of, "evaluators": {},
            }  # fmt: skip
        for metric, value in record.evaluator.items():
            judges.setdefault(name, {})[record.cell.seed, metric] = value
    for name, values in judges.items():
        metrics = pd.Series(values).groupby(level=1).mean()
        data[name]["evaluators"] = {words(str(k)): number(v, 3) for k, v in metrics.items()}
    return {
        "command": given.get("command", ""),
        "facts": facts,
        "data": [data[name] for name in sorted(data)],
    }


def _distinct(values: Any) -> str:
    return ", ".join(sorted({str(value) for value in values}))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
