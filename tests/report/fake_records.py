"""A realistic fake suite: three data sets, eight defenses, several attacks, three seeds."""

from __future__ import annotations

import functools
import itertools
import random
import struct
import zlib
from typing import Any

from bench.contract import PrivacyLedger
from bench.contract.record import (
    AttackInfo,
    Budget,
    Cell,
    Data,
    DefenseInfo,
    Failure,
    Scored,
    Target,
    Times,
    TrialRecord,
    Utility,
)

ALL = ["labels", "scores", "weights"]
# name: (covers, leakage factor at labels/scores/weights, utility change, attacks that adapt to it)
DEFENSES: dict[str, tuple[list[str], tuple[float, float, float], float, list[str]]] = {
    "none": (ALL, (1.0, 1.0, 1.0), 0.0, []),
    "dropout": (ALL, (0.95, 0.93, 0.9), -0.01, ["latent"]),
    "freezing": (ALL, (0.8, 0.75, 0.7), -0.015, ["latent"]),
    "dp_sgd[epsilon=1]": (ALL, (0.05, 0.08, 0.1), -0.16, ["latent", "map"]),
    "dp_sgd[epsilon=8]": (ALL, (0.3, 0.35, 0.4), -0.06, ["latent", "map"]),
    "label_smoothing[alpha=-0.3]": (ALL, (0.9, 0.92, 1.03), -0.02, ["latent"]),
    "top_k[k=3]": (["scores"], (1.0, 0.7, 1.0), 0.0, ["yang"]),
    "label_only": (["scores"], (1.0, 0.0, 1.0), 0.0, ["brep"]),
}
# data set: sector, modality, goal, publishable, utility, metric, s_base, s_ceil, attacks
DATASETS: dict[str, tuple[str, str, str, bool, float, str, float, float, dict[str, Any]]] = {
    "faces": (
        "face",
        "image",
        "class_representative",
        True,
        0.97,
        "accuracy",
        0.05,
        0.96,
        {
            "public_mean": ("none", 0.0),
            "brep": ("labels", 0.55),
            "mirror": ("scores", 0.5),
            "yang": ("scores", 0.72),
            "miface": ("weights", 0.35),
            "latent[loss=logit]": ("weights", 0.93),
            "latent[loss=ce]": ("weights", 0.6),
        },
    ),
    "diabetes": (
        "medical",
        "table",
        "attribute",
        False,
        0.74,
        "auroc",
        0.62,
        1.0,
        {
            "imputer": ("none", 0.0),
            "map[access=labels]": ("labels", 0.2),
            "map[access=scores]": ("scores", 0.31),
            "neuron": ("weights", 0.24),
        },
    ),
    "baskets": (
        "retail",
        "basket",
        "output_reconstruction",
        False,
        0.81,
        "accuracy",
        0.48,
        1.0,
        {
            "popularity": ("none", 0.0),
            "segment[access=labels]": ("labels", 0.05),
            "yang": ("scores", 0.64),
        },
    ),
}
CREATED = "2026-01-02T03:04:05Z"


def build(seeds: int = 3, datasets: tuple[str, ...] = tuple(DATASETS)) -> list[TrialRecord]:
    """The whole grid. Contains failures, joined release rows, straw men and weak attacks."""
    out = []
    for dataset, defense, seed in itertools.product(datasets, DEFENSES, range(seeds)):
        for attack, (access, _) in DATASETS[dataset][8].items():
            if defense == "label_only" and access == "scores":
                continue
            out.append(trial(dataset, "mlp", defense, attack, seed))
    if "faces" in datasets:  # one seed only: no interval
        out += [trial("faces", "cnn", "none", a, 0) for a in ("public_mean", "latent[loss=logit]")]
        out += [trial("faces", "cnn", "freezing", "latent[loss=logit]", 0)]
    return out


def trial(
    dataset: str, model: str, defense: str, attack: str, seed: int, **changes: Any
) -> TrialRecord:
    """One record; ``changes`` replace fields of it."""
    sector, modality, goal, publishable, useful, metric, base, ceiling, attacks = DATASETS[dataset]
    access, strength = attacks[attack]
    covers, factors, cost, _ = DEFENSES[defense]
    option = attack.split("[", maxsplit=1)[0]
    # The split's luck is shared by all defenses of a seed, as in a paired design.
    luck = random.Random(f"{dataset}/{model}/{seed}").gauss(0, 0.04)
    release = covers == ["scores"]
    acts = access in covers or access == "none"
    seen = defense if acts else "none"  # the engine joins the undefended outcome
    noise = random.Random(f"{dataset}/{model}/{seen}/{attack}/{seed}").gauss(0, 0.02)
    leak = 0.0
    if access != "none":
        leak = strength * (factors[ALL.index(access)] + luck) + noise
    headroom = ceiling - base >= 0.10
    value = min(1.0, max(0.0, base + leak * (ceiling - base)))
    member = 0.08 * max(leak, 0) if goal == "attribute" else 0.01 * leak
    utility = useful + (0.0 if release else cost) + luck / 4
    fields: dict[str, Any] = {
        "protocol_version": "1.0",
        "benchmark_version": "0.1.0",
        "trial_id": f"{dataset}-{model}-{defense}-{attack}-{seed}",
        "cell": Cell(dataset=dataset, model=model, defense=defense, attack=attack, seed=seed),
        "goal": goal,
        "access": access,
        "status": "done",
        "data": Data(
            sector=sector,
            modality=modality,
            source=f"Fake {dataset}, made for tests",
            terms="none",
            privacy_unit="person" if publishable else "record",
            publishable=publishable,
            class_names=["a", "b"],
            facts={
                "sha256": f"{zlib.crc32(dataset.encode()):08x}" * 8,
                "n_train": 120,
                "n_test": 80,
                "n_public": 300,
                "duplicates_across_splits": 0,
            },
        ),
        "target": Target(params={"width": 128}, n_params=141_000, epochs=30, steps=600),
        "defense": DefenseInfo(
            layers=[{"_target_": f"defenses.{defense}"}],
            covers=covers,
            paper="A. Author 2026",
        ),
        "attack": AttackInfo(
            params={"steps": 300},
            paper="B. Author 2026, eq. 3",
            adaptive_to=[d.split("[")[0] for d, row in DEFENSES.items() if option in row[3]],
        ),
        "budget": Budget(queries={"labels": 3000, "scores": 1000}.get(access, 0)),
        "evaluator": {"heldout_acc_cnn": 0.98, "oracle_cnn": 0.96} if publishable else {},
        "score": Scored(
            metric="committee" if publishable else "auc",
            value=value,
            s_base=base,
            s_base_attack=next(iter(attacks)),
            s_ceil=ceiling,
            L=(value - base) / (ceiling - base) if headroom else None,
            M=member,
            members=min(1.0, value + member / 2),
            nonmembers=max(0.0, value - member / 2),
            victims=500,
        ),
        "utility": Utility(metric=metric, value=utility, reference=useful - 0.01),
        "flags": [] if acts else ["no_effect"],
        "times": Times(train_s=1.5, attack_s=2.5),
        "nodes": {"target": f"target-{dataset}-{model}-{'none' if release else defense}-{seed}"},
        "env": {
            "git": {"commit": "0123abc"},
            "host": "one",
            "processor": "A CPU",
            "machine": "x86_64",
            "capability": "AVX2",
            "blas": "mkl",
            "threads": 1,
            "device": "cpu",
            "driver": "",
            "python": "3.12.1",
            "torch": "2.9.0+cpu",
            "numpy": "2.1.0",
            "commit": "0123abc",
            "peak_rss_mb": 412.5,
        },
        "created_utc": CREATED,
    }
    if defense.startswith("dp_sgd"):
        epsilon = float(defense.rstrip("]").split("=")[1])
        fields["privacy"] = PrivacyLedger(
            epsilon=epsilon - 0.004,
            delta=1e-4,
            accountant="prv",
            epsilon_rdp=epsilon * 1.1,
            unit="record",
            neighbour_relation="add_remove",
            sampling="poisson",
            sample_rate=0.1,
            steps=300,
            noise_multiplier=1.1,
            clip_norm=1.0,
            expected_batch=12.0,
            empty_batches=0,
            epsilon_total_basis="single_run",
            rng="seeded (not for release)",
            libraries={},
        )
    if (dataset, defense, attack, seed) == ("faces", "dropout", "mirror", 2):
        fields |= broken("timeout", "Timeout", "The attack ran longer than its limit of 60 s.")
    if (dataset, defense, attack) == ("diabetes", "freezing", "neuron"):
        fields |= broken("failed", "ValueError", "Singular matrix in the neuron selection.")
    return TrialRecord(**(fields | changes))


def broken(status: str, kind: str, message: str) -> dict[str, Any]:
    """Fields of a trial that did not end well."""
    return {
        "status": status,
        "score": None,
        "utility": None,
        "privacy": None,
        "error": Failure(type=kind, message=message, traceback="Traceback (most recent call)"),
    }


@functools.cache
def picture(shade: int, people: int = 10, side: int = 32) -> bytes:
    """A valid PNG strip, ``2 * side`` high: smooth blobs above, noisier ones below."""
    rng = random.Random(shade)
    rows = []
    for y in range(2 * side):
        row = bytearray([0])
        for x in range(people * side):
            person, u, v = x // side, x % side - side / 2, y % side - side / 2
            blob = 200 * max(0.0, 1 - (u * u / (90 + 9 * person) + v * v / 200))
            row.append(min(255, int(blob + (rng.random() * shade if y >= side else 0))))
        rows.append(bytes(row))

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", people * side, 2 * side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + chunk(b"IEND", b"")
    )


def galleries(records: list[TrialRecord]) -> dict[str, bytes]:
    """A picture for every finished class-representative trial of a publishable data set."""
    return {
        r.trial_id: picture(int(250 * (1 - min(1.0, max(0.0, r.score.L or 0)))))
        for r in records
        if r.score and r.data.publishable and r.access != "none" and r.cell.seed == 0
    }


PROVENANCE: dict[str, Any] = {
    "command": "invbench run suite=smoke",
    "planned": 400,
    "skipped": [
        {"what": "baskets x miface", "reason": "miface needs images", "count": 24},
        {"what": "label_only x mirror", "reason": "the deployment answers labels only", "count": 3},
    ],
    "git_commit": "0123abcdef",
}
