"""Sanitized copies of private records: microaggregated, noisy or synthetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.contract import Card, Split, nearest, require
from bench.contract.columns import Layout

_COMPONENTS = 20
"""Number of principal components in which similar pictures are grouped."""


def columns_of(card: Card, names: Sequence[str] | None, where: str) -> list[int]:
    """Encoded columns that hold the named attributes of a table.

    Args:
        card: description of the table.
        names: names of attributes; None means all of them.
        where: the option that names them, for the message.

    Raises:
        UserError: the table has no such attribute.
    """
    if names is None:
        return list(range(card.shape[0]))
    spans = {field.name: field.columns for field in card.fields}
    if card.sensitive is not None:
        spans.setdefault(card.sensitive.name, card.sensitive.columns)
    for name in names:
        require(
            name in spans,
            f"{where} names '{name}', which '{card.name}' does not have.{nearest(name, spans)}",
        )
    return sorted({i for name in names for i in range(*spans[name])})


def mondrian(values: npt.NDArray[np.float64], k: int) -> list[npt.NDArray[np.int64]]:
    """Equivalence classes of at least ``k`` records (LeFevre et al. ICDE 2006, strict top-down).

    A class is cut where its normalised range is widest, at the allowed place nearest to the median.
    Where no cut of that dimension leaves ``k`` records on both sides, the next widest one is tried.
    Equal values stay together. The paper looks only at the median itself, which would rule out most
    cuts of categories.

    Args:
        values: numbers ``[n, m]``; codes of categories count as ordered.
        k: least number of records in a class, at most n.
    """
    spread = np.ptp(values, axis=0)
    scaled = values / np.where(spread > 0, spread, 1.0)
    todo, done = [np.arange(len(values))], []
    while todo:
        rows = todo.pop()
        part = scaled[rows]
        ordered = np.sort(part, axis=0)
        # A cut before place i leaves i records below and the others above.
        places = np.arange(k, len(rows) - k + 1)
        allowed = ordered[places - 1] < ordered[places]
        if not allowed.any():
            done.append(rows)
            continue
        width = np.where(allowed.any(0), ordered[-1] - ordered[0], -1.0)
        d = int(width.argmax())
        off = np.where(allowed[:, d], np.abs(places - len(rows) / 2), np.inf)
        above = part[:, d] >= ordered[places[off.argmin()], d]
        todo += [rows[above], rows[~above]]
    return done


def microaggregate(
    x: Tensor, card: Card, public: Tensor, k: int, columns: Sequence[int] | None = None
) -> Tensor:
    """Records that each stand for at least ``k`` records, in the order of ``x``.

    Classes are made by :func:`mondrian`, for pictures on their first principal components. Every
    record takes the mean of its class, or the most common value of a category or a flag.

    Args:
        x: records ``[n, *shape]``.
        card: description of the records.
        public: public records, which tell numbers from flags.
        k: least number of records in a class; 1 changes nothing.
        columns: encoded columns that are grouped and replaced; None means all.

    Raises:
        UserError: there are fewer than ``k`` records.
    """
    require(
        k <= len(x),
        f"Classes of k = {k} records cannot be made of {len(x)}; give a smaller k.",
    )
    if k == 1:
        return x
    if card.modality == "image":
        mean, axes = principal(x.flatten(1), _COMPONENTS)
        return _means(x, mondrian(_numpy((x.flatten(1) - mean) @ axes), k))
    layout = Layout.of(card, public)
    first = torch.cat([layout.index[:, 0], layout.flags, layout.numbers]).tolist()
    chosen = list(range(card.shape[0])) if columns is None else list(columns)
    used = [place for place, column in enumerate(first) if column in set(chosen)]
    layout = Layout.of(card, public.to(x.device))
    classes = mondrian(_numpy(layout.values(x)[:, used]), k)
    replaced = x.clone()
    replaced[:, chosen] = layout.project(_means(x, classes))[:, chosen]
    return replaced


def gaussian_noise(
    x: Tensor, card: Card, public: Tensor, std: float, rng: torch.Generator
) -> Tensor:
    """Records with independent noise on every value, moved to the nearest valid record.

    Args:
        x: records ``[n, *shape]``.
        card: description of the records.
        public: public records, which give the scale of every column.
        std: standard deviation of the noise, for tables and baskets in units of the public spread
            of the encoded column, for pictures in units of the range of a pixel.
        rng: generator of the noise, on the CPU.
    """
    noise = torch.randn(x.shape, generator=rng).to(x)
    if card.modality == "image":
        return (x + std * noise).clamp(0.0, 1.0)
    scale = (public - public.mean(0)).square().mean(0).sqrt().to(x)
    return Layout.of(card, public.to(x.device)).project(x + std * scale * noise)


def synthetic(split: Split, card: Card, public: Tensor, components: int, seed: int) -> Split:
    """As many made-up records of every class as there are, in the same order of labels.

    Each class is a Gaussian on its own principal components, with independent components: mean and
    covariance of the class, cut to ``components``. What is drawn is moved to the nearest valid
    record.

    Args:
        split: private records of classes.
        card: description of the records.
        public: public records, which tell numbers from flags.
        components: largest number of principal components of a class.
        seed: seed of the draw.
    """
    flat = split.x.flatten(1)
    values = torch.empty_like(flat)
    rng = torch.Generator().manual_seed(seed)
    for label in torch.unique(split.y):
        rows = split.y == label
        members = flat[rows]
        mean, axes = principal(members, components)
        spread = ((members - mean) @ axes).square().mean(0).sqrt()
        drawn = torch.randn(len(members), axes.shape[1], generator=rng).to(members)
        values[rows] = mean + (drawn * spread) @ axes.T
    if card.modality == "image":
        made = values.clamp(0.0, 1.0)
    else:
        made = Layout.of(card, public.to(values.device)).project(values)
    return Split(made.view_as(split.x), split.y, split.person)


def principal(x: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Mean ``[d]`` and the first principal axes ``[d, c]`` of ``x`` ``[n, d]``.

    There are at most n - 1 axes. The largest entry of an axis is positive, which fixes its sign.
    """
    mean = x.mean(0)
    _, _, rows = torch.linalg.svd(x - mean, full_matrices=False)
    axes = rows[: max(min(components, len(x) - 1), 0)].T
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return mean, axes * torch.sign(largest)


def _means(x: Tensor, classes: Sequence[npt.NDArray[np.int64]]) -> Tensor:
    means = torch.empty_like(x)
    for rows in classes:
        place = torch.from_numpy(rows).to(x.device)
        means[place] = x[place].mean(0, keepdim=True)
    return means


def _numpy(x: Tensor) -> npt.NDArray[np.float64]:
    return x.detach().cpu().double().numpy()
