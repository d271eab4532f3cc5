"""A head that lets only some records of a batch reach the layers before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from attacks.common.descent import Features
from attacks.common.federated import Observed
from bench.contract import Exposure

_FAR = 100.0
"""A cut this many public standard deviations out: no record lies beyond it."""
_WHOLE = 0.1
"""A count of records is believed if it is at most this far from a whole number."""

Measurement = Literal["feature", "mixture"]


@dataclass(frozen=True)
class Gate:
    """What the server sends: the score of one class is a steep step of the features.

    With a direction w of unit spread over public records, the score of class r is
    ``gain * (w f(x) - cut)`` and every other score is 0. Let ``s_i`` be class r's probability,
    which is 1 where record i lies above the cut and 0 below it. The batch then shares the sum of
    ``(s_i - [y_i = r]) * (gain * slope of w f(x_i), f(x_i), 1) / n`` for the layers before the
    head, the weights of row r and its bias. Below the cut a record of another class shares nothing
    with the layers before the head. The difference of two cuts does not depend on labels: it is the
    sum over the records between them.

    Attributes:
        observed: the clients of an honest round.
        direction: w, ``[d]``, of the inputs of the head.
        middle: the public mean of ``w f(x)``.
        gain: slope of the step.
    """

    observed: Observed
    direction: Tensor
    middle: float
    gain: float

    @classmethod
    def of(
        cls,
        exposure: Exposure,
        observed: Observed,
        measurement: Measurement,
        gain: float,
        rng: torch.Generator,
    ) -> Gate:
        """A gate for the global network.

        Args:
            exposure: of a malicious server.
            observed: the clients of an honest round.
            measurement: ``feature``: the one that spreads most over public records; ``mixture``:
                all of them, with standard normal weights.
            gain: slope of the step, in standard deviations of public records.
            rng: of the mixture.
        """
        network = exposure.network()
        features = Features(network)
        seen = []
        with torch.no_grad():
            for part in torch.split(observed.public, 256):
                network(part)
                seen.append(features.value)
        public = torch.cat(seen)
        spread = public.std(0)
        direction = torch.zeros_like(spread)
        if measurement == "feature":
            direction[spread.argmax()] = 1.0
        else:
            direction = torch.randn(len(spread), generator=rng).to(spread)
        measured = public @ direction
        size = measured.std().clamp_min(1e-12)
        return cls(observed, direction / size, float(measured.mean() / size), gain)

    @property
    def low(self) -> float:
        """A cut below every record."""
        return self.middle - _FAR

    @property
    def high(self) -> float:
        """A cut above every record."""
        return self.middle + _FAR

    def sent(self, row: int, cut: float) -> dict[str, Tensor]:
        """The head whose class ``row`` answers to records above ``cut``; the rest stays."""
        weight = torch.zeros_like(self.observed.weights["head.weight"])
        bias = torch.zeros_like(self.observed.weights["head.bias"])
        weight[row] = self.gain * self.direction
        bias[row] = -self.gain * cut
        return {"head.weight": weight, "head.bias": bias}

    def read(self, exposure: Exposure, row: int, cut: float, repeats: int) -> tuple[Tensor, Tensor]:
        """One round at this gate, or the mean of ``repeats`` rounds.

        Returns:
            The sum over a client's records of ``s_i - [y_i = row]`` times slope, features and 1,
            side by side ``[clients, P]``, and the gradients of the head's bias as they were shared
            ``[clients, n_classes]``.
        """
        sent = self.sent(row, cut)
        rounds = [exposure.updates(sent) for _ in range(repeats)]
        shared = {
            k: torch.stack([each[k].to(self.direction.device) for each in rounds]).mean(0)
            for k in rounds[0]
        }
        parts = [v.flatten(1) / self.gain for k, v in shared.items() if not k.startswith("head.")]
        parts += [shared["head.weight"][:, row], shared["head.bias"][:, row : row + 1]]
        return self.observed.federation.batch_size * torch.cat(parts, 1), shared["head.bias"]

    def slopes(self, x: Tensor) -> Tensor:
        """What a client with one dummy record shares at an open gate, laid out as by :meth:`read`.

        Args:
            x: ``[rows, 1, *shape]``.
        """
        weights = dict(self.observed.weights)
        head = torch.zeros_like(weights["head.weight"])
        head[0] = self.direction
        weights |= {"head.weight": head, "head.bias": torch.zeros_like(weights["head.bias"])}

        def score(weights: dict[str, Tensor], x: Tensor) -> Tensor:
            named = {f"network.{k}": w for k, w in weights.items()}
            found: Tensor = functional_call(self.observed.network, named, (x,))
            return found[:, 0].sum()

        slope = vmap(grad(score), in_dims=(None, 0), randomness="different")(weights, x)
        parts = [v.flatten(1) for k, v in slope.items() if not k.startswith("head.")]
        return torch.cat([*parts, slope["head.weight"][:, 0], slope["head.bias"][:, :1]], 1)

    def features(self, read: Tensor) -> Tensor:
        """Features ``[n, d]`` of single records, of what was read of them ``[n, P]``."""
        return read[:, -1 - len(self.direction) : -1] / read[:, -1:]


def counts(bias: Tensor, row: int, batch: int) -> Tensor:
    """Records of every class but ``row``, from the bias's gradients at a closed gate.

    All scores but the one of ``row`` are equal, so that the gradient of class k is
    ``1 / (n_classes - 1)`` less its share of the batch.

    Args:
        bias: ``[clients, n_classes]``, of a gate whose cut is above every record.
        row: the class of the gate; its own records are ``-batch * bias[:, row]``.
        batch: records of a client.

    Returns:
        ``[clients, n_classes]``, whole numbers from 0 to ``batch`` as floats.
    """
    found = batch * (1 / (bias.shape[1] - 1) - bias)
    found[:, row] = -batch * bias[:, row]
    return found.nan_to_num(0.0).round().clamp(0, batch)


def part(gate: Gate, exposure: Exposure, most: int, repeats: int) -> tuple[list[Tensor], int]:
    """Every client's single records, by cuts that halve what lies between two others.

    A cut is the mean of a bin of the client with the most records in it (as in the authors' code);
    all clients are sent the same. A bin with one record of a client is finished for that client.

    Args:
        gate: what is sent.
        exposure: of a malicious server.
        most: cuts at most, the two at the ends included.
        repeats: rounds at each cut.

    Returns:
        What :meth:`Gate.read` would give of each single record, ``[found, P]`` a client, and the
        number of cuts.
    """
    ends = gate.low, gate.high
    below, above = (gate.read(exposure, 0, cut, repeats)[0] for cut in ends)
    found: list[list[Tensor]] = [[] for _ in below]
    waiting = torch.ones(len(below), dtype=torch.bool, device=below.device)
    bins, used = [(*ends, below, above, waiting)], 2
    while bins:
        bins.sort(key=lambda one: float((one[2] - one[3])[one[4], -1].max()))
        first, last, below, above, waiting = bins.pop()
        inside = below - above
        number = inside[:, -1]
        whole = (number - number.round()).abs() <= _WHOLE
        for client in (waiting & whole & (number.round() == 1)).nonzero().flatten().tolist():
            found[client].append(inside[client])
        waiting = waiting & (number.round() > 1)
        if not bool(waiting.any()) or used >= most:
            continue
        fullest = int(torch.where(waiting, number, -torch.inf).argmax())
        cut = float(gate.features(inside[fullest : fullest + 1])[0] @ gate.direction)
        if not first < cut < last:  # the records of this bin have the same features
            continue
        between, _ = gate.read(exposure, 0, cut, repeats)
        used += 1
        bins += [(first, cut, below, between, waiting), (cut, last, between, above, waiting)]
    rows = [torch.stack(one) if one else inside.new_empty(0, inside.shape[1]) for one in found]
    return rows, used
