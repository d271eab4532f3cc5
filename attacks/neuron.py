"""White-box attribute inference from neurons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from attacks.common.candidates import attacked, break_ties, imputed
from attacks.common.draws import some
from attacks.common.networks import inside
from attacks.common.ranges import AtLeastTwo
from bench.contract import Attack, Exposure, Knowledge, Reconstruction, Sensitive, require
from bench.contract.options import Count
from bench.contract.seeding import seed as derive

ROWS = 16384
"""Records a forward pass takes at once: all their activations are held."""


@dataclass(frozen=True)
class Neuron(Attack):
    """WB and WB.IP: read the value off the neurons that go with it on auxiliary records.

    Jayaraman and Evans (CCS 2022, section 4.2), in the form of their published code. For every
    candidate value ``v``: set it in all records; over the public ones, correlate the output of
    every neuron (hidden layers and logits) with whether the record's true value is ``v``; take the
    ``neurons`` with the highest correlation; map each to [0, 1] by its quantile among the public
    records; their mean, weighted by the correlations, is the score of ``v``. WB.IP multiplies it
    with the imputer's probability of ``v``.

    A neuron without a positive correlation gets no weight; the paper leaves open what happens when
    there are fewer than ``neurons`` others. The same value is set in all records when the neurons
    are chosen, and the true label is not used: the attack reads what the network has learned of
    the population from the known attributes, not what it remembers of a member, which is why
    the paper calls its risk distribution inference. With few public records the
    choice among hundreds of neurons is mostly chance, and WB.IP is below imputation alone.

    Attributes:
        access: ``weights``.
        neurons: most of them in the score, k; 1, 10 and 100 in the paper.
        impute: multiply with the imputer (WB.IP).
        n_aux: public records the neurons are chosen on, drawn at random; None: all. The paper
            gives the attack and the imputer as many: 50, 500 or 5,000.
    """

    access: Literal["weights"] = "weights"
    neurons: Count = 10
    impute: bool = True
    n_aux: AtLeastTwo | None = None

    goal = "attribute"
    modalities = frozenset({"table"})
    tasks = ("classification", "regression")
    needs = frozenset({"blocks"})
    knowledge = frozenset({"K2", "K3"})
    paper = "Jayaraman and Evans, CCS 2022, section 4.2 (WB, WB.IP)"

    def run(
        self, exposure: Exposure, knowledge: Knowledge, seed: int, device: str
    ) -> Reconstruction:
        """Score ``[n, n_values]`` in [0, 1]; see the base class."""
        sensitive, partial = attacked(knowledge)
        public = knowledge.public
        require(public.s is not None, "neuron: the public records lack the sensitive attribute.")
        if self.n_aux is not None and self.n_aux < len(public):
            rows = some(len(public), self.n_aux, derive(seed, neuron="rows"))
            public = public.take(rows.to(public.x.device))
        assert public.s is not None
        network = exposure.network()
        values, strongest = [], []
        with torch.no_grad(), _listening(network) as activations:
            for v in range(len(sensitive.values)):
                aux = _activations(network, activations, _set(sensitive, public.x, v))
                weight = correlation(aux, public.s == v)
                weight, chosen = weight.topk(min(self.neurons, len(weight)))
                strongest.append(float(weight[0]))
                chosen, weight = chosen[weight > 0], weight[weight > 0]
                victims = _set(sensitive, partial.x, v)
                if len(chosen) == 0:
                    values.append(torch.full((len(victims),), 0.5, dtype=torch.float64))
                    continue
                outputs = _activations(network, activations, victims, chosen)
                values.append(_quantiles(aux[:, chosen], outputs) @ (weight / weight.sum()).cpu())
        scores = torch.stack(values, 1).to(partial.x.device)
        if self.impute:
            scores = scores * imputed(knowledge)
        if sensitive.numeric:
            scores = (scores + 1e-12) / (scores + 1e-12).sum(1, keepdim=True)
        return Reconstruction(break_ties(scores, seed), {"strongest_correlation": strongest})


def correlation(activations: Tensor, positive: Tensor) -> Tensor:
    """Pearson's, of every column ``[n, k]`` with a truth ``[n]``: ``[k]``; 0 of a constant."""
    a = activations.double() - activations.double().mean(0)
    b = positive.double() - positive.double().mean()
    scale = a.square().sum(0).sqrt() * b.square().sum().sqrt()
    alive = a.abs().amax(0) > 1e-6 * activations.abs().amax(0)
    return torch.where(alive & (scale > 0), (a * b.unsqueeze(1)).sum(0) / scale, 0.0)


def _set(sensitive: Sensitive, x: Tensor, v: int) -> Tensor:
    """``x`` with the value ``v`` in every record."""
    changed = x.clone()
    changed[:, sensitive.columns[0] : sensitive.columns[1]] = changed.new_tensor(sensitive.codes[v])
    return changed


@contextmanager
def _listening(network: nn.Module) -> Iterator[list[Tensor]]:
    """What every block says in a forward pass, added to a list the caller empties."""
    activations: list[Tensor] = []
    blocks = inside(network).blocks
    hooks = [
        block.register_forward_hook(lambda _, __, out: activations.append(out.flatten(1)))
        for block in blocks
    ]
    try:
        yield activations
    finally:
        for hook in hooks:
            hook.remove()


def _activations(
    network: nn.Module, activations: list[Tensor], x: Tensor, chosen: Tensor | None = None
) -> Tensor:
    """Outputs of all neurons and the logits ``[n, k]``, or those at ``chosen``."""
    parts = []
    for part in torch.split(x, ROWS):
        activations.clear()
        outputs = torch.cat([network(part), *activations], 1)
        parts.append(outputs if chosen is None else outputs[:, chosen])
    return torch.cat(parts)


def _quantiles(aux: Tensor, x: Tensor) -> Tensor:
    """Every column of ``x`` ``[n, k]`` as its quantile among ``aux`` ``[m, k]``, in [0, 1]."""
    from sklearn.preprocessing import QuantileTransformer

    scale = QuantileTransformer(n_quantiles=min(1000, len(aux)), subsample=None)
    scale.fit(aux.double().cpu().numpy())
    return torch.from_numpy(scale.transform(x.double().cpu().numpy()))
