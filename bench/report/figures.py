"""Figures for papers: utility against leakage, one a board, as SVG, PDF and PNG.

A column wide, readable in print, in grey and without colour vision: families differ in mark as
well as in colour, and lines carry their names. No file holds a date or a random identifier.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from bench.contract.errors import require
from bench.contract.packages import require_package
from bench.report.boards import BoardKey, Boards
from bench.report.closure import by_board, slugs
from bench.report.families import curves
from bench.report.frame import UNDEFENDED
from bench.report.text import told_by

FORMATS = ("svg", "pdf", "png")
SIZE = (3.35, 2.75)
"""Inches: a column of a two-column paper."""
LABELS = 12  # names on one figure: the undefended target, the front, then curves
_FONT = 7.0
_INK, _MUTED, _RULE = "#1a1a1a", "#6b6b6b", "#d9d9d9"
# Okabe and Ito's colours that are dark enough for lines on white.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")
_MARKS = ("o", "s", "^", "v", "P", "X", "<", ">", "p", "h")
_PAPER = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.4}  # under names
_PIECES = 12  # a slanted line covers far less than the box around it
_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "font.family": "DejaVu Sans",
    "font.size": _FONT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _MUTED,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "grid.color": _RULE,
    "grid.linewidth": 0.4,
    "text.parse_math": False,
}
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}


def files(
    boards: Boards, frame: pd.DataFrame, formats: Iterable[str] = FORMATS
) -> dict[str, bytes]:
    """Every board drawn once, in each format.

    Args:
        boards: of the suite.
        frame: its trials.
        formats: some of ``FORMATS``.

    Returns:
        Files by name, ``BOARD.FORMAT``, board by board; a board without a row that has utility and
        leakage has none.

    Raises:
        UserError: a format is unknown.
    """
    formats = tuple(formats)
    unknown = sorted({*formats} - {*FORMATS})
    require(
        not unknown,
        f"Figures have no format {', '.join(map(repr, unknown))}; allowed: {', '.join(FORMATS)}.",
    )
    names = slugs(key for key, _ in boards)
    return {
        f"{names[key]}.{form}": data
        for key, rows in drawable(boards, frame).items()
        for form, data in draw(rows, formats).items()
    }


def drawable(boards: Boards, frame: pd.DataFrame) -> dict[BoardKey, pd.DataFrame]:
    """Rows of every board that can be drawn; those without effect repeat ``none`` and cannot."""
    rows = curves(boards, frame).dropna(subset=["L", "utility"])
    return by_board(rows)


def draw(rows: pd.DataFrame, formats: Iterable[str] = FORMATS) -> dict[str, bytes]:
    """The figure of one board in each format; equal rows give equal bytes.

    Args:
        rows: as :func:`drawable` gives them.
        formats: some of ``FORMATS``.

    Raises:
        UserError: Matplotlib is not installed.
    """
    require_package("matplotlib", "site", "Drawing figures")
    from matplotlib import style  # half a second, for those who draw alone
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    files = {}
    with style.context([_RC], after_reset=True):
        figure = Figure(figsize=SIZE)
        FigureCanvasAgg(figure)
        axes = _plane(figure, rows)
        _mark(axes, rows.reset_index(drop=True))
        for form in formats:
            out = io.BytesIO()
            figure.savefig(out, format=form, metadata=_METADATA[form])
            files[form] = out.getvalue()
    return files


def _plane(figure: Any, rows: pd.DataFrame) -> Any:
    axes = figure.add_axes((0.125, 0.135, 0.835, 0.845))
    x = rows["utility"]
    span = max(0.02, float(x.max() - x.min()))
    axes.set_xlim(x.min() - 0.15 * span, x.max() + 0.15 * span)
    highest = float(rows[["L", "L_hi"]].max().max())
    top = next((top for top in (0.25, 0.5) if highest < 0.95 * top), 1.0)
    axes.set_ylim(-0.03 * top, 1.03 * top)
    axes.set_yticks(np.linspace(0, top, 6))
    axes.locator_params(axis="x", nbins=5)
    axes.grid()
    axes.set_axisbelow(True)
    axes.tick_params(length=2, pad=2)
    metric, _ = told_by(rows)
    axes.set_xlabel(f"utility: {metric} (more is better) \N{RIGHTWARDS ARROW}", labelpad=2)
    axes.set_ylabel("\N{LEFTWARDS ARROW} leakage L (less is better)", labelpad=3)
    return axes


def _mark(axes: Any, rows: pd.DataFrame) -> None:
    x, y = rows["utility"].to_numpy(), rows["L"].to_numpy()
    front = frontier(x, y)
    axes.plot(
        x[front],
        y[front],
        drawstyle="steps-pre",
        color=_MUTED,
        linewidth=2.4,
        alpha=0.3,
        zorder=1,
        solid_capstyle="butt",
    )
    axes.vlines(x, rows["L_lo"], rows["L_hi"], color=_MUTED, linewidth=0.5, alpha=0.7, zorder=2)
    axes.hlines(
        y, rows["utility_lo"], rows["utility_hi"], color=_MUTED, linewidth=0.5, alpha=0.7, zorder=2
    )
    whiskers = rows[["utility_lo", "L", "utility_hi", "L", "utility", "L_lo", "utility", "L_hi"]]
    covered = [whiskers.dropna().to_numpy().reshape(-1, 2, 2)]
    lines = 0
    for number, (family, line) in enumerate(rows.groupby("family", sort=False)):
        at = line.index
        reference, several = family == UNDEFENDED, len(line) > 1
        colour = _INK if reference else _COLOURS[lines % len(_COLOURS)] if several else _MUTED
        lines += several
        axes.plot(
            x[at],
            y[at],
            color=colour,
            linewidth=0.9,
            markersize=4.5 if reference else 3.6,
            marker="D" if reference else _MARKS[number % len(_MARKS)],
            markeredgecolor="white",
            markeredgewidth=0.4,
            zorder=5 if reference else 4,
        )
        covered.append(_pieces(x[at], y[at]))
    # Of a curve the end is named where it costs most: there families lie apart.
    ends = rows.index[~rows["family"].duplicated() & rows["family"].duplicated(keep=False)]
    first = rows.index[rows["defense"] == UNDEFENDED]
    named = list(dict.fromkeys([*first, *front, *ends]))[:LABELS]
    texts = [str(rows["family" if i in ends and i not in front else "defense"][i]) for i in named]
    label(axes, x, y, np.concatenate(covered), dict(zip(named, texts, strict=True)))


def frontier(x: Any, y: Any) -> list[int]:
    """Indices no other point beats on both axes, by utility."""
    front: list[int] = []
    for i in np.lexsort((y, -x)):  # most useful first
        if not front or y[i] < y[front[-1]]:
            front.append(int(i))
    return front[::-1]


def label(axes: Any, x: Any, y: Any, lines: Any, names: dict[int, str]) -> None:
    """Put each name where it covers least: greedy over directions and distances."""
    renderer = axes.figure.canvas.get_renderer()  # measures text, draws nothing
    scale = axes.figure.dpi / 72
    points = axes.transData.transform(np.column_stack([x, y]))
    frame = axes.get_window_extent(renderer)
    around = np.column_stack([points - 3 * scale, points + 3 * scale])
    ends = axes.transData.transform(lines.reshape(-1, 2)).reshape(-1, 4)
    boxes = np.vstack([around, ends + np.array([-0.5, -0.5, 0.5, 0.5]) * scale])
    for i, name in names.items():
        text = axes.text(
            0,
            0,
            name,
            fontsize=_FONT - 1,
            color=_INK,
            ha="center",
            va="center_baseline",
            zorder=6,
            bbox=_PAPER,
        )
        size = text.get_window_extent(renderer)
        best: tuple[float, Any, int] = (math.inf, None, 0)
        others = np.delete(boxes, i, axis=0)
        for distance in (5, 10, 18, 28, 40):
            for turn in (0, 180, 90, 270, 45, 315, 135, 225):
                reach = (
                    distance
                    * scale
                    * np.array([math.cos(math.radians(turn)), math.sin(math.radians(turn))])
                )
                side = 0.0 if turn in (90, 270) else math.copysign(size.width / 2, reach[0])
                middle = points[i] + reach + (side, 0.0)
                half = np.array([size.width + 4 * scale, size.height]) / 2
                box = np.concatenate([middle - half, middle + half])
                inside = _overlap(box, np.array([[frame.x0, frame.y0, frame.x1, frame.y1]]))
                area = size.width * size.height
                cost = _overlap(box, others) + 3 * (area - inside) + distance * area / 100
                if cost < best[0]:
                    best = (cost, box, distance)
        box, distance = best[1], best[2]
        boxes = np.vstack([boxes, *[box] * 4])  # a name on a name is worse than on a line
        text.set_position(axes.transData.inverted().transform((box[:2] + box[2:]) / 2))
        if distance > 5:
            near = np.clip(points[i], box[:2], box[2:])
            line = axes.transData.inverted().transform([points[i], near])
            axes.plot(*line.T, color=_MUTED, linewidth=0.4, zorder=3)


def _overlap(box: Any, others: Any) -> float:
    """Area of a box ``[4]`` that others ``[n, 4]`` cover, each for itself."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return float(np.clip(sides, 0, None).prod(axis=1).sum())


def _pieces(x: Any, y: Any) -> Any:
    """A line cut in short pieces ``[n, 2, 2]``: lower left and upper right corners."""
    at = np.linspace(0, len(x) - 1, _PIECES * (len(x) - 1) + 1)
    along = np.column_stack([np.interp(at, np.arange(len(x)), values) for values in (x, y)])
    return np.sort(np.stack([along[:-1], along[1:]], axis=1), axis=1)
