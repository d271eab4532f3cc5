"""Statistics that tell an account that probes from one that asks.

They are no defenses: audits use them, on a deployment and on a log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import shapiro
from torch import Tensor

from bench.contract import Count, Positive
from bench.contract.serving import digest
from defenses.common.streams import NEVER, Detector, History, Least, Queries, Watch, Window


# ---------------------------------------------------------------- features
def principal(reference: Tensor, components: int | None) -> dict[str, Tensor]:
    """Mean of records ``[m, ...]``, and principal directions unless ``components`` is None."""
    flat = reference.flatten(1).double()
    mean = flat.mean(0)
    if components is None:
        return {"mean": mean}
    axes = torch.linalg.svd(flat - mean, full_matrices=False).Vh[:components]
    return {"mean": mean, "axes": axes.T.contiguous()}


def _project(x: Tensor, fitted: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Coordinates ``[n, k]``, and the length of what they leave out ``[n]``."""
    centred = x.flatten(1).double() - fitted["mean"]
    if "axes" not in fitted:
        return centred, centred.new_zeros(len(x))
    z = centred @ fitted["axes"]
    return z, (centred - z @ fitted["axes"].T).norm(dim=1)


class _Distinct:
    """Tells new records from repeats: a repeat is answered from memory and says nothing new."""

    def __init__(self) -> None:
        self.known: set[int] = set()

    def new(self, x: Tensor) -> Tensor:
        is_new = []
        for code in digest(x).tolist():
            is_new.append(code not in self.known)
            self.known.add(code)
        return torch.tensor(is_new, dtype=torch.bool, device=x.device)


def _never(stream: Queries) -> Tensor:
    return torch.full((len(stream),), NEVER, dtype=torch.float64, device=stream.time.device)


class _Tail:
    """Keeps the last values for the next call, so that windows reach over several pieces."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.held: Tensor | None = None

    def windows(self, values: Tensor) -> Tensor:
        """Every full window ``[w, length + 1]`` that ends in one of ``values``; perhaps none."""
        whole = values if self.held is None else torch.cat([self.held, values])
        self.held = whole[max(len(whole) - self.length, 0) :]
        if len(whole) <= self.length:
            return whole.new_zeros(0, self.length + 1)
        return whole.unfold(0, self.length + 1, 1)


# ---------------------------------------------------------------- detectors
@dataclass(frozen=True)
class Volume(Detector):
    """Number of queries in the last days.

    Attributes:
        days: length of the window.
    """

    days: Positive = 30.0

    def watch(self, fitted: Mapping[str, Tensor]) -> Watch:
        """A watch that has seen no query yet."""
        return _Volume(self.days * 86400.0)


class _Volume(Watch):
    def __init__(self, span: float) -> None:
        self.span = span
        self.times: list[float] = []
        self.first = 0

    def see(self, stream: Queries) -> Tensor:
        """Count each query together with the queries that are not older than the window."""
        counts = []
        for time in stream.time.tolist():
            self.times.append(time)
            while self.times[self.first] <= time - self.span:
                self.first += 1
            counts.append(len(self.times) - self.first)
        return torch.tensor(counts, dtype=torch.float64, device=stream.time.device)


@dataclass(frozen=True)
class Concentration(Detector):
    """Share of the most frequent class among the last answers.

    Attributes:
        window: number of answers that are looked at.
    """

    window: Window = 50

    reads = frozenset({"label"})

    def watch(self, fitted: Mapping[str, Tensor]) -> Watch:
        """A watch that has seen no answer yet."""
        return _Concentration(self.window)


class _Concentration(Watch):
    def __init__(self, window: int) -> None:
        self.tail = _Tail(window - 1)

    def see(self, stream: Queries) -> Tensor:
        """The share, from the first full window on."""
        assert stream.label is not None
        statistic = _never(stream)
        ordered = self.tail.windows(stream.label).sort(1).values
        if len(ordered):
            new = torch.ones_like(ordered)
            new[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).long()
            # The number of the run of equal labels that each place lies in.
            run = new.cumsum(1)
            counts = torch.zeros_like(run).scatter_add(1, run - 1, torch.ones_like(run))
            statistic[-len(ordered) :] = counts.amax(1) / ordered.shape[1]
        return statistic


@dataclass(frozen=True)
class Ood(Detector):
    """How far the last records lie from ordinary ones, in a PCA space and beside it.

    Two lengths are measured for each record: the distance to the nearest reference record among the
    principal components, and the length of what these components leave out. Each is divided by what
    is usual for the references. The two are put together as the sides of a right angle, and the
    statistic is the mean of the result over the last records.

    Attributes:
        window: number of records that are averaged.
        components: number of principal components; null means distances between whole records.
    """

    window: Window = 20
    components: Count | None = 32

    reads = frozenset({"x"})

    def fit(self, reference: Tensor) -> dict[str, Tensor]:
        """Axes, the coordinates of the references, and their usual distances."""
        fitted = principal(reference, self.components)
        z, rest = _project(reference, fitted)
        apart = torch.cdist(z, z).fill_diagonal_(math.inf).min(1).values
        least = 1e-3 * z.norm(dim=1).median().clamp_min(1e-9)
        units = torch.stack([apart.median().clamp_min(least), rest.median().clamp_min(least)])
        return fitted | {"reference": z, "units": units}

    def watch(self, fitted: Mapping[str, Tensor]) -> Watch:
        """A watch that has seen no record yet."""
        return _Ood(self.window, fitted)


class _Ood(Watch):
    def __init__(self, window: int, fitted: Mapping[str, Tensor]) -> None:
        self.fitted = fitted
        self.tail = _Tail(window - 1)

    def see(self, stream: Queries) -> Tensor:
        """The mean, from the first full window on."""
        assert stream.x is not None
        z, rest = _project(stream.x, self.fitted)
        near = torch.cdist(z, self.fitted["reference"]).min(1).values
        units = self.fitted["units"]
        means = self.tail.windows(torch.hypot(near / units[0], rest / units[1])).mean(1)
        statistic = _never(stream)
        statistic[len(statistic) - len(means) :] = means
        return statistic


@dataclass(frozen=True)
class Stateful(Detector):
    """Mean distance to the nearest earlier queries (Chen, Carlini, Wagner 2019, section 4).

    A query is part of a search if its k nearest neighbours among the earlier queries of the account
    are close on average. The paper embeds queries by an encoder that is trained for similarity;
    here the space is that of the principal components. A record that is asked again bit for bit
    does not count.

    Attributes:
        neighbours: number of neighbours, k in the paper.
        components: number of principal components; null means distances between whole records.
        history: number of earlier queries that are kept.
    """

    neighbours: Count = 10
    components: Count | None = 32
    history: History = 1000

    reads = frozenset({"x"})

    def fit(self, reference: Tensor) -> dict[str, Tensor]:
        """The mean and the axes of the references."""
        return principal(reference, self.components)

    def watch(self, fitted: Mapping[str, Tensor]) -> Watch:
        """A watch that has seen no query yet."""
        return _Stateful(self, fitted)


class _Stateful(Watch):
    def __init__(self, options: Stateful, fitted: Mapping[str, Tensor]) -> None:
        self.options, self.fitted = options, fitted
        self.distinct = _Distinct()
        self.held: Tensor | None = None

    def see(self, stream: Queries) -> Tensor:
        """The mean distance with a minus sign, from query k + 1 on."""
        assert stream.x is not None
        statistic = _never(stream)
        new = self.distinct.new(stream.x)
        z, _ = _project(stream.x[new], self.fitted)
        past = z[:0] if self.held is None else self.held
        whole = torch.cat([past, z])
        k, history = self.options.neighbours, self.options.history
        self.held = whole[max(len(whole) - history, 0) :]
        if len(whole) <= k or not len(z):
            return statistic
        own = torch.arange(len(past), len(whole), device=z.device).unsqueeze(1)
        other = torch.arange(len(whole), device=z.device)
        apart = torch.cdist(z, whole)
        apart = apart.masked_fill((other >= own) | (other < own - history), math.inf)
        statistic[new] = -apart.topk(k, dim=1, largest=False).values.mean(1)
        return statistic


@dataclass(frozen=True)
class Prada(Detector):
    """Distances between queries that are not normal (Juuti et al., EuroS&P 2019, algorithm 3).

    For each class there is a growing set. It takes a query whose distance to the set exceeds the
    threshold of the class, which is the mean less the standard deviation of the distances at which
    the set has grown. The distances of all queries to the set of their class, without those that
    are three standard deviations from the mean, are tested by Shapiro and Wilk, and the statistic
    is 1 - W. Distances are Euclidean, between whole records. A record that is asked again bit for
    bit does not count.

    Attributes:
        least: number of distances after which the test begins (100 in the paper).
        every: number of distances from one test to the next (10 in the authors' code).
        history: number of last distances that are tested, and of records that all growing sets hold
            together; those of the paper grow without end.
    """

    least: Least = 100
    every: Count = 10
    history: History = 1000

    reads = frozenset({"x", "label"})

    def watch(self, fitted: Mapping[str, Tensor]) -> Watch:
        """A watch whose sets are empty."""
        return _Prada(self)


class _Prada(Watch):
    def __init__(self, options: Prada) -> None:
        self.options = options
        self.distinct = _Distinct()
        self.held: Tensor | None = None
        self.members: dict[int, list[int]] = {}
        """Places in ``held`` of each class's growing set."""
        self.grown: dict[int, list[float]] = {}
        self.limits: dict[int, float] = {}
        self.distances: list[float] = []
        self.count = 0

    def see(self, stream: Queries) -> Tensor:
        """The statistic ``1 - W`` at every tested query."""
        assert stream.x is not None and stream.label is not None
        statistic = _never(stream)
        new = self.distinct.new(stream.x).nonzero().squeeze(1)
        x = stream.x[new].flatten(1).double()
        held = x[:0] if self.held is None else self.held
        start = len(held)
        apart = torch.cdist(x, torch.cat([held, x])).cpu().numpy()
        joined: list[int] = []
        places: list[int] = []
        labels = stream.label[new].tolist()
        for i, (row, label) in enumerate(zip(new.tolist(), labels, strict=True)):
            members = self.members.setdefault(label, [])
            near = [joined[m - start] if m >= start else m for m in members]
            distance = float(apart[i, near].min()) if members else 0.0
            if members:
                statistic[row] = self._test(distance)
            first = not members
            if first or distance > self.limits[label]:
                self._grow(label, distance, start + len(joined))
                if members and members[-1] == start + len(joined):
                    joined.append(start + i)
                    places.append(i)
        self.held = torch.cat([held, x[torch.tensor(places, dtype=torch.long).to(x.device)]])
        return statistic

    def _grow(self, label: int, distance: float, place: int) -> None:
        if sum(map(len, self.members.values())) >= self.options.history:
            return
        self.members[label].append(place)
        grown = self.grown.setdefault(label, [])
        grown.append(distance)
        limit = float(np.mean(grown) - np.std(grown))
        self.limits[label] = max(self.limits.get(label, 0.0), limit)

    def _test(self, distance: float) -> float:
        self.distances.append(distance)
        self.count += 1
        if self.count <= self.options.least or self.count % self.options.every:
            return NEVER
        values = np.array(self.distances[-self.options.history :])
        self.distances = self.distances[-self.options.history :]
        values = values[np.abs(values - values.mean()) <= 3 * values.std()]
        if len(values) < 3 or float(np.ptp(values)) <= 1e-12 * float(values.max()):
            return NEVER
        return 1.0 - float(shapiro(values).statistic)


DETECTORS: Mapping[str, type[Detector]] = {
    "prada": Prada,
    "stateful": Stateful,
    "ood": Ood,
    "concentration": Concentration,
    "volume": Volume,
}
