"""What is known of a model before it is attacked: a few answers, and what attacks would ask."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.campaigns.order import model_words, plugin_words
from bench.contract.errors import require

if TYPE_CHECKING:
    from bench.contract import Splits

_TRIED = 8
"""Records that a model is tried on before anything is planned."""
TRIES = 2 * _TRIED
"""Records that an endpoint is sent for that: each twice, to see whether it repeats itself."""
_WHERE = ("store=", "backend", "tracking", "progress=")
"""Beginnings of words that say where a run takes place."""


def tried(
    model: Mapping[str, Any],
    common: Sequence[str],
    words: Sequence[str],
    config_dir: Path | None,
) -> tuple[dict[str, Any], Splits, int, str]:
    """What a few records tell of a model, all records, how many answers it gives, and its name."""
    import torch

    from bench.contract import common_task
    from bench.engine.config import compose_grid
    from bench.engine.trials import Trials
    from bench.models.external.rehearsal import scores

    plugins = plugin_words(model)
    grid = compose_grid([*common, *model_words(model), *plugins, *words], config_dir)
    trials = Trials(grid)
    (target,), (dataset,) = trials.rows["model"], trials.rows["dataset"]
    missing = dataset.first.missing(grid.settings.data_root)
    require(missing is None, str(missing))
    splits = dataset.first.of_repeat(0).load(0, grid.settings.data_root)
    task = common_task(splits.card.tasks, target.first.tasks)
    require(task is not None, f"No model can be attacked on '{splits.card.name}'.")
    assert task is not None
    width = splits.card.width(task)
    if target.first.function == f"{scores.__module__}:{scores.__name__}":
        return {}, splits, width, target.name  # it is not here
    network = target.first.network(splits.card, width, 0)
    target.first.solve(network, splits.test.x[:_TRIED], splits.test.y, target.first.recipe, 0)
    facts = dict(network.facts)
    if target.first.counted:
        again = target.first.network(splits.card, width, 0)
        again.load_state_dict(network.state_dict())  # it recalls what was asked for the first time
        some = splits.test.x[:_TRIED]
        facts["repeats"] = bool(torch.equal(again(some), again(some)))
    return facts, splits, width, target.name


def guessed(given: Mapping[str, Any], data: Sequence[str]) -> str:
    """A model option like the given model: trees for trees, and else a perceptron."""
    if not any(word.startswith("dataset=table") for word in data):
        return ""
    text = json.dumps(given.get("operators", given), default=str)
    if "TreeEnsemble" in text or "Forest" in text:
        return "random_forest"
    return "boosting" if "Boosting" in text or "LGBM" in text else "mlp"


def rehearsed(
    model: Mapping[str, Any],
    common: Sequence[str],
    words: Sequence[str],
    config_dir: Path | None,
    splits: Splits,
    width: int,
    name: str,
) -> int:
    """How many different records the campaign asks, about: the same attacks ask a stand-in.

    It has the name of the model, from which seeds follow, and stays filled with what it was asked
    until the next rehearsal.
    """
    from bench.api.runs import run_planned
    from bench.contract.rows import rows_of
    from bench.engine.execution import prepare
    from bench.models.external.rehearsal import REHEARSAL, scores

    # Without shadows: what attacks train does not change what they ask, and takes most of the time.
    stand_in = {
        "function": f"{scores.__module__}:{scores.__name__}",
        "access": model["access"],
        "name": name,
    }
    public = splits.public
    known = rows_of(splits.card, public.x) if splits.card.raw else public.x.numpy()
    REHEARSAL.begin(known, public.y.numpy(), width)
    with tempfile.TemporaryDirectory() as folder:
        own = [
            *(word for word in words if not word.startswith(_WHERE)),
            f"store='{folder}'",
            "backend=local",
            "tracking=none",
            "controls=[untrained]",
            "progress=none",
        ]
        grid, planned = prepare([*common, *model_words(stand_in), *own], config_dir)
        run_planned(grid, planned, config_dir, None)
    return len(REHEARSAL.asked)


def counts(folder: Path) -> dict[str, Any]:
    """What the transcript of a campaign counts."""
    path = folder / "transcript.sqlite"
    if not path.exists():
        return {}
    from bench.models.external.http.transcript import Transcript

    return dict(Transcript(path).counts())
