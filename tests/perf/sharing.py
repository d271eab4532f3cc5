"""Ten attacks on a target in one run, against ten runs with one attack each.

One run trains the target, fits the imputer and judges the defense once, whatever the number of
attacks; runs that share no store do it every time. Both sides work in this process, through the
public interface, on a network of the embedded diabetes records.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence

from bench import api

ATTACKS = [
    *(f"{{access: scores, weight: {weight}}}" for weight in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)),
    *(f"{{access: labels, weight: {weight}}}" for weight in (1.0, 2.0, 4.0, 8.0)),
]


def seconds(attacks: Sequence[str]) -> float:
    """Wall time of a run of ``attacks`` into a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "suite=smoke",
            "seeds=1",
            "dataset=[diabetes]",
            "model=[mlp]",
            "defense=[none]",
            "attack=[attribute_map]",
            f"attack.attribute_map.sweep=[{','.join(attacks)}]",
            "controls=[]",
            "standard=false",
            f"store={folder}/store",
            "backend=local",
            "tracking=none",
            "progress=none",
        ]
        started = time.perf_counter()
        results = api.run(words, report=False)
        took = time.perf_counter() - started
        done = [r for r in results.records() if r.cell.attack.startswith("attribute_map")]
        assert len(done) == len(attacks) and all(r.status == "done" for r in done)
    return took


def report() -> list[str]:
    """What was measured, a sentence a line."""
    seconds(ATTACKS[:1])  # loads what both sides need
    together = seconds(ATTACKS)
    apart = sum(seconds([attack]) for attack in ATTACKS)
    return [
        f"{len(ATTACKS)} attacks on one target: {together:.2f} s in one run, {apart:.2f} s in "
        f"{len(ATTACKS)} runs, {apart / together:.1f} times as long (goal: 6)"
    ]


if __name__ == "__main__":
    print("\n".join(report()))
