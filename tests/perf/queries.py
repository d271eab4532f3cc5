"""Attacks that only ask: their queries per second against the bare model's, in one run.

Both sides see batches of the size the attack sends, on one thread. Beside it, for attacks over a
latent, the ratio to the bare generator and model: a generator of 80 components costs more
arithmetic than a linear target, so no search over it can keep up with that target alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from attacks.common.latent import Latent
from attacks.common.priors import PcaPrior
from attacks.latent_evolution import LatentEvolution
from attacks.miface import MIFace
from attacks.prior_inversion import PriorInversion
from bench.contract import Attack, Card, Exposure, Knowledge, Network, Split, generator
from bench.models.cnn import Cnn
from bench.models.softmax import Softmax

PEOPLE, PUBLIC = 8, 120
TARGETS = {"cnn 32x32": (Cnn(), 32), "softmax 64x64": (Softmax(), 64)}
ATTACKS: dict[str, Attack] = {
    "prior_inversion by scores": PriorInversion(access="scores", steps=4, samples=60),
    "prior_inversion by labels": PriorInversion(access="labels", steps=4, samples=60),
    "latent_evolution": LatentEvolution(steps=4, samples=60),
    "miface by scores": MIFace(access="scores", alpha=1, starts=(0.5,), gamma=1e-9),
}


class Watched:
    """Answers of a network, with the size of every batch and the time it took to answer."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.sizes: list[int] = []
        self.seconds = 0.0

    def scores(self, x: Tensor) -> Tensor:
        started = time.perf_counter()
        out = self.network(x).softmax(1)
        self.seconds += time.perf_counter() - started
        self.sizes.append(len(x))
        return out

    def labels(self, x: Tensor) -> Tensor:
        return self.scores(x).argmax(1)


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def knowledge(shape: tuple[int, int, int]) -> Knowledge:
    """Random pictures: what they show does not matter for the speed."""
    names = tuple(map(str, range(PEOPLE)))
    card = Card("noise", "face", "image", shape, names, "person", "", "", True)
    owner = torch.arange(PUBLIC) // 10
    x = torch.rand(PUBLIC, *shape, generator=generator(0))
    held = Knowledge(card, Split(x, owner, owner), classes=torch.arange(PEOPLE))
    prior = PcaPrior(80).fit(held, 0, "cpu")
    return Knowledge(card, held.public, classes=held.classes, prior=prior)


def bare(ask: Callable[[Tensor], Tensor], shape: tuple[int, ...], sizes: list[int]) -> float:
    """Seconds of the bare model for batches of the same sizes, from one block of pictures."""
    pictures = torch.rand(max(sizes), *shape, generator=generator(1))
    with torch.no_grad():
        started = time.perf_counter()
        for size in sizes:
            ask(pictures[:size])
        return time.perf_counter() - started


def ratio(attack: Attack, network: Network, held: Knowledge) -> tuple[int, float, float, float]:
    """Queries, their number per second, and its ratios to the bare model's and generator's."""
    watched = Watched(network)
    exposure = Exposure(attack.access, watched.scores, watched.labels)
    bare(watched.scores, held.card.shape, [128] * 4)  # warms up
    watched.sizes.clear()
    started = time.perf_counter()
    attack.run(exposure, held, 0, "cpu")
    seconds = time.perf_counter() - started
    sizes = list(watched.sizes)
    alone = bare(watched.scores, held.card.shape, sizes)
    if isinstance(attack, MIFace):
        both = alone
    else:
        latent, z = Latent.of(held, "cpu"), torch.randn(max(sizes), 80)
        both = bare(lambda part: watched.scores(latent.decode(z[: len(part)])), (1,), sizes)
    queries = exposure.meter.queries
    return queries, queries / seconds, alone / seconds, both / seconds


def report() -> list[str]:
    """One line an attack and target."""
    lines = []
    with one_thread():
        for target, (model, side) in TARGETS.items():
            shape = (1, side, side)
            held, network = knowledge(shape), model.build(shape, PEOPLE, 0).eval()
            for name, attack in ATTACKS.items():
                queries, rate, share, both = ratio(attack, network, held)
                latent = "" if name.startswith("miface") else f", {both:.2f} with its generator"
                lines.append(
                    f"{name:26} on {target:14} {queries:7} queries, {rate:8.0f}/s, "
                    f"{share:.2f} of the bare model's{latent}"
                )
    return lines


if __name__ == "__main__":
    print("\n".join(report()), flush=True)
