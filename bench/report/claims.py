"""Adaptivity as records before schema 1.7 claim it; no pair of attacks shows it (PROTOCOL 3.5)."""

from __future__ import annotations

import pandas as pd

from bench.report.closure import listed


def claimed(closed: pd.DataFrame) -> pd.Series[bool]:
    """Whether an old record claims that its attack adapts to the defense.

    Such an attack names stages at which defenses act. Such a defense may also name an option; then
    all its variants with one access count, unless some of them say that they adapt and the others
    therefore do not. Where all the owner does is to watch who asks, only those count that say so.
    """
    old = closed["old"].astype(bool)
    if not old.any():
        return old
    option = closed["attack"].str.split("[", n=1).str[0]
    defended = closed["defense"].str.split("[", n=1).str[0]
    said = listed(defended, closed["adaptive_to"])
    for stage in ("training", "release", "serve"):
        acts = listed(pd.Series(stage, index=closed.index), closed["stages"])
        said |= acts & listed(pd.Series(stage, index=closed.index), closed["adaptive_to"])
    pairs = pd.Series(
        list(zip(option, closed["attack_access"], defended, strict=True)), index=closed.index
    )
    named = listed(option, closed["claims"]) & ~pairs.isin(set(pairs[said]))
    named &= closed["stages"].map(lambda stages: stages != ("serve",))
    return (said | named) & old
