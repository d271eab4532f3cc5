"""What can be compared: every option with what its component says of itself.

Building the components loads PyTorch. What they say is therefore remembered, under a digest of all
the files it is read from, so that listing them is quick until one of these changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.contract.names import Heading
from bench.engine.conf import config_dir as built_in
from bench.engine.conf import list_options

Entry = dict[str, Any]
"""``name``, ``title``, ``about`` and further keys by the group: see :func:`entries`."""

_READ = ("attacks", "defenses", "bench/contract", "bench/data", "bench/models", "bench/engine")
"""Folders whose code decides what a component says of itself."""
_VERSION = 2


def entries(group: str, extra_dir: Path | None = None) -> list[Entry]:
    """Every option of a group.

    Args:
        group: ``dataset``, ``model``, ``defense``, ``attack`` or ``suite``.
        extra_dir: a user's own options; what they say is not remembered.

    Returns:
        Of data sets ``sector``, ``modality``, ``goals``, ``tasks`` and ``embedded``; of models
        ``modalities``, ``tasks``, ``offers`` and ``recipe``; of defenses ``stages``, ``covers``,
        ``modalities``, ``tasks``, ``needs``, ``cost`` and ``paper``; of attacks
        ``goal``, ``access``, ``modalities``, ``tasks``, ``needs``, ``knowledge``,
        ``adaptive_to`` and ``paper``; of all but suites ``target``, the names of the classes.

    Raises:
        UserError: an option cannot be built.
    """
    headings = list_options(group, extra_dir)
    if group == "suite":
        return [{"name": name, **_called(heading)} for name, heading in headings.items()]
    place = None if extra_dir is not None else _place(group)
    remembered = _recall(place)
    if remembered is not None:
        return remembered
    made = list(_made(group, headings, extra_dir))
    _keep(place, made)
    return made


def _called(heading: Heading) -> Entry:
    return {"title": heading.title, "about": heading.sentence}


def _made(group: str, headings: Mapping[str, Heading], extra_dir: Path | None) -> Iterator[Entry]:
    from bench.engine.components import CORE_PACKAGES, build
    from bench.engine.config import compose_grid

    grid = compose_grid([f"{group}=[{','.join(headings)}]"], extra_dir)
    packages = (*CORE_PACKAGES, *grid.settings.plugins)
    entries_of: dict[str, Entry] = {}
    for option in grid.options[group]:
        parts = [
            build({k: v for k, v in layer.items() if k != "prior"}, option.where, packages)
            for layer in option.layers
        ]
        entry = {
            "name": option.file,
            **_SAYS[group](parts),
            **_called(headings[option.file]),
            "target": [str(layer["_target_"]) for layer in option.layers],
        }
        known = entries_of.setdefault(option.file, entry)
        for key, value in entry.items():  # variants of one option share an entry
            if isinstance(value, list):
                known[key] = list(dict.fromkeys([*known[key], *value]))
    yield from entries_of.values()


def _dataset(parts: list[Any]) -> Entry:
    data = parts[0]
    return {
        "sector": data.sector,
        "modality": data.modality,
        "goals": list(data.goals),
        "tasks": list(data.tasks),
        "embedded": data.embedded,
    }


def _model(parts: list[Any]) -> Entry:
    model, recipe = parts[0], parts[0].recipe
    return {
        "modalities": sorted(model.modalities),
        "tasks": list(model.tasks),
        "offers": sorted(model.offers),
        "recipe": f"{recipe.optimizer}, {recipe.epochs} epochs, lr {recipe.lr:g}",
    }


def _defense(parts: list[Any]) -> Entry:
    from bench.contract import ACCESS_ORDER, TASKS, stages

    acts = stages(parts)
    covers = {access for part in parts for access in part.covers} if acts else set()
    return {
        "stages": list(acts),
        "covers": sorted(covers, key=ACCESS_ORDER.index),
        "modalities": sorted(frozenset.intersection(*(part.modalities for part in parts))),
        "tasks": [task for task in TASKS if all(task in part.tasks for part in parts)],
        "needs": sorted({need for part in parts for need in part.needs}),
        "cost": "; ".join(part.cost for part in parts if part.cost),
        "paper": "; ".join(part.paper for part in parts),
    }


def _attack(parts: list[Any]) -> Entry:
    attack = parts[0]
    return {
        "goal": [attack.goal],
        "access": [attack.access],
        "modalities": sorted(attack.modalities),
        "tasks": list(attack.tasks),
        "needs": sorted(attack.requires),
        "knowledge": sorted(attack.knowledge),
        "adaptive_to": list(attack.adaptive_to),
        "paper": attack.paper,
    }


_SAYS = {"dataset": _dataset, "model": _model, "defense": _defense, "attack": _attack}


def unfit(entry: Entry, group: str, data: Entry) -> str:
    """Why an option does not fit a data set, in a few words; empty where it does.

    Args:
        entry: of a model, a defense or an attack.
        group: which of these.
        data: of the data set.
    """
    if data["modality"] not in entry["modalities"]:
        return f"it does not work on {data['modality']} data"
    if not set(entry["tasks"]) & set(data["tasks"]):
        return f"it is for {' or '.join(entry['tasks'])}"
    if group == "attack" and not set(entry["goal"]) & set(data["goals"]):
        return f"the data set has no goal {entry['goal'][0]}"
    return ""


# ---------------------------------------------------------------- what is remembered
def _place(group: str) -> Path:
    root = Path(__file__).resolve().parents[2]
    files = [path for folder in _READ for path in sorted((root / folder).rglob("*.py"))]
    files += sorted(built_in().rglob("*.yaml"))
    sha = hashlib.sha256(str(_VERSION).encode())
    for path in files:
        sha.update(f"{path}\0".encode("utf-8", "surrogateescape"))
        sha.update(path.read_bytes())
    cache = os.environ.get("XDG_CACHE_HOME")
    home = Path(cache) if cache else Path.home() / ".cache"
    return home / "invbench" / "catalogue" / f"{group}-{sha.hexdigest()[:32]}.json"


def _recall(place: Path | None) -> list[Entry] | None:
    try:
        text = place.read_text(encoding="utf-8") if place is not None else ""
        remembered: list[Entry] = json.loads(text)
    except (OSError, ValueError):
        return None
    return remembered


def _keep(place: Path | None, made: list[Entry]) -> None:
    """Remember; a folder that cannot be written costs time, nothing else."""
    if place is None:
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        for old in place.parent.glob(f"{place.name.partition('-')[0]}-*.json"):
            old.unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as file:
            json.dump(made, file)
        Path(file.name).replace(place)
    except OSError:
        return
