"""How often what the report says of luck is right: ``python -m tests.report.simulation``.

Seeds follow the two-level model: the success of a seed's target varies with ``sb`` around the true
mean (Beta distributed, so that it stays a rate), and ``n`` victims of it are found or not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.report import stats, worst_of

Floats = NDArray[np.float64]
Interval = Callable[[Floats], tuple[Floats, Floats]]

VICTIMS = 20


def rates(p: float, sb: float, n: int, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Success rates of targets; ``sb`` is lessened where so large a spread cannot be."""
    if p in (0, 1) or sb == 0:
        return np.asarray(rng.binomial(n, p, shape) / n, dtype=np.float64)
    size = p * (1 - p) / min(sb, 0.7 * (p * (1 - p)) ** 0.5) ** 2 - 1
    true = rng.beta(p * size, (1 - p) * size, shape)
    return np.asarray(rng.binomial(n, true) / n, dtype=np.float64)


def t_interval(x: Floats) -> tuple[Floats, Floats]:
    """Student's, of the rows ``[runs, seeds]``."""
    mean, width = x.mean(1), stats.half_width(x.std(1, ddof=1), x.shape[1])
    return mean - width, mean + width


def bootstrap(x: Floats, resamples: int = 400) -> tuple[Floats, Floats]:
    """The percentile bootstrap over seeds, which the protocol rejects."""
    seeds = x.shape[1]
    weights = np.random.default_rng(1).multinomial(seeds, [1 / seeds] * seeds, resamples) / seeds
    low, high = np.percentile(x @ weights.T, [2.5, 97.5], axis=1)
    return low, high


def shown(x: Floats) -> tuple[Floats, Floats]:
    """Of one attack, as boards state it, with :data:`VICTIMS` victims a seed."""
    ends = np.array([worst_of.interval(row[None], [VICTIMS]) for row in x]).clip(0, 1)
    return ends[:, 0], ends[:, 1]


def coverage(
    interval: Interval,
    seeds: int,
    p: float = 0.5,
    sb: float = 0.1,
    n: int = VICTIMS,
    runs: int = 4000,
) -> float:
    """How often the interval holds the true mean."""
    low, high = interval(rates(p, sb, n, (runs, seeds), np.random.default_rng(0)))
    return float(np.mean((low <= p + 1e-12) & (p - 1e-12 <= high)))


def procedure(
    attacks: int, seeds: int, step: float = 0.0, p: float = 0.5, sb: float = 0.1, runs: int = 600
) -> dict[str, dict[str, float]]:
    """The worst of several attacks, chosen on some seeds and reported on the rest, or on all.

    Args:
        attacks: how many, on the same targets; the worst finds ``p`` of the victims.
        seeds: of the board.
        step: by how much each next attack truly finds less.
        p: mean success of the worst.
        sb: its spread over targets.
        runs: simulated boards.

    Returns:
        For ``split`` and ``all`` (Student's t of the chosen attack) and ``shown`` (as boards state
        it): how often the interval holds the largest true mean (``cover``), its ``width`` within
        [0, 1], and the mean error of the figure (``bias``).
    """
    rng = np.random.default_rng(0)
    truth = np.clip(p - step * np.arange(attacks), 0, 1)
    luck = rng.normal(0, sb, (runs, 1, seeds))  # shared: the attacks meet the same target
    x = rng.binomial(VICTIMS, np.clip(truth[None, :, None] + luck, 0, 1)) / VICTIMS
    chooses = np.isin(np.arange(seeds), list(stats.selection(range(seeds))))
    every = np.ones(seeds, dtype=bool)
    out = {}
    for name, selects, reports in (("split", chooses, ~chooses), ("all", every, every)):
        pick = x[:, :, selects].mean(2).argmax(1)
        figures = x[np.arange(runs), pick][:, reports]
        out[name] = _held(*t_interval(figures), figures.mean(1), truth[0])
    ends = np.array([worst_of.interval(rows, np.full(attacks, VICTIMS)) for rows in x]).clip(0, 1)
    out["shown"] = _held(ends[:, 0], ends[:, 1], x.mean(2).max(1), truth[0])
    return out


def one_table(ratio: float, seeds: int, runs: int = 4000) -> float:
    """How often t over splits of one table holds the mean of the population it was drawn from.

    Args:
        ratio: spread over tables of one split each, by the spread over splits of one table.
        seeds: splits.
        runs: simulated tables.
    """
    rng = np.random.default_rng(0)
    table = rng.normal(0, (ratio**2 - 1) ** 0.5, (runs, 1))
    low, high = t_interval(table + rng.normal(0, 1, (runs, seeds)))
    return float(np.mean((low <= 0) & (high >= 0)))


def _held(low: Floats, high: Floats, figure: Floats, truth: float) -> dict[str, float]:
    low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    held = (low <= truth + 1e-12) & (truth - 1e-12 <= high)
    return {
        "cover": float(held.mean()),
        "width": float((high - low).mean()),
        "bias": float((figure - truth).mean()),
    }


def false_claims(defenses: int, seeds: int, runs: int = 2000) -> dict[str, float]:
    """Share of boards on which rows that leak the same are told apart.

    Returns:
        ``unadjusted`` and ``holm``: some defense differs from ``none`` by p < .05; ``ranks``: some
        row does not share the first rank.
    """
    rng = np.random.default_rng(0)
    luck = rng.normal(0.5, 0.1, (runs, 1, seeds))
    x = luck + rng.normal(0, 0.1, (runs, defenses + 1, seeds))
    gaps = x[:, 1:] - x[:, :1]
    p = stats.paired_p(gaps.mean(2), gaps.std(2, ddof=1), np.full((runs, defenses), seeds))
    ranked = [stats.tie_ranks(row[np.argsort(row.mean(1))]) for row in x[: runs // 4]]
    return {
        "unadjusted": float((p < stats.ALPHA).any(1).mean()),
        "holm": float(np.mean([(stats.holm(row) < stats.ALPHA).any() for row in p])),
        "ranks": float(np.mean([(ranks > 1).any() for ranks in ranked])),
    }


def front(gap: float, seeds: int, runs: int = 400) -> tuple[Floats, Floats]:
    """Two rows whose true means differ by normal draws of spread ``gap`` in either axis.

    Returns:
        The probability of being on the front stated for the first row, and whether it truly is,
        per run.
    """
    rng = np.random.default_rng(0)
    said, true = np.empty(runs), np.empty(runs)
    for run in range(runs):
        du, dl = rng.normal(0, gap, 2)
        luck = rng.normal(0, 0.1, (2, 1, seeds))
        noise = rng.normal(0, 0.05, (2, 2, seeds))
        means = np.array([[0.8, 0.8 + du], [0.5, 0.5 + dl]])
        said[run] = stats.front_probability(*(means[:, :, None] + luck + noise), draws=400)[0]
        true[run] = not (du >= 0 and dl <= 0)
    return said, true


def report() -> list[str]:
    """The figures as lines."""
    lines = ["coverage of nominal 95% intervals, t (bootstrap percentile in brackets)"]
    lines.append("   p   sb  n " + "".join(f"{f'S={s}':>14}" for s in (3, 5, 10, 20)))
    for p in (0.5, 0.1, 0.9):
        for sb in (0.05, 0.10, 0.15):
            for n in (20, 40):
                cells = [
                    "{:8.3f} ({:.2f})".format(
                        *(coverage(kind, s, p, sb, n) for kind in (t_interval, bootstrap))
                    )
                    for s in (3, 5, 10, 20)
                ]
                lines.append(f"{p:5.1f} {sb:.2f} {n} " + "".join(cells))
    lines.append("what boards show of one attack, coverage and mean width")
    for p in (0, 0.01, 0.05, 0.1, 0.5, 0.95):
        for sb in (0.0, 0.05, 0.10):
            cells = [procedure(1, seeds, p=p, sb=sb)["shown"] for seeds in (5, 6, 10, 20)]
            told = "".join(f"{cell['cover']:8.3f} ({cell['width']:.3f})" for cell in cells)
            lines.append(f"{p:5.2f} {sb:.2f} {told}")
    lines.append("splits of one table: how often t holds the mean of the population")
    for ratio in (1.0, 1.05, 1.1, 1.25, 1.5, 2.0):
        cells = [f"S={seeds} {one_table(ratio, seeds):.3f}" for seeds in (5, 10, 20)]
        lines.append(f"  spread over tables / over splits {ratio:.2f}: " + ", ".join(cells))
    lines.append("worst of k attacks: coverage, width and bias; split, all seeds by t, as shown")
    for step in (0.0, 0.02):
        for attacks in (1, 3, 6, 10):
            for seeds in (5, 10, 20):
                found = procedure(attacks, seeds, step)
                cells = [
                    f"{name} {f['cover']:.3f} {f['width']:.3f} {f['bias']:+.3f}"
                    for name, f in found.items()
                ]
                lines.append(f"  k={attacks:2} S={seeds:2} step {step:.2f}: " + ", ".join(cells))
    lines.append("boards on which equal rows are told apart, k defenses and none")
    for defenses in (3, 8, 30):
        for seeds in (3, 6, 13):
            claims = ", ".join(f"{k} {v:.3f}" for k, v in false_claims(defenses, seeds).items())
            lines.append(f"  k={defenses:2} reported seeds {seeds:2}: {claims}")
    for seeds in (4, 7, 14):
        said, true = front(0.03, seeds, 2000)
        bins = np.digitize(said, [0.2, 0.4, 0.6, 0.8])
        cells = [f"{said[bins == b].mean():.2f}: {true[bins == b].mean():.2f}" for b in range(5)]
        lines.append(f"front probability, {seeds} seeds, said: true share  " + ", ".join(cells))
    return lines


if __name__ == "__main__":
    print("\n".join(report()), flush=True)
