"""Benchmarks of the harness: ratios within one run, on the machine at hand.

``python -m tests.perf`` runs all of them; names after it choose some; ``--quick`` makes those short
that can be. Each module of this folder says what it measures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from tests.perf import (
    attributes,
    boards,
    driver,
    harness,
    miface,
    plan,
    queries,
    replicas,
    scores,
    sharing,
    tracking,
    workers,
)

REPORTS: dict[str, Callable[[bool], Iterable[str]]] = {
    "harness": lambda quick: harness.report(50 if quick else 2_000),
    "workers": lambda quick: workers.report(200 if quick else 2_000),
    "plan": plan.report,
    "driver": lambda quick: driver.report((1_000, 2_000) if quick else (1_000, 10_000)),
    "tracking": lambda quick: tracking.report(50 if quick else 500),
    "sharing": lambda quick: sharing.report(),
    "replicas": lambda quick: replicas.report(),
    "miface": lambda quick: miface.report(1 if quick else 9),
    "queries": lambda quick: queries.report(),
    "attributes": lambda quick: attributes.report(),
    "scores": lambda quick: scores.report(),
    "boards": lambda quick: boards.report(),
}


if __name__ == "__main__":
    names = [word for word in sys.argv[1:] if word != "--quick"] or list(REPORTS)
    unknown = set(names) - REPORTS.keys()
    if unknown:
        sys.exit(f"No benchmark is called {', '.join(sorted(unknown))}: {', '.join(REPORTS)}.")
    for name in names:
        for line in REPORTS[name]("--quick" in sys.argv):
            print(line, flush=True)
