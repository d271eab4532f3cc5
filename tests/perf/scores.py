"""Scoring attribute attacks: whole scores against scikit-learn's AUCs alone, in one run.

2,000 victims, half of them members, with 20 subgroups of 50 members: one AUC a side, subgroup and
value. Seconds are the process's own, on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import one_hot

from bench.contract import Column, Reconstruction, Splits, Truth, Victims, generator
from bench.metrics.attribute import contrast, score
from tests.perf.attributes import card, records
from tests.perf.queries import one_thread

T = TypeVar("T")
VICTIMS, GROUPS = 2000, 20


def report() -> list[str]:
    """One line for two values and one for ten."""
    with one_thread():
        return list(_report())


def _report() -> Iterator[str]:
    for n_values in (2, 10):
        held, kind = records(VICTIMS, n_values, 0), torch.arange(VICTIMS) % GROUPS
        held.x[:, n_values : n_values + GROUPS] = one_hot(kind, GROUPS).float()
        member = torch.arange(VICTIMS) // GROUPS % 2 == 0
        names = tuple(map(str, range(GROUPS)))
        column = Column("kind", "category", (n_values, n_values + GROUPS), names)
        splits = Splits(replace(card(n_values), fields=(column,)), held, held, held)
        truth = Truth(splits, Victims(held, member), None, {})
        found = Reconstruction(torch.rand(VICTIMS, n_values, generator=generator(1)).double())
        contrasts, s = contrast(found.values).numpy(), held.s.numpy()  # type: ignore[union-attr]
        groups = [member, ~member, *(member & (kind == i) for i in range(GROUPS))]
        judged = range(n_values) if n_values > 2 else (1,)

        ours, made = _seconds(partial(score, found, truth))
        theirs, areas = _seconds(partial(_areas, contrasts, s, groups, judged))
        got = [made.members, made.nonmembers, *(made.extra[f"auc[kind={name}]"] for name in names)]
        off = float(np.abs(np.subtract(got, areas)).max())
        yield (
            f"scoring {VICTIMS} victims, {n_values} values, {GROUPS} subgroups: "
            f"{1000 * ours:.1f} ms; scikit-learn's AUCs alone take {theirs / ours:.0f} times as "
            f"long and differ by at most {off:.0e}"
        )


def _areas(
    scores: npt.NDArray[np.float64],
    s: npt.NDArray[np.int64],
    groups: Sequence[torch.Tensor],
    judged: Sequence[int],
) -> list[float]:
    return [
        float(np.mean([roc_auc_score(s[of] == v, scores[of, v]) for v in judged])) for of in groups
    ]


def _seconds(call: Callable[[], T], rounds: int = 5) -> tuple[float, T]:
    """CPU seconds of a call after one to warm up, and what it gave."""
    out = call()
    started = time.process_time()
    for _ in range(rounds):
        call()
    return (time.process_time() - started) / rounds, out


if __name__ == "__main__":
    print("\n".join(report()), flush=True)
