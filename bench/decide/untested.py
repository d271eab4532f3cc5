"""What evidence says nothing about, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contract.access import Access
from bench.decide.evidence import Scenario, Source, goals, level
from bench.goals import goal_named
from bench.goals import goals as goals_known
from bench.report.frame import BASELINE, flagged


def not_tested(sources: Sequence[Source], of: Scenario, access: Access) -> list[str]:
    """What the evidence says nothing about, in sentences."""
    have, out = goals(sources, of), []
    out += [f"{s.suite}: {s.facts.coverage.sentence}." for s in sources if s.facts.coverage.lost]
    never = [
        f"{goal.words.code} ({goal.words.event})"
        for name, goal in goals_known().items()
        if name not in have
    ]
    if never:
        out.append(f"Not attacked at all: {'; '.join(never)}.")
    less = [goal_named(g).words.code for g in have if not level(sources, of, g, access)[0]]
    if less:
        out.append(f"Attacked only with less access than {access}: {', '.join(less)}.")
    weak = sorted(
        {
            f"{row.goal} with {row.access}".replace("_", " ")
            for rows in (s.boards.rows for s in sources)
            for row in rows[flagged(rows, "weak_attack")].itertuples()
            if (row.dataset, row.model) == (of.dataset, of.model)
        }
    )
    if weak:
        out.append(f"Attacks were too weak to tell anything on: {', '.join(weak)}.")
    seen = {a for s in sources for a in _ran(s, of)}
    out.append(
        f"{len(seen)} attacks ran; one that is published tomorrow may find more. Other data than "
        f"'{of.dataset}', other models than '{of.model}', and drift since were not measured."
    )
    out.append(
        "Not looked at: extraction of the model, poisoning and the security of the serving system."
    )
    return out


def _ran(source: Source, of: Scenario) -> set[str]:
    table = source.trials(of)
    return set(table.loc[table["access"] != BASELINE, "attack"])
