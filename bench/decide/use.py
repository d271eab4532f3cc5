"""How useful a defended target is, over seeds and against the baseline of utility."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.contract.access import Access
from bench.decide.evidence import Scenario, Source, estimate
from bench.decide.figures import UNKNOWN, Estimate
from bench.report import single, stats, useful
from bench.report.frame import REGULARISED, UNDEFENDED


@dataclass(frozen=True)
class Use:
    """How useful a defended target is, and what that costs."""

    utility: Estimate = UNKNOWN
    loss: Estimate = UNKNOWN
    """dU: the difference to ``against``, paired by seed; a loss is negative."""
    metric: str = "utility"
    against: str = ""
    """The row that utility is compared with: the regularised baseline, else ``none``; empty where
    nothing was compared."""
    comparable: bool = True
    """Whether it is told in the same metric as the others'."""
    train_s: float = math.nan
    n_params: float = math.nan
    public_records: float = 0.0

    @property
    def reference(self) -> str:
        """What utility is compared with, in words."""
        bare = self.against.split("[", 1)[0] == REGULARISED
        return "the regularised model" if bare else "the untuned undefended model"


def usefulness(
    sources: Sequence[Source], of: Scenario, metric: str, access: Access
) -> tuple[str, dict[str, Use]]:
    """Use by defense, in ``metric`` where the undefended target has it; else as on the boards.

    That is what users with ``access`` have (:mod:`bench.report.useful`). A defense that lacks the
    metric (there is no AUROC of labels) is told as on the boards. Where several sources have a
    defense, that with the lowest end of utility counts.
    """
    tables = [t for t in (_finished(s, of, access) for s in sources) if len(t)]
    if not tables:
        return metric, {}
    own, wanted = str(tables[0]["utility_metric"].iloc[0]), f"utility_{metric}"
    bare = [t.loc[t["defense"] == UNDEFENDED] for t in tables]
    have = metric != own and all(wanted in t and t[wanted].notna().any() for t in bare)
    found: dict[str, Use] = {}
    for table in tables:
        full = table[wanted].notna().groupby(table["defense"]).all() if have else None
        costs = table.groupby("defense")[["train_s", "n_params", "public_records"]].median()
        for column, name in [("utility", own), *([(wanted, metric)] if have else [])]:
            groups = table.groupby(["defense", "seed"], as_index=False)
            seeds = groups.agg(
                **{column: (column, "mean"), "single": ("single", "first")},
                draws=("draws", "first"),
            ).assign(utility_metric=name)
            seeds = useful.drawn(seeds)
            placed = seeds.rename(columns={column: "utility"}).assign(
                dataset="", model="", access=""
            )
            compared = useful.compared(placed.dropna(subset="utility")).set_index("seed")
            seeds["dU"] = seeds[column] - seeds["seed"].map(compared["utility"])
            others = [compared["draws"].get(seed, ()) for seed in seeds["seed"]]
            seeds[f"{column}_error"] = [single.spread(draws) for draws in seeds["draws"]]
            pairs = zip(seeds["draws"], others, strict=True)
            seeds["dU_error"] = [single.spread(mine, other) for mine, other in pairs]
            against = compared["against"].iloc[0] if len(compared) else ""
            figures = stats.summarise(seeds, ["defense"], [column, "dU"])
            figures = single.over_people(figures, seeds, ["defense"], [column, "dU"])
            for row in figures.to_dict("records"):
                defense = row["defense"]
                if full is not None and bool(full[defense]) != (column == wanted):
                    continue
                cost = costs.loc[defense]
                use = Use(
                    estimate(row, column),
                    estimate(row, "dU"),
                    name,
                    against,
                    not have or name == metric,
                    float(cost["train_s"]),
                    float(cost["n_params"]),
                    float(cost["public_records"]),
                )
                if defense not in found or use.utility.lo < found[defense].utility.lo:
                    found[defense] = use
    return metric if have else own, found


def seconds(sources: Sequence[Source], of: Scenario) -> dict[str, float]:
    """What one more seed of each defense and of ``none`` takes, one trial after another.

    Returns:
        By defense, seconds of training and of all attacks by the recorded times; NaN where none
        are recorded.
    """
    own: dict[str, float] = {}
    for source in sources:
        trials = source.trials(of)
        trained = trials.groupby(["defense", "seed"])["train_s"].max().groupby("defense").mean()
        attacked = trials.groupby(["defense", "attack"])["attack_s"].mean().groupby("defense").sum()
        for defense, spent in attacked.add(trained.fillna(0.0), fill_value=0.0).items():
            own[str(defense)] = own.get(str(defense), 0.0) + spent
    bare = own.get(UNDEFENDED, 0.0)
    return {
        defense: spent + bare * (defense != UNDEFENDED) or math.nan
        for defense, spent in own.items()
    }


def _finished(source: Source, of: Scenario, access: Access) -> pd.DataFrame:
    """The finished trials of a scenario, with the utility that users with ``access`` have."""
    table = source.trials(of)
    table = table[(table["status"] == "done") & table["utility"].notna()]
    shown = useful.seen(table, access)
    return shown.assign(draws=table["draws"])
