"""MIFace over 40 people at once: against a bare loop, and against a peer's implementation.

Softmax regression on pictures of Olivetti's shape, 64x64: the Olivetti faces themselves where
``INVBENCH_DATA_ROOT`` holds them, generated ones elsewhere. Every side takes the same steps from
black on the same model, on one thread; times are medians of alternating rounds of one run. The
peer, adversarial-robustness-toolbox, is no dependency: without it the comparison is skipped.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.datasets import fetch_olivetti_faces
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

from attacks.miface import MIFace
from bench.contract import Card, Exposure, Knowledge, Network, Split, Splits
from bench.data.faces import Faces
from bench.models.softmax import Softmax
from bench.models.training import train

PEOPLE, SIDE, STEPS, STEP_SIZE = 40, 64, 300, 5.0


def people() -> tuple[str, Splits]:
    """Eight pictures of each of 40 people to train on, and where they come from."""
    root = os.environ.get("INVBENCH_DATA_ROOT")
    if root and (Path(root) / "olivetti" / "olivetti_py3.pkz").exists():
        home = str(Path(root) / "olivetti")
        x, y = fetch_olivetti_faces(data_home=home, download_if_missing=False, return_X_y=True)
        x, y = torch.from_numpy(x).view(-1, 1, SIDE, SIDE).float(), torch.from_numpy(y).long()
        first = torch.arange(len(y)) % 10 < 8
        names = tuple(map(str, range(PEOPLE)))
        card = Card("olivetti", "face", "image", (1, SIDE, SIDE), names, "person", "-", "-", False)
        a, b = (Split(x[side], y[side], y[side]) for side in (first, ~first))
        return "Olivetti faces", Splits(card, a, b, b)
    made = Faces(people_private=PEOPLE, people_public=2, images_test=2, images_public=1, size=SIDE)
    return "generated faces", made.load(0, None)


def bare(network: nn.Module) -> Tensor:
    """The steps and nothing else."""
    rows = torch.arange(PEOPLE)
    x = torch.zeros(PEOPLE, 1, SIDE, SIDE)
    for _ in range(STEPS):
        x.requires_grad_()
        p = network(x).softmax(1)[rows, rows]
        (gradient,) = torch.autograd.grad(p.sum(), x)
        x = (x.detach() + STEP_SIZE * gradient).clamp_(0.0, 1.0)
    return x


def ours(network: Network, card: Card, public: Split) -> Tensor:
    """The attack, with its stopping rules on and out of reach."""
    attack = MIFace(alpha=STEPS, beta=STEPS + 1, gamma=1e-30, step_size=STEP_SIZE)
    exposure = Exposure("weights", network, network, network)
    known = Knowledge(card, public, classes=torch.arange(PEOPLE))
    found = attack.run(exposure, known, 0, "cpu")
    assert set(found.info["steps"]) == {STEPS}
    return found.values


def peer(network: nn.Module) -> dict[str, Callable[[], Tensor]] | None:
    """The peer's attack in its default batches of 1 and in one batch; None if not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from art.attacks.inference.model_inversion import MIFace as Peer
            from art.estimators.classification import PyTorchClassifier
    except ImportError:
        return None
    classifier = PyTorchClassifier(
        nn.Sequential(network, nn.Softmax(1)),
        nn.CrossEntropyLoss(),
        (1, SIDE, SIDE),
        PEOPLE,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )

    def attack(batch: int) -> Tensor:
        # Its run goes on while the cost is at most the threshold: 1 takes every step.
        found = Peer(
            classifier,
            max_iter=STEPS,
            threshold=1.0,
            learning_rate=STEP_SIZE,
            batch_size=batch,
            verbose=False,
        ).infer(None, torch.arange(PEOPLE).numpy())
        return torch.from_numpy(found)

    return {f"peer, batches of {n}": (lambda n=n: attack(n)) for n in (1, PEOPLE)}


def measure(sides: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, float]:
    """Median seconds of each side, in alternation after a round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            started = time.perf_counter()
            side()
            if turn:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in times.items()}


def report(rounds: int = 9) -> list[str]:
    """What was measured, a sentence a line."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return list(_report(rounds))
    finally:
        torch.set_num_threads(threads)


def _report(rounds: int) -> list[str]:
    source, splits = people()
    network = train(Softmax(), [], splits, 0, "cpu")[0].eval().requires_grad_(False)
    x, y = splits.train.x.flatten(1).numpy(), splits.train.y.numpy()
    judge = make_pipeline(PCA(100, random_state=0), LinearDiscriminantAnalysis()).fit(x, y)
    classes = torch.arange(PEOPLE)

    def success(found: Tensor) -> str:
        with torch.no_grad():
            p = network(found).softmax(1).diagonal()
        named = torch.from_numpy(judge.predict(found.flatten(1).numpy())) == classes
        return f"target probability {p.mean():.3f}, {named.float().mean():.2f} named by an LDA"

    sides = {
        "MIFace": lambda: ours(network, splits.card, splits.public),
        "bare loop": lambda: bare(network),
    }
    taken = measure(sides, rounds)
    lines = [
        f"MIFace, {PEOPLE} people, {STEPS} steps, softmax {SIDE}x{SIDE}, {source}: "
        f"{taken['MIFace']:.2f} s ({success(sides['MIFace']())}), "
        f"{taken['MIFace'] / taken['bare loop']:.2f} times a bare loop (bar: 1.3)"
    ]
    peers = peer(network)
    if peers is None:
        return [*lines, "adversarial-robustness-toolbox is not installed: not compared with it"]
    slow = measure({"MIFace": sides["MIFace"], **peers}, 1 if rounds < 3 else 3)
    return lines + [
        f"{name}: {slow[name]:.1f} s ({success(side())}), {slow[name] / slow['MIFace']:.0f} "
        "times as long as MIFace (bar: 50)"
        for name, side in peers.items()
    ]
