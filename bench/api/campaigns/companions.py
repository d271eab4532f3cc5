"""Models beside the one that is attacked: retrained copies of it, and stand-ins that we train."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from bench.api.campaigns.order import Order, model_words
from bench.contract.errors import UserError, require
from bench.contract.identity import digest
from bench.contract.secrets import in_one_line

if TYPE_CHECKING:
    from bench.api.in_memory import Results

_TRAINED = ("dp_sgd", "dropout", "weight_decay", "early_stopping", "k_anonymity", "pruning")
"""Defenses of training that a stand-in is trained behind."""


def copies(
    order: Order,
    folder: Path,
    campaign: str,
    model: Mapping[str, Any],
    common: Sequence[str],
    words: Sequence[str],
    config_dir: Path | None,
) -> list[dict[str, Any]]:
    """Attack copies of a model that its own training command makes with other seeds.

    Args:
        order: with the command, such as ``python train.py --seed {seed} {out}``, which is run
            without a shell and writes a file of the kind of the model's to ``{out}``; and how many
            copies it is to make, at least 2.
        folder: where they are kept; a copy is not made again while the command, the files that it
            names, the tables and the model stay as they are.
        campaign: its name.
        model: options of the model itself.
        common: overrides of the campaign.
        words: further overrides of the user's.
        config_dir: a folder with a user's own options.

    Returns:
        For each attack without a defense: ``goal``, ``access``, ``attack``, ``L`` (of each copy),
        ``mean`` and ``sd``.

    Raises:
        UserError: the command fails or writes nothing, or a copy cannot be attacked.
    """
    from bench.engine.overrides import quoted

    check(order.retrain, model)
    own_folder = folder / state(order, Path(model["path"]))
    own_folder.mkdir(parents=True, exist_ok=True)
    found: dict[tuple[str, str, str], list[float]] = {}
    for seed in range(1, order.copies + 1):
        path = own_folder / f"copy-{seed}{Path(model['path']).suffix}"
        if not path.exists():
            _make(order.retrain, seed, path)
        own = {**model, "path": str(path.resolve()), "name": f"copy {seed}"}
        label = quoted(f"redteam-copies/{campaign}/{seed}")
        more = ["defense=[none]", "controls=[]", f"label={label}"]
        kept = [word for word in words if not _of(word, "defense")]
        for row in _attacks([*common, *model_words(own), *kept, *more], config_dir):
            if row["L"] is not None:
                found.setdefault((row["goal"], row["access"], row["attack"]), []).append(row["L"])
    return [
        {
            "goal": goal,
            "access": access,
            "attack": attack,
            "L": values,
            "mean": mean(values),
            "sd": stdev(values) if len(values) > 1 else None,
        }
        for (goal, access, attack), values in found.items()
    ]


def check(command: str, model: Mapping[str, Any]) -> None:
    """Refuse a training command that cannot be one.

    Raises:
        UserError: it lacks a placeholder or is no command, or the model is no file.
    """
    require("path" in model, "--retrain needs a model that is a file, to make others like it.")
    require(
        "{seed}" in command and "{out}" in command,
        f"--retrain is '{command}'; write {{seed}} and {{out}} where the seed and the file go.",
    )
    try:
        shlex.split(command)
    except ValueError as error:
        raise UserError(
            f"--retrain is '{command}', which is no command ({error}); quote it as for a shell."
        ) from error


def state(order: Order, model: Path) -> str:
    """What copies depend on, as far as it can be seen, in short."""
    named = [model, *map(Path, shlex.split(order.retrain))]
    tables = [path for path in (order.members, order.holdout, order.public) if path is not None]
    shas = []
    for path in (*named, Path(order.card), *tables):
        if path.is_file():
            with path.open("rb") as file:
                shas.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digest([order.retrain, model.suffix, shas])[:16]


def _make(command: str, seed: int, path: Path) -> None:
    scratch = path.with_name(f".{path.name}")
    scratch.unlink(missing_ok=True)  # what a run that was stopped had half written
    put = {"{seed}": str(seed), "{out}": str(scratch)}
    words = [
        reduce(lambda text, pair: text.replace(*pair), put.items(), word)
        for word in shlex.split(command)
    ]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(
            f"--retrain: '{words[0]}' cannot be run ({error.strerror}); begin with a program that "
            "is here, such as python."
        ) from error
    wrote = "wrote" if scratch.exists() else "did not write"
    require(
        done.returncode == 0 and scratch.exists(),
        f"--retrain ended with {done.returncode} for seed {seed} and {wrote} the file: "
        f"{in_one_line(_last_line(done.stderr))}",
    )
    scratch.replace(path)


def _of(word: str, *groups: str) -> bool:
    """Whether an override is of options that are not in this grid."""
    return re.split(r"[.=@]", word.lstrip("+~"))[0] in groups


def _last_line(text: str) -> str:
    """What a program says last: its error, after where that arose."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def stand_in(
    name: str,
    campaign: str,
    common: Sequence[str],
    words: Sequence[str],
    config_dir: Path | None,
    access: str,
) -> list[dict[str, Any]]:
    """Train a model of ours on the same records behind defenses of training, and attack it.

    Args:
        name: of a model option.
        campaign: its name.
        common: overrides of the campaign.
        words: further overrides of the user's.
        config_dir: a folder with a user's own options.
        access: of the boards.

    Returns:
        As :func:`bench.decide.campaign_rows.defenses_of`. It is of the stand-in, not of the model.

    Raises:
        UserError: nothing can be run.
    """
    from bench.decide import campaign_rows, evidence
    from bench.engine.overrides import quoted

    own = [
        *common,
        f"model=[{name}]",
        *(word for word in words if not _of(word, "defense", "model", "controls")),
        f"defense=[none,{','.join(_TRAINED)}]",
        f"label={quoted(f'redteam-stand-in/{campaign}')}",
    ]
    (source,) = evidence.read([_run(own, config_dir).pack])
    return campaign_rows.defenses_of(source, access)


def _attacks(words: Sequence[str], config_dir: Path | None) -> list[dict[str, Any]]:
    from bench.decide import campaign_rows, evidence

    (source,) = evidence.read([_run(words, config_dir).pack])
    return campaign_rows.attacks_of(source)


def _run(words: Sequence[str], config_dir: Path | None) -> Results:
    from bench.api.runs import run_planned
    from bench.engine.execution import prepare

    grid, planned = prepare(words, config_dir)
    results = run_planned(grid, planned, config_dir, None)
    summary = results.summary
    if summary is not None and summary.interrupted:
        raise KeyboardInterrupt
    why = next(iter(summary.reasons), summary.reason) if summary is not None else ""
    require(
        summary is None or not (summary.failed or summary.incomplete),
        f"'{grid.settings.label}' did not end: {why}",
    )
    return results
