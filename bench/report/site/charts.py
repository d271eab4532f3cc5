"""Figures as the plain JSON that Plotly draws; colours are names of the page's palette.

A colour such as ``var(--accent)`` is replaced by the page's own when it is drawn, so that the same
figure is right in the light, in the dark and on paper.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from bench.metrics.certainty import TOP
from bench.report.closure import COUNTED
from bench.report.frame import UNDEFENDED, dicts, flagged
from bench.report.text import estimate, leakage

YARDSTICK = "dp_sgd"
"""The family every heuristic defense is measured against (Aerni et al. 2024)."""
MOST_STRIPS = 120
"""Rows of a strip chart; the table beside it has them all."""

Figure = dict[str, Any]
Row = dict[Any, Any]
Called = Callable[[str, str], str]
"""What people call a row of a group (``defense``, ``attack``), escaped for HTML."""

_SYMBOLS = {"training": "circle", "release": "square", "serve": "triangle-up"}
_TOPS = (0.25, 0.5)  # of the leakage axis, where all leakage is below
_EDGE = 0.12
_NEAR = (0.16, 0.055)  # of the plane, within which two names would cover each other


def plane(
    rows: pd.DataFrame, metric: str, stages: Mapping[str, Sequence[str]], called: Called
) -> Figure | None:
    """Utility against leakage: a trace per family through its settings, with intervals.

    Rows without effect are left out: they repeat the undefended leakage.

    Args:
        rows: of one board, with their ``family``.
        metric: what utility is.
        stages: where each defense acts, by row name.
        called: what people call a row.

    Returns:
        ``data`` and ``layout``, or None where there is nothing to draw. The first trace is the
        front, each other one has a ``meta`` with its family.
    """
    idle = flagged(rows, "no_effect")
    known = rows[rows["L"].notna() & rows["utility"].notna() & ~idle]
    if known.empty:
        return None
    # What others are compared with is drawn last, on top of them.
    last = known["family"].map({YARDSTICK: 1, UNDEFENDED: 2}).fillna(0)
    known = known.assign(last=last)
    known = known.sort_values(["last", "family", "utility", "L", "defense"], kind="stable")
    x, y = known["utility"].to_numpy(dtype=float), known["L"].to_numpy(dtype=float)
    front = frontier(x, y)
    span = max(0.04, float(x.max() - x.min()))
    ends = bool(known["utility_lo"].notna().any())
    # An interval far wider than the points lie apart would press them together.
    reach = 0.35 * span
    left = max(float(known["utility_lo"].min()), x.min() - reach) if ends else x.min()
    right = min(float(known["utility_hi"].max()), x.max() + reach) if ends else x.max()
    left, right = float(left - 0.04 * span), float(right + 0.04 * span)
    most = float(known["L_hi"].fillna(known["L"]).max())
    top = next((top for top in _TOPS if most < 0.9 * top), 1.0)
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "front",
            "hoverinfo": "skip",
            "x": x[front].tolist(),
            "y": y[front].tolist(),
            "line": {"shape": "vh", "color": "var(--accent)", "width": 1.5},
            "opacity": 0.55,
        }
    ]
    columns = [
        "family",
        "defense",
        "worst_attack",
        *(f"{name}{end}" for name in ("L", "utility") for end in ("", "_lo", "_hi")),
    ]
    for family, line in groupby(dicts(known[columns]), key=lambda row: row["family"]):
        data.append(_trace(str(family), list(line), stages, called))
    named = known.iloc[sorted({*front, *np.flatnonzero(known["defense"] == UNDEFENDED)})]
    labels = _labels(named, (left, right), 1.08 * top, called)
    return {
        "data": data,
        "layout": {
            "showlegend": False,
            "hovermode": "closest",
            "dragmode": False,
            "margin": {"l": 56, "r": 16, "t": 12, "b": 48},
            "xaxis": _axis(f"utility: {metric} \N{RIGHTWARDS ARROW}", [left, right]),
            "yaxis": _axis("\N{LEFTWARDS ARROW} leakage L", [-0.04 * top, 1.04 * top]),
            "annotations": labels,
        },
    }


def _axis(title: str, ends: list[float]) -> Figure:
    return {
        "title": {"text": html.escape(title)},
        "range": ends,
        "zeroline": False,
        "gridcolor": "var(--rule)",
        "color": "var(--muted)",
        "fixedrange": True,
    }


def _trace(
    family: str, line: list[Row], stages: Mapping[str, Sequence[str]], called: Called
) -> Figure:
    reference, strong = family == UNDEFENDED, family == YARDSTICK
    colour = f"var(--{'ink' if reference else 'leak' if strong else 'point'})"
    faint = "var(--muted)" if reference or strong else "var(--whisker)"
    acts = [next(iter(stages[row["defense"]]), "training") for row in line]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "meta": family,
        "name": called("defense", family),
        "x": [_number(row["utility"]) for row in line],
        "y": [_number(row["L"]) for row in line],
        "error_x": _whiskers(line, "utility", faint),
        "error_y": _whiskers(line, "L", faint),
        "line": {
            "color": colour,
            "width": 2 if strong else 1,
            "dash": "solid" if strong or reference else "dot",
        },
        "marker": {
            "color": colour,
            "size": 11 if reference else 8,
            "symbol": "diamond" if reference else [_SYMBOLS.get(a, "circle") for a in acts],
        },
        "customdata": [row["defense"] for row in line],
        "text": [
            f"{called('defense', row['defense'])}<br>L {leakage(row)}<br>"
            f"utility {estimate(row, 'utility', 3)}<br>{called('attack', row['worst_attack'])}"
            for row in line
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _whiskers(line: list[Row], name: str, colour: str) -> Figure:
    def ends(sign: int, end: str) -> list[float]:
        lengths = [sign * (row[f"{name}_{end}"] - row[name]) for row in line]
        return [_number(length) or 0 if length > 0 else 0 for length in lengths]

    return {
        "type": "data",
        "symmetric": False,
        "array": ends(1, "hi"),
        "arrayminus": ends(-1, "lo"),
        "color": colour,
        "thickness": 1,
        "width": 0,
    }


def _labels(
    rows: pd.DataFrame, ends: tuple[float, float], height: float, called: Called
) -> list[Figure]:
    """Names of rows, undefended first, then the least leaking; one that would cover another waits.

    Args:
        rows: to be named.
        ends: of the axis of utility.
        height: of the axis of leakage.
        called: what people call a row.
    """
    width = ends[1] - ends[0]
    out: list[Figure] = []
    ordered = rows.assign(last=rows["defense"] != UNDEFENDED).sort_values(["last", "L", "utility"])
    for row in dicts(ordered[["defense", "utility", "L"]]):
        near = any(
            abs(row["utility"] - other["x"]) < _NEAR[0] * width
            and abs(row["L"] - other["y"]) < _NEAR[1] * height
            for other in out
        )
        if near:
            continue
        place = (row["utility"] - ends[0]) / width
        out.append(
            {
                "x": _number(row["utility"]),
                "y": _number(row["L"]),
                "text": called("defense", row["defense"]),
                "showarrow": False,
                "yshift": 15,
                # A name at an edge stays within the plane.
                "xanchor": "left" if place < _EDGE else "right" if place > 1 - _EDGE else "center",
                "bgcolor": "var(--veil)",
                "borderpad": 1,
                "font": {"size": 11, "color": "var(--ink)"},
            }
        )
    return out


def frontier(x: Any, y: Any) -> list[int]:
    """Indices no other point beats on both axes, by utility."""
    front: list[int] = []
    for i in np.lexsort((y, -x)):  # most useful first
        if not front or y[i] < y[front[-1]]:
            front.append(int(i))
    return front[::-1]


def asked(rows: pd.DataFrame, attacks: pd.DataFrame, called: Called) -> Figure | None:
    """Leakage against the queries that an attacker may send: a staircase per defense.

    A step is at the mean queries of an attack that is stronger than every attack that asks less.

    Args:
        rows: of one board, the order of the lines.
        attacks: of the board.
        called: what people call a row.

    Returns:
        None where queries are not counted, or no attack asks any.
    """
    if not len(rows) or rows["access"].iloc[0] not in COUNTED:
        return None
    known = attacks[(attacks["queries"] > 0) & attacks["L"].notna()]
    known = known.sort_values(["queries", "L"], kind="stable")
    earlier = known.groupby("defense")["L"].transform(lambda s: s.cummax().shift())
    steps = known[~(known["L"] <= earlier)]
    if steps.empty:
        return None
    last = float(known["queries"].max())
    idle = set(rows.loc[flagged(rows, "no_effect"), "defense"])
    by_defense = dict(list(steps.groupby("defense")))
    order = [d for d in rows["defense"] if d in by_defense and d not in idle and d != UNDEFENDED]
    lines = [
        _staircase(defense, dicts(by_defense[defense]), last, called)
        for defense in [*order, *([UNDEFENDED] if UNDEFENDED in by_defense else [])]
    ]
    first = float(steps["queries"].min())
    return {
        "data": lines,
        "layout": {
            "showlegend": False,
            "hovermode": "closest",
            "dragmode": False,
            "margin": {"l": 56, "r": 16, "t": 12, "b": 48},
            "xaxis": _axis("queries", [math.log10(first) - 0.1, math.log10(last) + 0.1])
            | {"type": "log", "dtick": 1},
            "yaxis": _axis("\N{LEFTWARDS ARROW} leakage L", [-0.04, 1.04]),
        },
    }


def _staircase(defense: str, steps: list[Row], last: float, called: Called) -> Figure:
    reference = defense == UNDEFENDED
    colour = f"var(--{'ink' if reference else 'point'})"
    labels = [f"L {leakage(step)}<br>{called('attack', step['attack'])}" for step in steps]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": called("defense", defense),
        "x": [*(_number(step["queries"]) for step in steps), last],
        "y": [_number(step["L"]) for step in [*steps, steps[-1]]],
        "line": {"shape": "hv", "color": colour, "width": 2 if reference else 1},
        "marker": {"color": colour, "size": [6] * len(steps) + [0]},
        "text": [*labels, labels[-1]],
        "hovertemplate": "%{fullData.name}<br>%{x:,.0f} queries: %{text}<extra></extra>",
    }


def certain(curves: Sequence[tuple[str, str, Sequence[float]]], called: Called) -> Figure | None:
    """Precision of an attacker's guesses against the share of the members, the surest first.

    Args:
        curves: as :func:`bench.report.certainty.drawn` gives them.
        called: what people call a row.
    """
    if not curves:
        return None
    low = min(0.5, *(min(tops) for _, _, tops in curves))
    return {
        "data": [_curve(*curve, at, called) for at, curve in enumerate(curves)],
        "layout": {
            "showlegend": True,
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
            "hovermode": "closest",
            "dragmode": False,
            "margin": {"l": 56, "r": 16, "t": 44, "b": 48},
            "xaxis": _axis("members, the surest first, %", [-0.1, 2.1])
            | {"type": "log", "tickvals": list(TOP), "ticktext": [str(top) for top in TOP]},
            "yaxis": _axis("guesses that are right", [low - 0.04, 1.04]),
        },
    }


def _curve(defense: str, attack: str, tops: Sequence[float], place: int, called: Called) -> Figure:
    reference, alone = defense == UNDEFENDED, not defense
    colour = f"var(--{'ink' if reference else 'muted' if alone else 'accent'})"
    symbols = list(_SYMBOLS.values())
    name = called("defense", defense) if defense else "without the model"
    told = [
        f"{name}<br>of the surest {top} %: {precision:.2f} right<br>{called('attack', attack)}"
        for top, precision in zip(TOP, tops, strict=True)
    ]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(TOP),
        "y": _plain(tops),
        "line": {
            "color": colour,
            "width": 2 if reference else 1,
            "dash": "dot" if alone else "solid",
        },
        "marker": {
            "color": colour,
            "size": 8,
            "symbol": "diamond" if reference else symbols[place % len(symbols)],
        },
        "text": told,
        "hovertemplate": "%{text}<extra></extra>",
    }


def strip(seeds: pd.DataFrame, order: Sequence[str], called: Called) -> Figure | None:
    """Leakage of every seed of each row's worst attack, a line of points per defense.

    Args:
        seeds: rows of one board, as :func:`bench.report.site.details.seeds` gives them.
        order: defenses from top to bottom.
        called: what people call a row.
    """
    known = seeds[seeds["L"].notna()]
    if known.empty:
        return None
    found = set(known["defense"])
    shown = [name for name in order if name in found][:MOST_STRIPS]
    known = known[known["defense"].isin(shown)]
    low, high = min(0.0, float(known["L"].min())), max(0.2, float(known["L"].max()))
    edge = 0.04 * (high - low)
    data = []
    places: Any = known.groupby(["defense", "attack"], sort=False)
    for (defense, attack), points in places:
        name = called("defense", defense)
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{name}<br>{called('attack', attack)}",
                "x": [float(f"{value:.4g}") for value in points["L"]],
                "y": [name] * len(points),
                "customdata": points["seed"].tolist(),
                "marker": {
                    "color": "var(--accent)",
                    "size": 8,
                    "opacity": 0.75,
                    "line": {"width": 1},
                },
                "hovertemplate": "%{fullData.name}<br>seed %{customdata}: L %{x:.2f}"
                "<extra></extra>",
            }
        )
    return {
        "data": data,
        "layout": {
            "showlegend": False,
            "hovermode": "closest",
            "dragmode": False,
            "height": 80 + 22 * len(shown),
            "margin": {"l": 10, "r": 16, "t": 8, "b": 44},
            "xaxis": _axis("leakage L, unclipped", [low - edge, high + edge]),
            "yaxis": {
                "categoryorder": "array",
                "automargin": True,
                "fixedrange": True,
                "categoryarray": [called("defense", d) for d in reversed(shown)],
                "gridcolor": "var(--rule)",
                "color": "var(--ink)",
            },
        },
        "cut": len(shown) < len(order) and len(shown) == MOST_STRIPS,
    }


def _plain(values: Any) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
