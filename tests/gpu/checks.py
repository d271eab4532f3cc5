"""What has to hold on a GPU; each check is a function that gives figures and what is wrong."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attacks.miface import MIFace
from bench.contract import Exposure, Knowledge
from bench.contract.record import TrialRecord
from bench.data.faces import Faces
from bench.engine.components import build
from bench.engine.conf import list_options
from bench.engine.config import compose_grid
from bench.engine.execution import execute, prepare
from bench.models.softmax import Softmax
from bench.models.training import train
from tests.attacks.deployments import small

CONF = Path(__file__).parents[1] / "conf"
LEAKAGE_WITHIN = 0.1
"""How far the leakage of a trial on the GPU may be from that on the CPU: the same conclusion."""
UTILITY_WITHIN = 0.05
REPLICAS_GOAL, MIFACE_GOAL = 10.0, 1.1
_STEP_SIZE = 5.0


@dataclass
class Finding:
    """What a check has found.

    Attributes:
        figures: plain numbers and texts for the JSON.
        wrong: sentences; none where all is well.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


# ---------------------------------------------------------------- the same conclusions
def small_words() -> list[str]:
    """Overrides that make every attack of conf/attack short."""
    names = list_options("attack")
    words = [f"attack=[{','.join(names)}]"]
    values: dict[tuple[str, str], list[Any]] = {}
    longer = set()
    for row in compose_grid(words).options["attack"]:
        layer = dict(row.layers[0])
        layer.pop("prior", None)
        attack = build(layer, row.where)
        shorter = small(attack)
        family = row.name.partition("[")[0]
        for one in fields(attack):
            place, value = (family, one.name), getattr(shorter, one.name)
            if f"{one.name}=" not in row.name and isinstance(value, int | float):
                values.setdefault(place, []).append(value)
                if value != getattr(attack, one.name):
                    longer.add(place)
    # Variants differ in what they need: records are counted in batches.
    return [*words, *(f"++attack.{name}.{key}={max(values[name, key])}" for name, key in longer)]


def conclusions(device: str, folder: Path, quick: bool) -> Finding:
    """Every attack family, and training with and without noise, on both devices."""
    finding = Finding()
    grids = {
        "attacks": [
            *small_words(),
            "dataset=[diabetes,faces,baskets]",
            "model=[mlp,ease]",
            "defense=[none]",
            "++dataset.faces.people_private=20",
            "++dataset.faces.people_public=20",
            "++dataset.faces.size=16",
        ],
        "training": [
            "dataset=[diabetes,faces]",
            "model=[mlp,cnn]",
            "defense=[none,dp_sgd,dropout,label_smoothing]",
            "attack=[attribute_map,miface]",
        ],
    }
    if quick:
        grids = {"training": [*grids["training"][2:], "dataset=[diabetes]", "model=[mlp]"]}
    for name, words in grids.items():
        on_cpu, cpu_s = _run(folder / f"{name}_cpu", words, "cpu")
        there, there_s = _run(folder / f"{name}_device", words, device)
        finding.figures[name] = {
            "trials": len(there),
            "cpu_s": round(cpu_s, 1),
            "device_s": round(there_s, 1),
        }
        finding.wrong.extend(_differences(on_cpu, there, device))
    return finding


def _run(folder: Path, words: list[str], device: str) -> tuple[dict[str, TrialRecord], float]:
    gpus = 0 if device == "cpu" else 1
    places = [
        "suite=smoke",
        f"label={folder.name}",
        f"store={folder / 'store'}",
        f"report_dir={folder / 'report'}",
        "tracking=none",
        "progress=none",
        "controls=[]",
        "seeds=1",
        "backend=local",
        "backend.isolate=true",
        f"backend.num_gpus={gpus}",
        f"resources.default.num_gpus={gpus}",
    ]
    began = time.perf_counter()
    done = execute(*prepare([*places, *words], CONF), CONF)
    records = {record.cell.key(): record for record in done.outcome.records}
    return records, time.perf_counter() - began


def _differences(
    on_cpu: Mapping[str, TrialRecord], there: Mapping[str, TrialRecord], device: str
) -> list[str]:
    wrong = [f"{key}: not run on both devices" for key in on_cpu.keys() ^ there.keys()]
    for key in sorted(on_cpu.keys() & there.keys()):
        one, other = on_cpu[key], there[key]
        if one.status != other.status:
            why = other.error.message if other.error else ""
            wrong.append(f"{key}: {one.status} on the CPU, {other.status} on {device}: {why}")
            continue
        if other.status != "done":
            wrong.append(f"{key}: {other.status} on both: {other.error}")
            continue
        if device != "cpu" and other.env["device"] == "cpu":
            wrong.append(f"{key}: granted a GPU, computed on the CPU")
        assert one.score and other.score and one.utility and other.utility
        if _apart(one.score.L, other.score.L) > LEAKAGE_WITHIN:
            wrong.append(f"{key}: leakage {one.score.L} on the CPU, {other.score.L} on {device}")
        if _apart(one.utility.value, other.utility.value) > UTILITY_WITHIN:
            values = f"{one.utility.value} on the CPU, {other.utility.value} on {device}"
            wrong.append(f"{key}: utility {values}")
    return wrong


def _apart(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one == other else math.inf
    return abs(one - other)


# ---------------------------------------------------------------- grants
def grants(device: str, folder: Path, quick: bool) -> Finding:
    """Two resident workers share the GPU; each keeps to its part of the memory."""
    finding = Finding()
    share = 0.0 if device == "cpu" else 0.5
    fits, starves = "{share: 0.2, hold_s: 1}", "{share: 0.7, hold_s: 0}"
    words = [
        "suite=toy",
        "label=grants",
        "attack=[toy_greedy]",
        "defense=[none]",
        f"attack.toy_greedy.sweep=[{fits},{fits[:-1]}, number: 1}},{starves}]",
        "tracking=none",
        "progress=none",
        f"store={folder / 'store'}",
        f"report_dir={folder / 'report'}",
        "seeds=1" if quick else "seeds=2",
        "backend=ray",
        "backend.num_cpus=2",
        f"backend.num_gpus={0 if device == 'cpu' else 1}",
        f"resources.default.num_gpus={share}",
    ]
    done = execute(*prepare(words, CONF), CONF)
    rows = [r for r in done.outcome.records if r.cell.attack.startswith("toy_greedy")]
    hungry = [r for r in rows if "share=0.7" in r.cell.attack]
    modest = [r for r in rows if r not in hungry]
    devices = sorted({str(r.attack.info.get("device")) for r in modest})
    spans = sorted((r.attack.info["began"], r.attack.info["ended"]) for r in modest if r.score)
    together = any(b[0] < a[1] for a, b in pairwise(spans))
    finding.figures = {
        "devices": devices,
        "workers": len({r.attack.info.get("pid") for r in modest}),
        "two_at_once": together,
        "beyond_its_share": sorted({r.status for r in hungry}),
    }
    if any(r.status != "done" for r in modest):
        finding.wrong.append(f"what fits its share ended as {[r.status for r in modest]}")
    if device != "cpu":
        if devices != ["cuda"] and devices != ["cuda:0"]:
            finding.wrong.append(f"granted half a GPU, computed on {devices}")
        if not together:
            finding.wrong.append("two workers with half a GPU each never ran at once")
        if any(r.status != "done" for r in hungry):
            finding.wrong.append(
                "a task that needs 0.7 of the memory and was granted half of it ended as "
                f"{finding.figures['beyond_its_share']}, not on a larger grant"
            )
    return finding


# ---------------------------------------------------------------- speed
def replicas(device: str, folder: Path, quick: bool) -> Finding:
    """Sixteen targets in one program against one by one."""
    from tests.perf import replicas as measured

    finding = Finding()
    names = ["mlp, adult"] if quick else ["mlp, adult", "mlp, german", "softmax"]
    for name in names:
        figures = measured.measure(name, device)
        finding.figures[name] = {key: round(value, 3) for key, value in figures.items()}
        if device != "cpu" and name.startswith("mlp") and figures["factor"] < REPLICAS_GOAL:
            finding.wrong.append(f"{name}: {figures['factor']:.1f} times, goal {REPLICAS_GOAL}")
    return finding


def miface(device: str, folder: Path, quick: bool) -> Finding:
    """MIFace against the same steps in a bare loop."""
    people, side, steps, rounds = (4, 16, 20, 1) if quick else (40, 64, 300, 5)
    made = Faces(people_private=people, people_public=2, images_test=2, images_public=1, size=side)
    splits = made.load(0, None)
    network = train(Softmax(), [], splits, 0, device)[0].eval().requires_grad_(False).to(device)
    public = splits.public.to(device)
    classes = torch.arange(people, device=device)
    start = torch.zeros(people, 1, side, side, device=device)
    attack = MIFace(alpha=steps, beta=steps + 1, gamma=1e-30, step_size=_STEP_SIZE)

    def ours() -> Tensor:
        exposure = Exposure("weights", network, network, network)
        known = Knowledge(splits.card, public, classes=classes)
        return attack.run(exposure, known, 0, device).values

    taken: dict[str, list[float]] = {"ours": [], "bare": []}
    sides: dict[str, Callable[[], Tensor]] = {
        "ours": ours,
        "bare": lambda: _bare(network, classes, start, steps),
    }
    for turn in range(rounds + 1):
        for name, run in sides.items():
            began = _now(device)
            result = run()
            assert bool(torch.isfinite(result).all())
            if turn:
                taken[name].append(_now(device) - began)
    middle = {name: statistics.median(values) for name, values in taken.items()}
    ratio = middle["ours"] / middle["bare"]
    finding = Finding({"ours_s": middle["ours"], "bare_s": middle["bare"], "ratio": ratio})
    if device != "cpu" and ratio > MIFACE_GOAL:
        finding.wrong.append(f"{ratio:.2f} times a bare loop, goal {MIFACE_GOAL}")
    return finding


def _bare(network: nn.Module, classes: Tensor, x: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        x = x.detach().requires_grad_()
        p = network(x).softmax(1)[classes, classes]
        (gradient,) = torch.autograd.grad(p.sum(), x)
        x = (x.detach() + _STEP_SIZE * gradient).clamp_(0.0, 1.0)
    return x


def _now(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


CHECKS: dict[str, Callable[[str, Path, bool], Finding]] = {
    "miface": miface,
    "replicas": replicas,
    "grants": grants,
    "conclusions": conclusions,
}
